package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/decoder"
)

// merger returns the tensors of a model with its adapters merged into it, one at a time, so
// that the whole model is never in memory.
type merger struct {
	dev      driver.Device
	base     *checkpoint.Weights
	adapters []*adapterWeights
	tables   checkpoint.Tables
	kind     string                 // the model's model_type
	whole    *checkpoint.Multimodal // what the model is the language model of; nil: it is by itself
	tied     bool                   // the head is tied to the embeddings and not stored
	untied   bool                   // an adapter has its own embeddings or head, which unties them
}

// adapterWeights is a PEFT adapter's file.
type adapterWeights struct {
	dir    string
	tables checkpoint.Tables // the model's
	config *checkpoint.AdapterConfig
	file   *checkpoint.Weights
	tokens []checkpoint.TokenRows // rows that were trained separately
}

const peftPrefix = checkpoint.PEFTPrefix

// openMerger opens a model folder, of which c is read, and adapter folders.
func openMerger(dev driver.Device, model string, c *checkpoint.ModelConfig, adapters []string) (m *merger, err error) {
	m = &merger{dev: dev, kind: c.ModelType, whole: c.Multimodal, tables: c.Tables(), tied: c.TieWordEmbeddings}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Close())
		}
	}()
	if m.base, err = checkpoint.OpenWeights(model); err != nil {
		return m, err
	}
	if m.whole != nil {
		m.tied = m.tied && !m.base.OwnHead(m.tables)
	}
	for _, name := range m.base.Names() {
		if format := m.base.Quantised(name); format != "" {
			return m, fmt.Errorf("%s: tensor %q is quantised (%s): adapters are not merged into quantised weights, and those are not exported: name the model in bf16, fp16 or float32 from which it was made", m.base.Path(name), name, format)
		}
	}
	for _, dir := range adapters {
		c, err := checkpoint.ReadAdapterConfig(dir)
		if err != nil {
			return m, err
		}
		file, err := checkpoint.OpenAdapter(dir)
		if err != nil {
			return m, err
		}
		a := &adapterWeights{dir: dir, tables: m.tables, config: c, file: file}
		m.adapters = append(m.adapters, a)
		if err := m.ofWhole(a); err != nil {
			return m, err
		}
		if a.tokens, err = c.Tokens(file, m.tables, m.tied); err != nil {
			return m, fmt.Errorf("%s: %w", dir, err)
		}
		m.untied = m.untied || m.tied && !c.TieWeights && a.parts()
		if err := m.check(a); err != nil {
			return m, err
		}
	}
	return m, nil
}

// ofWhole names what an adapter of a multimodal model is on as the model's tensors are
// named, and refuses one that is on its towers, too: they are exported as they are.
func (m *merger) ofWhole(a *adapterWeights) error {
	if m.whole == nil {
		return nil
	}
	for i, t := range a.config.Targets {
		a.config.Targets[i], _ = m.whole.Module(t)
	}
	if err := a.file.LanguageModel(m.whole, peftPrefix); err != nil {
		return fmt.Errorf("%s: %w", a.dir, err)
	}
	if beside := a.file.Beside(); len(beside) > 0 {
		return fmt.Errorf("%s: tensor %q belongs to a tower, and the language model's are merged here alone: merge the adapter with PEFT (merge_and_unload)", a.dir, beside[0].Name)
	}
	return nil
}

// written is the name in the files that are written of one of names: the base's.
func (m *merger) written(name string) string {
	if m.whole == nil {
		return name
	}
	return m.base.Stored(m.whole, name)
}

// Close unmaps the files.
func (m *merger) Close() error {
	var err error
	if m.base != nil {
		err = m.base.Close()
	}
	for _, a := range m.adapters {
		err = errors.Join(err, a.file.Close())
	}
	return err
}

// check refuses an adapter if any of its tensors would be ignored.
func (m *merger) check(a *adapterWeights) error {
	for _, name := range a.file.Names() {
		shape, _ := a.file.Shape(name)
		target, part := m.splitPEFT(name)
		want, ok := m.base.Shape(target)
		if m.tied && target == m.headName() {
			want, ok = m.base.Shape(m.embeddingsName())
		}
		if ok && part != "" && m.transposed(target) {
			want = []int{want[1], want[0]}
		}
		if !ok {
			return fmt.Errorf("%s: tensor %q belongs to %q, which the model does not have: the adapter was trained on another model", a.dir, name, target)
		}
		rows := want[0] // of the table in the adapter
		for _, n := range checkpoint.TableNames(strings.TrimSuffix(target, ".weight")) {
			if s, ok := a.file.Shape(n); ok && len(s) > 0 {
				rows = s[0]
			}
		}
		rank, fits := a.config.RankOf(strings.TrimSuffix(target, ".weight")), false
		_, both := a.file.Shape(m.otherHalf(name))
		switch part {
		case "lora_A.weight":
			fits = both && len(want) == 2 && slices.Equal(shape, []int{rank, want[1]})
		case "lora_B.weight":
			fits = both && len(want) == 2 && slices.Equal(shape, []int{rows, rank})
		case embeddingA: // lora_embedding_A [r, vocabulary] and B [hidden, r] mean W += s·(B·A)ᵀ
			fits = both && len(want) == 2 && slices.Equal(shape, []int{rank, rows})
		case embeddingB:
			fits = both && len(want) == 2 && slices.Equal(shape, []int{want[1], rank})
		case magnitudePart:
			fits = both && a.config.DoRA && len(want) == 2 && slices.Equal(shape, []int{rows})
			if target == m.embeddingsName() { // whose columns correspond to its rows
				fits = both && a.config.DoRA && slices.Equal(shape, want[1:])
			}
		case tokensPart:
			fits = a.rowsFit(name, shape, want)
		case "": // modules_to_save: embeddings may have more rows
			fits = len(shape) == len(want) && slices.Equal(shape[1:], want[1:])
		}
		if !fits {
			return fmt.Errorf("%s: tensor %q %v does not fit the model's %q %v with rank %d", a.dir, name, shape, target, want, rank)
		}
	}
	return nil
}

// embeddingA and embeddingB are the parts of an adapter for embeddings.
const embeddingA, embeddingB = "lora_embedding_A", "lora_embedding_B"

// parts reports whether the adapter changes the embeddings or the head of a tied model, which
// unties them. Tables stored with an adapter that does not train them do not.
func (a *adapterWeights) parts() bool {
	full := slices.ContainsFunc(a.config.ModulesToSave, func(n string) bool {
		return strings.HasSuffix(a.tables.Embedding, n) || strings.HasSuffix(a.tables.Head, n) || checkpoint.Inside(a.tables.Embedding, n)
	})
	for _, path := range a.tables.Paths() {
		at := peftPrefix + path
		if full && a.has(at+".weight") || a.has(at+"."+embeddingA) || a.has(at+".lora_A.weight") {
			return true
		}
	}
	return slices.ContainsFunc(a.tokens, func(t checkpoint.TokenRows) bool { return t.Path == a.tables.Head })
}

// tokensPart is the part for rows that were trained separately.
const tokensPart = "trainable_tokens_delta"

// rowsFit reports whether a tensor of token rows, name, is in the adapter's config, or is the
// tied head's copy of one, and has the right shape.
func (a *adapterWeights) rowsFit(name string, shape, want []int) bool {
	i := slices.IndexFunc(a.tokens, func(t checkpoint.TokenRows) bool { return t.Name == name })
	if i < 0 && len(a.tokens) == 1 && name == a.config.TokensName(a.tables.Head) {
		i = 0
	}
	return i >= 0 && len(want) == 2 && slices.Equal(shape, []int{len(a.tokens[i].Index), want[1]})
}

// magnitudePart is the part for DoRA's magnitudes.
const magnitudePart = "lora_magnitude_vector"

// otherHalf is the tensor that an adapter's tensor requires.
func (m *merger) otherHalf(name string) string {
	switch path, part := splitTensor(name); part {
	case "lora_A.weight":
		return path + ".lora_B.weight"
	case embeddingA:
		return path + "." + embeddingB
	case embeddingB:
		return path + "." + embeddingA
	case magnitudePart:
		if path == peftPrefix+m.tables.Embedding {
			return path + "." + embeddingA
		}
		return path + ".lora_A.weight"
	default:
		return path + ".lora_A.weight"
	}
}

// splitTensor splits the name of an adapter's tensor into the path of its module and the part.
func splitTensor(name string) (path, part string) {
	if at := strings.Index(name, ".lora_"); at >= 0 {
		return name[:at], name[at+1:]
	}
	return name, ""
}

// embeddingsName and headName are the tables' tensors.
func (m *merger) embeddingsName() string { return m.tables.Embedding + ".weight" }
func (m *merger) headName() string       { return m.tables.Head + ".weight" }

// has reports whether the adapter has a tensor.
func (a *adapterWeights) has(name string) bool {
	_, ok := a.file.Shape(name)
	return ok
}

// splitPEFT returns the model's tensor to which an adapter's tensor belongs, and the part of
// the adapter; "" for a full copy.
func (m *merger) splitPEFT(name string) (target, part string) {
	target = strings.TrimPrefix(name, peftPrefix)
	if path, ok := strings.CutSuffix(target, "."+tokensPart); ok {
		return strings.TrimSuffix(path, ".token_adapter") + ".weight", tokensPart
	}
	for _, path := range m.tables.Paths() {
		if slices.Contains(checkpoint.TableNames(path), name) {
			return path + ".weight", ""
		}
	}
	if target, part = splitTensor(target); part != "" {
		target += ".weight"
	}
	return target, part
}

// names lists the model's tensors: in numerical order, the head last.
func (m *merger) names() []string {
	var out []string
	for _, n := range m.base.Names() {
		if !(m.tied && n == m.headName()) && !checkpoint.Unread(m.kind, n) {
			out = append(out, n)
		}
	}
	if m.untied {
		out = append(out, m.headName())
	}
	slices.SortStableFunc(out, natural)
	return out
}

// natural compares names, numbers in them numerically.
func natural(a, b string) int {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y)) {
		if x[i] == y[i] {
			continue
		}
		if i == 0 && isHead(x[0]) != isHead(y[0]) {
			return map[bool]int{true: 1, false: -1}[isHead(x[0])]
		}
		if len(x[i]) != len(y[i]) && isNumber(x[i]) && isNumber(y[i]) {
			return len(x[i]) - len(y[i])
		}
		return strings.Compare(x[i], y[i])
	}
	return len(x) - len(y)
}

func isHead(s string) bool { return s == "lm_head" || s == "embed_out" }

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// shape is a tensor's shape: an adapter's full copy may have more rows.
func (m *merger) shape(name string) []int {
	shape, _ := m.base.Shape(m.stored(name))
	for _, a := range m.adapters {
		if n, ok := a.copyOf(name); ok {
			shape, _ = a.file.Shape(n)
		}
	}
	return shape
}

// copyOf is the name of the adapter's full copy of a tensor.
func (a *adapterWeights) copyOf(name string) (string, bool) {
	for _, n := range checkpoint.TableNames(strings.TrimSuffix(name, ".weight")) {
		if a.has(n) {
			return n, true
		}
	}
	return peftPrefix + name, a.has(peftPrefix + name)
}

// stored is the base's name of a tensor: a tied head is stored as the embeddings.
func (m *merger) stored(name string) string {
	if m.tied && name == m.headName() {
		return m.embeddingsName()
	}
	return name
}

// read returns a tensor, W + Σ scale·B·A over the adapters in order, in float32; it is rounded
// once, when it is written.
func (m *merger) read(name string) ([]float32, error) {
	shape := m.shape(name)
	w := make([]float32, elements(shape))
	from, source := m.base, m.stored(name)
	for _, a := range m.adapters {
		if n, ok := a.copyOf(name); ok {
			from, source = a.file, n
		}
	}
	if err := readNumbers(from, source, w); err != nil {
		return nil, err
	}
	path := peftPrefix + strings.TrimSuffix(name, ".weight")
	flip := m.transposed(name)
	if flip {
		w = checkpoint.Transposed(w, shape[0], shape[1])
		shape = []int{shape[1], shape[0]}
	}
	for _, a := range m.adapters {
		if err := a.place(w, strings.TrimSuffix(name, ".weight"), shape[len(shape)-1]); err != nil {
			return nil, err
		}
		if !a.has(path+".lora_A.weight") && !a.has(path+"."+embeddingA) {
			continue
		}
		if err := m.add(w, a, path, shape[0], shape[1]); err != nil {
			return nil, err
		}
	}
	if flip {
		w = checkpoint.Transposed(w, shape[0], shape[1])
	}
	return w, nil
}

// transposed reports whether a tensor is a linear layer's weight stored as [in, out].
func (m *merger) transposed(name string) bool {
	module, ok := strings.CutSuffix(name, ".weight")
	return ok && checkpoint.Conv1D(m.kind, module)
}

// place copies rows that were trained separately into a table w [_, d]; a tied head has the
// same rows as the embeddings.
func (a *adapterWeights) place(w []float32, path string, d int) error {
	for _, t := range a.tokens {
		if t.Path != path {
			continue
		}
		rows := make([]float32, len(t.Index)*d)
		if err := readNumbers(a.file, t.Name, rows); err != nil {
			return err
		}
		for i, id := range t.Index {
			if int(id) >= len(w)/d {
				return fmt.Errorf("%s: trainable_token_indices has the token %d, and %s has %d rows", a.dir, id, path, len(w)/d)
			}
			copy(w[int(id)*d:(int(id)+1)*d], rows[i*d:(i+1)*d])
		}
	}
	return nil
}

// add merges an adapter into w [out, in]: w + scale·B·A, whose rows are scaled to DoRA's
// magnitudes; for PiSSA, B·A is added to w without its principal part.
func (m *merger) add(w []float32, a *adapterWeights, path string, out, in int) error {
	module := strings.TrimPrefix(path, peftPrefix)
	r, scale := a.config.RankOf(module), float32(a.config.ScaleOf(module))
	onEmbeddings := a.has(path + "." + embeddingA)
	if a.config.PiSSA() && !onEmbeddings {
		if _, _, err := decoder.PiSSA(m.dev, w, out, in, r, scale); err != nil {
			return fmt.Errorf("%s: %w", a.dir, err)
		}
	}
	down, up := make([]float32, r*in), make([]float32, out*r)
	names := [2]string{path + ".lora_A.weight", path + ".lora_B.weight"}
	if onEmbeddings {
		names = [2]string{path + "." + embeddingB, path + "." + embeddingA}
	}
	if err := readNumbers(a.file, names[0], down); err != nil {
		return err
	}
	if err := readNumbers(a.file, names[1], up); err != nil {
		return err
	}
	if onEmbeddings {
		down, up = checkpoint.Transposed(down, in, r), checkpoint.Transposed(up, r, out)
	}
	gemm.Run(m.dev, gemm.NN, scale, gemm.Dense(driver.FromHost(up), out, r), gemm.Dense(driver.FromHost(down), r, in), 1, gemm.Dense(driver.FromHost(w), out, in))
	if !a.config.DoRA {
		return nil
	}
	magnitudes := make([]float32, out)
	if onEmbeddings {
		magnitudes = make([]float32, in)
	}
	if err := a.file.ReadFloat32(path+"."+magnitudePart, magnitudes); err != nil {
		return err
	}
	if onEmbeddings {
		autograd.ScaleColumns(w, magnitudes)
	} else {
		autograd.ScaleRows(w, magnitudes)
	}
	return nil
}

// readNumbers reads a tensor and refuses one that contains NaN.
func readNumbers(from *checkpoint.Weights, name string, dst []float32) error {
	if err := from.ReadFloat32(name, dst); err != nil {
		return err
	}
	if i := slices.IndexFunc(dst, func(v float32) bool { return v != v }); i >= 0 {
		return fmt.Errorf("%s: tensor %q holds NaN (element %d): the file is damaged or its training diverged, and is not exported", from.Path(name), name, i)
	}
	return nil
}

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}
