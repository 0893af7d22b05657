package decoder

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/quant"
	"dataflex.dev/dataflex/kernels/rope"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// Options configure how a model is loaded.
type Options struct {
	// Rope replaces config.json's rope_scaling unless it is nil.
	Rope *rope.Scaling
	// MaxPositions replaces config.json's max_position_embeddings unless it is 0.
	MaxPositions int
	// BF16 stores matrices in bf16 and multiplies on tensor cores if dev has them; otherwise
	// it has no effect.
	BF16 bool
	// Name is the name of the model in adapter_config.json; "" is its folder.
	Name string
	// Planned reads no weights: dev only counts (package plan), to find out how much memory
	// and work the model takes.
	Planned bool
	// Headless is for hidden states only: a folder of the layers without a head is accepted.
	Headless bool
	// Quantise encodes the weights of the linears, except the head's, unless the folder is
	// quantised; nil = as in the folder.
	Quantise *quant.Format
	// Placed leaves what is made trainable without memory for its gradient, which
	// PlaceGradients provides.
	Placed bool
	// Shards, unless it is nil, has the process keep a share of the weights.
	Shards *Shards
}

// Load reads a Hugging Face model folder to dev. Weights are float32, or with BF16 matrices
// are bf16, rounded to nearest even if the folder's are not; weights in bitsandbytes' codes
// stay in codes, those of GPTQ, AWQ, compressed-tensors or fp8 are decoded. All weights are
// frozen. An unsupported architecture, and tensors that are missing, superfluous or of
// another shape, are errors that name them.
func Load(dev driver.Device, dir string, opt Options) (*Model, error) {
	c, err := readConfig(dir)
	if err != nil {
		return nil, err
	}
	w, err := checkpoint.OpenWeights(dir)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	tables := c.tables()
	if c.Multimodal != nil {
		c.Tied = c.Tied && !w.OwnHead(tables)
	}
	asked := opt.Quantise != nil
	if asked && decodes(w) {
		opt.Quantise = nil
	}
	if _, head := w.Shape(tables.Head + ".weight"); !head && opt.Headless {
		c.Tied = true // the head is not used
	}
	m, err := build(dev, dir, opt.apply(c), forms{half: opt.BF16, stored: holds(w), codes: opt.codes(w), bf16: opt.quantises(w) && w.DType(tables.Embedding+".weight") == "BF16", planned: opt.Planned, shards: opt.Shards})
	if err != nil {
		return nil, err
	}
	m.name, m.options = opt.Name, opt
	if m.config.Dropout != "" {
		m.notes = append(m.notes, fmt.Sprintf("%s: %s: training drops nothing out inside the layers", filepath.Join(dir, storage.ConfigFile), m.config.Dropout))
	}
	if c.Multimodal != nil {
		m.notes = append(m.notes, fmt.Sprintf("%s is a %s model: text only; the vision tower is kept as it is", dir, c.Multimodal.ModelType))
	}
	m.noteCodes(w)
	m.noteDecoded(w, asked)
	if err := m.read(w, dir, m.base(), (*tensor.Param).String); err != nil {
		m.Close()
		return nil, err
	}
	if opt.Planned {
		return m, nil
	}
	if err := errors.Join(m.readScales(), m.noteHead(w)); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// codes returns which linears' weights are in codes.
func (o Options) codes(w *checkpoint.Weights) func(name string) (quant.Format, bool) {
	return func(name string) (quant.Format, bool) {
		f, coded := w.Coded(name)
		if !coded && o.Quantise != nil {
			return *o.Quantise, true
		}
		return f, coded
	}
}

// quantises reports whether linears are in codes.
func (o Options) quantises(w *checkpoint.Weights) bool {
	return o.Quantise != nil || slices.ContainsFunc(w.Names(), func(name string) bool { _, coded := w.Coded(name); return coded })
}

// noteCodes adds notes if a folder that is to be quantised already is, and if scales are not
// those of their own blocks.
func (m *Model) noteCodes(w *checkpoint.Weights) {
	before, ragged := 0, 0
	for mod := range m.modules() {
		if _, coded := w.Coded(mod.linear.Weight.Name); coded {
			before++
		}
		if f, coded := mod.linear.Weight.Coded(); coded && f.Ragged(mod.linear.In) {
			ragged++
		}
	}
	if before > 0 && m.options.Quantise != nil {
		m.notes = append(m.notes, fmt.Sprintf("%s is quantised already: quantization_bit does not affect what it has in codes", m.dir))
	}
	if slices.ContainsFunc(w.Names(), func(name string) bool { return w.DType(name) == "MXFP4" }) {
		m.notes = append(m.notes, fmt.Sprintf("%s: its experts are in MXFP4, and are kept as the numbers that these mean: 8 times the memory in float32, 4 times in bf16", m.dir))
	}
	if ragged > 0 {
		m.notes = append(m.notes, fmt.Sprintf("%s: %d quantised matrices have rows that are no multiple of their blocks: they are read as bitsandbytes reads them on a CPU with AVX-512, which takes scales of other blocks; quantization_bit: 8 has none of that", m.dir, ragged))
	}
}

// decodes reports whether matrices of a folder are decoded as they are read.
func decodes(w *checkpoint.Weights) bool {
	return slices.ContainsFunc(w.Names(), func(name string) bool { _, ok := w.Decoded(name); return ok })
}

// noteDecoded records which parameters are decoded, and adds a note with the memory for it.
// If quantise was requested it has no effect, as in LLaMA-Factory.
func (m *Model) noteDecoded(w *checkpoint.Weights, quantise bool) {
	m.decoded = map[*tensor.Param]string{}
	matrices, formats, stored, kept := 0, []string{}, uint64(0), 0
	for _, p := range m.base() {
		for _, t := range m.tensors(p, p.Name) {
			n, decoded := w.Decoded(t.Name)
			if !decoded {
				continue
			}
			matrices++
			stored += n
			format := w.Quantised(t.Name)
			if m.decoded[p] == "" {
				m.decoded[p] = format
				kept += p.Needs()
			}
			if !slices.Contains(formats, format) {
				formats = append(formats, format)
			}
		}
	}
	if matrices == 0 {
		return
	}
	form := "float32"
	if m.half {
		form = "bf16"
	}
	const mb = 1e6
	m.notes = append(m.notes, fmt.Sprintf("%s: %d matrices in %s are decoded as they are read and kept in %s: %.1f MB in memory of %.1f MB in the files; they do not train, and adapters beside them do",
		m.dir, matrices, strings.Join(formats, " and "), form, float64(kept)/mb, float64(stored)/mb))
	if w.Activations() {
		m.notes = append(m.notes, fmt.Sprintf("%s: activations are not quantised, though the folder says how they could be", m.dir))
	}
	if quantise {
		m.notes = append(m.notes, fmt.Sprintf("%s is quantised already: quantization_bit does not affect it", m.dir))
	}
}

// Coding is the format of the first linear in codes; ok is false if there is none.
func (m *Model) Coding() (f quant.Format, ok bool) {
	for mod := range m.modules() {
		if f, coded := mod.linear.Weight.Coded(); coded {
			return f, true
		}
	}
	return f, false
}

// Quantised reports whether weights are in codes, or were in the folder: nothing is merged
// into them, and they cannot be trained.
func (m *Model) Quantised() bool { _, coded := m.Coding(); return coded || len(m.decoded) > 0 }

// headName is the head's tensor.
func (m *Model) headName() string { return m.tables().Head + ".weight" }

// noteHead adds a note if a tied model's folder has a head that differs from the embeddings,
// which are used in its place, as in transformers.
func (m *Model) noteHead(w *checkpoint.Weights) error {
	shape, ok := w.Shape(m.headName())
	if !ok || !m.config.Tied || !slices.Equal(shape, m.embed.Shape) {
		return nil
	}
	head := make([]float32, m.embed.Size())
	if err := w.ReadFloat32(m.headName(), head); err != nil {
		return err
	}
	embeddings := make([]float32, len(head))
	if err := w.ReadFloat32(m.embed.Name, embeddings); err != nil {
		return err
	}
	if !slices.Equal(head, embeddings) {
		m.notes = append(m.notes, fmt.Sprintf("%s holds another tensor than the embeddings, and config.json says tie_word_embeddings: the embeddings are taken for both, as transformers does; set it to false for the stored head", w.Path(m.headName())))
	}
	return nil
}

// Notes are lines about the folder that its user should read.
func (m *Model) Notes() []string { return m.notes }

// holds returns a function that reports whether w has a tensor with that shape.
func holds(w *checkpoint.Weights) func(name string, shape []int) bool {
	return func(name string, shape []int) bool {
		there, ok := w.Shape(name)
		return ok && slices.Equal(there, shape)
	}
}

func (o Options) apply(c Config) Config {
	if o.Rope != nil {
		c.Rope = *o.Rope
	}
	if o.MaxPositions != 0 {
		c.MaxPositions = o.MaxPositions
	}
	return c
}

// read fills params from w, which must have them under their names and nothing else. where
// names w in messages.
func (m *Model) read(w *checkpoint.Weights, where string, params []*tensor.Param, name func(*tensor.Param) string) error {
	wanted := make(map[string]bool, len(params))
	var faults []error
	for _, p := range params {
		for _, t := range m.tensors(p, name(p)) {
			wanted[t.Name] = true
			shape, ok := w.Shape(t.Name)
			if !ok {
				faults = append(faults, fmt.Errorf("%s: tensor %q %v is missing", where, t.Name, t.Shape))
			} else if !slices.Equal(shape, t.Shape) {
				faults = append(faults, fmt.Errorf("%s: tensor %q has shape %v, the configuration asks for %v", w.Path(t.Name), t.Name, shape, t.Shape))
			}
		}
	}
	for _, name := range w.Names() {
		if shape, _ := w.Shape(name); !wanted[name] && !m.derived(name) && !w.IdleBias(name) {
			faults = append(faults, fmt.Errorf("%s: tensor %q %v has no place in the model", w.Path(name), name, shape))
		}
	}
	if err := mismatch(faults); err != nil {
		return err
	}
	if m.options.Planned {
		return nil
	}
	var buffer tensor.Buffer
	for _, p := range params {
		if err := p.Load(m.dev, m.source(p, w, name(p)), &buffer); err != nil {
			return err
		}
	}
	return nil
}

// stored is a tensor of a folder's files, from which a parameter is loaded.
type stored struct {
	files *checkpoint.Weights
	name  string
}

// DType is BF16 also for codes, which can be decoded to bf16: in bands, without the matrix
// in float32.
func (s stored) DType() string {
	if _, decoded := s.files.Decoded(s.name); decoded {
		return "BF16"
	}
	return s.files.DType(s.name)
}

func (s stored) Float32(x []float32) error { return s.files.ReadFloat32(s.name, x) }

// Codes implements tensor.CodedSource.
func (s stored) Codes() (f quant.Format, p quant.Parts, ok bool, err error) {
	if f, ok = s.files.Coded(s.name); ok {
		p, err = s.files.ReadCodes(s.name)
	}
	return f, p, ok, err
}

func (s stored) BF16(x []driver.BF16) error { return s.files.ReadBF16(s.name, x) }

// derived reports whether a tensor that some writers store follows from others: the copy of
// a tied head (an untied model has lm_head among its own), also in an adapter that keeps it
// tied, and the rope frequencies of old transformers.
func (m *Model) derived(name string) bool {
	if m.adapter != nil && m.adapter.lora.TieWeights && m.tied() && name == prefix+m.headName() {
		return true
	}
	if m.adapter != nil && (m.beside(name) || m.savedAgain(name)) {
		return true
	}
	return name == m.headName() || m.config.unread(name) || checkpoint.Unread(m.config.ModelType, name) || checkpoint.Beyond(m.config.ModelType, name, m.config.Layers)
}

// savedAgain reports whether a tensor of an adapter's file is the weight of a module of
// modules_to_save once more, or what it was before training: PEFT 0.18 writes both beside it
// of a vocabulary that was resized (save_embedding_layers), and reads neither.
func (m *Model) savedAgain(name string) bool {
	for _, copied := range []string{".modules_to_save.", ".original_module."} {
		before, after, found := strings.Cut(strings.TrimPrefix(name, prefix), copied)
		if !found {
			continue
		}
		for p := range m.adapter.saves {
			if p.Name == before+"."+after {
				return true
			}
		}
	}
	return false
}

// mismatch makes one error of the first few faults.
func mismatch(faults []error) error {
	const shown = 3
	if len(faults) == 0 {
		return nil
	}
	err := faults[0]
	for _, f := range faults[1:min(len(faults), shown)] {
		err = fmt.Errorf("%w; %w", err, f)
	}
	if more := len(faults) - shown; more > 0 {
		err = fmt.Errorf("%w; and %d more tensors do not fit", err, more)
	}
	return err
}
