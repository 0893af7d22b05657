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

// Options vary how a model is loaded.
type Options struct {
	// Rope replaces config.json's rope_scaling where it is not nil.
	Rope *rope.Scaling
	// MaxPositions replaces config.json's max_position_embeddings where it is not 0.
	MaxPositions int
	// BF16 keeps matrices in bf16 and multiplies on tensor cores where dev has them;
	// elsewhere it changes nothing.
	BF16 bool
	// Name is what adapter_config.json calls the model; "" is its folder.
	Name string
	// Planned reads no weights: dev is one that only counts (package plan), and what is
	// asked of the model is how much memory and work it takes.
	Planned bool
	// Headless is for hidden states alone: a folder of the layers without a head will do.
	Headless bool
	// Quantise keeps the linears' weights, but for the head's, in codes where the folder
	// has them in numbers; nil = as the folder has them.
	Quantise *quant.Format
}

// Load reads a Hugging Face model folder onto dev. Weights are float32, or with BF16
// matrices bf16, rounded to nearest even where the folder's are not; what the folder has in
// bitsandbytes' codes stays in them, what it has in those of GPTQ, AWQ, compressed-tensors or
// fp8 is decoded. All weights are
// frozen. An architecture that is not supported, and tensors that are
// missing, superfluous or of another shape are errors that name them.
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
		c.Tied = true // nothing is asked of the head
	}
	m, err := build(dev, dir, opt.apply(c), forms{half: opt.BF16, stored: holds(w), codes: opt.codes(w), bf16: opt.quantises(w) && w.DType(tables.Embedding+".weight") == "BF16", planned: opt.Planned})
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

// codes says which linears' weights are in codes.
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

// noteCodes says where a folder that is to be quantised had been before, and where scales
// are not those of their own blocks.
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

// noteDecoded keeps which parameters are decoded, and says it with the memory that it takes.
// quantise was asked for in vain, as in LLaMA-Factory.
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
				kept += p.Bytes()
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

// Coding is the format of the first linear in codes; ok is false where none is.
func (m *Model) Coding() (f quant.Format, ok bool) {
	for mod := range m.modules() {
		if f, coded := mod.linear.Weight.Coded(); coded {
			return f, true
		}
	}
	return f, false
}

// Quantised reports whether weights are in codes, or were in the folder: nothing is merged into
// them, and they do not train.
func (m *Model) Quantised() bool { _, coded := m.Coding(); return coded || len(m.decoded) > 0 }

// headName is the head's tensor.
func (m *Model) headName() string { return m.tables().Head + ".weight" }

// noteHead says where a tied model's folder has a head that differs from the embeddings,
// which take its place, as in transformers.
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

// holds says of a tensor whether w has it with that shape.
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

// read fills params from w, which must hold them under their names and nothing else.
// where names w in messages.
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

// stored is a tensor of a folder's files, which a parameter is loaded from.
type stored struct {
	files *checkpoint.Weights
	name  string
}

// DType says of codes that are decoded that bf16 comes out of them, too: in bands, without the
// matrix in float32.
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

// derived reports whether a tensor that some writers store follows from others: the
// copy of a tied head (an untied model has lm_head among its own), also in an adapter
// that keeps it tied, and old transformers' rope frequencies.
func (m *Model) derived(name string) bool {
	if m.adapter != nil && m.adapter.lora.TieWeights && m.tied() && name == prefix+m.headName() {
		return true
	}
	if m.adapter != nil && m.beside(name) {
		return true
	}
	return name == m.headName() || m.config.unread(name) || checkpoint.Unread(m.config.ModelType, name) || checkpoint.Beyond(m.config.ModelType, name, m.config.Layers)
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
