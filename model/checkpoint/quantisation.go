package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
)

// The config.json of a folder that was quantised by GPTQ, AWQ, compressed-tensors or to fp8
// says so. For every matrix the folder has codes, scales and other parts, under names that
// begin with the module's. Its matrices are read as the decoded numbers.

// format is a format of quantised matrices.
type format interface {
	// codes is the module whose codes the tensor has, "" if it is not a tensor of codes.
	codes(name, dtype string) (module string)
	// matrix makes the module's matrix from its parts.
	matrix(p *parts) *grouped
	// activations reports whether activations are also quantised when the format is used.
	activations() bool
}

// formats are the supported formats by quant_method.
var formats = map[string]func(*fields) format{
	"gptq": readGPTQ, "awq": readAWQ, "fp8": readFP8, "fbgemm_fp8": readFP8, "compressed-tensors": readCompressed,
}

// quantisationKeys are the keys of config.json that describe quantised weights.
var quantisationKeys = []string{"quantization_config", "compression_config"}

// readQuantisation is the format of a folder's quantised weights; nil if they are not
// quantised, or in bitsandbytes' format or MXFP4, which are recognised by their tensors. An
// unsupported format is an error of f, which names it.
func readQuantisation(f *fields) format {
	for _, key := range quantisationKeys {
		q, ok := f.raw[key].(map[string]any)
		if !ok {
			continue
		}
		method, _ := q["quant_method"].(string)
		if read, known := formats[method]; known {
			nested := f.object(key)
			format := read(nested)
			f.take(nested)
			return format
		}
		four, _ := q["load_in_4bit"].(bool)
		eight, _ := q["load_in_8bit"].(bool)
		if method == mxMethod || (method == "bitsandbytes" || method == "") && (four || eight) {
			continue
		}
		if method == "" {
			method = string(pyjson.EncodeASCII(q, -1))
		}
		f.fail("%s says that the weights are quantised (%s): %s", key, method, unquantised)
	}
	return nil
}

// forgetQuantisation removes from f the description of weights that are read as numbers;
// bitsandbytes' weights stay codes, and keep theirs.
func forgetQuantisation(f *fields) {
	for _, key := range quantisationKeys {
		q, _ := f.raw[key].(map[string]any)
		method, _ := q["quant_method"].(string)
		if _, known := formats[method]; known || method == mxMethod {
			delete(f.raw, key)
		}
	}
}

// foldGrouped makes one tensor of the parts of each matrix, in the format that dir's
// config.json describes.
func (w *Weights) foldGrouped(dir string) (err error) {
	if !slices.ContainsFunc(w.names, w.quantised) {
		return nil
	}
	f, err := readFields(filepath.Join(dir, storage.ConfigFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	format := readQuantisation(f)
	if format == nil || f.err != nil {
		return f.err
	}
	defer storage.CatchFault(&err)()
	var made []location
	w.activations = format.activations()
	for _, name := range w.names {
		module := format.codes(name, w.DType(name))
		if module == "" {
			continue
		}
		p := &parts{weights: w, module: module, codes: name}
		m := format.matrix(p)
		if p.fit(m); p.err != nil {
			return p.err
		}
		e := entry{name: module + ".weight", dtype: m.label, shape: []int{m.rows, m.cols}}
		for _, part := range p.used {
			m.stored += uint64(len(w.tensors[part].data()))
			delete(w.tensors, part)
		}
		if _, twice := w.tensors[e.name]; twice {
			return fmt.Errorf("%s: tensor %q is stored in %s as well", w.Path(e.name), e.name, m.label)
		}
		made = append(made, location{file: p.file, entry: e, grouped: m})
	}
	for _, name := range w.names {
		if forActivations(name) {
			delete(w.tensors, name)
			w.activations = true
		}
	}
	w.names = slices.DeleteFunc(w.names, func(name string) bool { _, there := w.tensors[name]; return !there })
	for _, l := range made {
		w.tensors[l.entry.name], w.names = l, append(w.names, l.entry.name)
	}
	slices.Sort(w.names)
	return nil
}

// forActivations reports whether a tensor scales activations or the cache of keys and
// values.
func forActivations(name string) bool {
	_, last := cutLast(name)
	return slices.Contains([]string{
		"activation_scale", "input_scale", "input_zero_point", "input_global_scale", "input_scale_ub",
		"output_scale", "output_zero_point", "k_scale", "v_scale", "q_scale", "k_zero_point", "v_zero_point",
	}, last)
}

// cutLast splits a tensor's name at its last dot.
func cutLast(name string) (module, last string) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return "", name
	}
	return name[:i], name[i+1:]
}

// Quantised is the format in which the files store a quantised tensor; "" for others, and
// for MXFP4.
func (w *Weights) Quantised(name string) string {
	switch t := w.tensors[name]; {
	case t.codes != nil:
		return t.codes.format.Kind.String()
	case t.grouped != nil:
		return t.grouped.label
	}
	return ""
}

// Decoded reports whether a tensor's numbers are decoded from codes when it is read, and the
// size of these in bytes: such a tensor may also be read in bf16.
func (w *Weights) Decoded(name string) (stored uint64, ok bool) {
	if m := w.tensors[name].grouped; m != nil {
		return m.stored, true
	}
	return 0, false
}

// Activations reports whether the folder requests quantised activations, which are not
// implemented.
func (w *Weights) Activations() bool { return w.activations }

// IdleBias reports whether a tensor is the bias of a decoded matrix and all zeros: older
// GPTQ folders have one for every matrix, even for models without biases.
func (w *Weights) IdleBias(name string) (idle bool) {
	var fault error // of a truncated file, in which case it is not idle
	defer storage.CatchFault(&fault)()
	t, ok := w.tensors[name]
	return ok && w.tensors[moduleOf(name, "bias")+".weight"].grouped != nil && len(bytes.Trim(t.data(), "\x00")) == 0
}

// parts are the tensors of one matrix. The first error is kept.
type parts struct {
	weights *Weights
	module  string
	codes   string // the tensor by which the matrix is found
	file    *mapped
	used    []string
	err     error
}

// fail keeps the first error.
func (p *parts) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("%s: quantised tensor %q: %s", p.weights.Path(p.codes), p.codes, fmt.Sprintf(format, args...))
	}
}

// has reports whether the module has a part.
func (p *parts) has(part string) bool { _, ok := p.weights.tensors[p.module+"."+part]; return ok }

// get returns a part, which must have one of the dtypes; -1 in a shape is any size of at
// least 1. For a missing or different part the error is kept, and the result has no
// elements.
func (p *parts) get(part string, dtypes []string, shape ...int) location {
	name := p.module + "." + part
	l, ok := p.weights.tensors[name]
	if !ok {
		p.fail("its part %s is missing", name)
		return location{}
	}
	if !slices.Contains(p.used, name) {
		p.used = append(p.used, name)
	}
	if p.file == nil {
		p.file = l.file
	}
	fits := len(l.entry.shape) == len(shape) && slices.Contains(dtypes, l.entry.dtype)
	for i := 0; fits && i < len(shape); i++ {
		has := l.entry.shape[i]
		fits = has == shape[i] || shape[i] == -1 && has >= 1 && has <= maxSize
	}
	if !fits {
		p.fail("%s is %s %v, want %s %v (-1 is any size)", name, l.entry.dtype, l.entry.shape, strings.Join(dtypes, " or "), shape)
		return location{}
	}
	return l
}

// floatTypes are the dtypes of scales, integerTypes those of packed codes.
var floatTypes, integerTypes = []string{"F32", "F16", "BF16"}, []string{"I32"}

// fit checks the matrix's sizes against the limits on which the rest of the reader relies.
func (p *parts) fit(m *grouped) {
	if p.err == nil && (m.rows < 1 || m.cols < 1 || m.rows > maxSize || m.cols > maxSize) {
		p.fail("its matrix is [%d, %d]", m.rows, m.cols)
	}
}
