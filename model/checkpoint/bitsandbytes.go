package checkpoint

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/kernels/quant"
)

// bitsandbytes' matrices are saved as their codes, under the matrix's own name, and their
// other parts under names that begin with it (transformers' save_pretrained of a model with
// load_in_4bit or load_in_8bit). They are read as one tensor of the matrix's shape.

// codedMatrix locates the parts of a matrix in codes.
type codedMatrix struct {
	format quant.Format
	offset float32
	absmax location // [blocks], or in 8 bits [rows]
	tables []location
	nested location
}

const (
	stateMark   = ".quant_state.bitsandbytes__"
	scalesOfRow = "SCB"
)

// quantState is the JSON in a tensor quant_state.bitsandbytes__nf4 (bitsandbytes 0.50,
// functional.QuantState.as_dict).
type quantState struct {
	Type            string   `json:"quant_type"`
	Block           int      `json:"blocksize"`
	Shape           []int    `json:"shape"`
	NestedBlock     int      `json:"nested_blocksize"`
	NestedOffset    *float64 `json:"nested_offset"`
	NestedDTypeName string   `json:"nested_dtype"`
}

// foldCodes makes one tensor of each matrix in bitsandbytes' codes.
func (w *Weights) foldCodes() (err error) {
	defer storage.CatchFault(&err)()
	var folded []string // names of tensors that are parts of others
	for _, name := range w.names {
		var parts []string
		if base, _, ok := strings.Cut(name, stateMark); ok {
			parts, err = w.fold4(base, name)
		} else if base, ok := strings.CutSuffix(name, "."+scalesOfRow); ok && w.DType(base+".weight") == "I8" {
			parts, err = w.fold8(base)
		}
		if err != nil {
			return err
		}
		folded = append(folded, parts...)
	}
	if len(folded) == 0 {
		return nil
	}
	for _, name := range folded {
		delete(w.tensors, name)
	}
	w.names = slices.DeleteFunc(w.names, func(name string) bool { _, there := w.tensors[name]; return !there })
	return nil
}

// fold4 makes a tensor of the matrix base in 4 bits, whose state is in the tensor named
// state, and returns the names of its other parts.
func (w *Weights) fold4(base, state string) (parts []string, err error) {
	fault := func(format string, args ...any) ([]string, error) {
		return nil, fmt.Errorf("%s: tensor %q in bitsandbytes' 4 bits: %s", w.Path(state), base, fmt.Sprintf(format, args...))
	}
	var s quantState
	if err := json.Unmarshal(w.bytes(state), &s); err != nil {
		return fault("%s is no JSON: %v", state, err)
	}
	kind := slices.Index([]string{quant.NF4: "nf4", quant.FP4: "fp4"}, s.Type)
	if kind < 0 || len(s.Shape) != 2 {
		return fault("quant_type %q of shape %v: nf4 and fp4 matrices are read", s.Type, s.Shape)
	}
	c := &codedMatrix{format: quant.Format{Kind: quant.Kind(kind), Block: s.Block, Double: s.NestedOffset != nil}}
	if err := c.format.Valid(); err != nil {
		return fault("%v", err)
	}
	for _, p := range []struct {
		name string
		to   func(location)
		need bool
	}{
		{".absmax", func(l location) { c.absmax = l }, true},
		{".quant_map", func(l location) { c.tables = append(c.tables, l) }, true},
		{".nested_quant_map", func(l location) { c.tables = append(c.tables, l) }, c.format.Double},
		{".nested_absmax", func(l location) { c.nested = l }, c.format.Double},
	} {
		if !p.need {
			continue
		}
		l, ok := w.tensors[base+p.name]
		if !ok {
			return fault("%s%s is missing", base, p.name)
		}
		p.to(l)
		parts = append(parts, base+p.name)
	}
	if c.format.Double {
		if s.NestedBlock != 256 {
			return fault("nested_blocksize %d: 256 is read", s.NestedBlock)
		}
		c.offset = float32(*s.NestedOffset)
	}
	if err := w.place(base, c, s.Shape); err != nil {
		return nil, err
	}
	return append(parts, state), nil
}

// fold8 makes a tensor of the matrix of a module in 8 bits.
func (w *Weights) fold8(module string) (parts []string, err error) {
	base := module + ".weight"
	scales := module + "." + scalesOfRow
	parts = []string{scales}
	if format := module + ".weight_format"; w.DType(format) != "" {
		if b := w.bytes(format); len(b) != 1 || b[0] != 0 {
			return nil, fmt.Errorf("%s: tensor %q in bitsandbytes' 8 bits is stored in the order of a GPU (weight_format %v): save it again with bitsandbytes 0.45 or newer", w.Path(format), base, b)
		}
		parts = append(parts, format)
	}
	c := &codedMatrix{format: quant.Format{Kind: quant.Int8}, absmax: w.tensors[scales]}
	return parts, w.place(base, c, w.tensors[base].entry.shape)
}

// bytes is the content of a tensor.
func (w *Weights) bytes(name string) []byte {
	l := w.tensors[name]
	return l.file.data[l.entry.begin:l.entry.end]
}

// place replaces the tensor that holds the codes by the matrix.
func (w *Weights) place(name string, c *codedMatrix, shape []int) error {
	l, ok := w.tensors[name]
	if !ok || len(shape) != 2 || shape[0] < 1 || shape[1] < 1 || shape[0] > maxSize || shape[1] > maxSize {
		return fmt.Errorf("%s: tensor %q in bitsandbytes' codes, of shape %v, is missing or not a matrix", w.where(), name, shape)
	}
	l.entry.shape, l.entry.dtype, l.codes = shape, strings.ToUpper(c.format.Kind.String()), c
	if err := c.check(l); err != nil {
		return fmt.Errorf("%s: tensor %q in bitsandbytes' %v: %w", l.file.path, name, c.format.Kind, err)
	}
	w.tensors[name] = l
	return nil
}

// check compares the sizes of the parts with the matrix's shape.
func (c *codedMatrix) check(l location) error {
	n := l.entry.shape[0] * l.entry.shape[1]
	codes, scales := n, l.entry.shape[0]
	if c.format.Kind != quant.Int8 {
		codes, scales = (n+1)/2, (n+c.format.Block-1)/c.format.Block
	}
	if has := int(l.entry.end - l.entry.begin); has != codes {
		return fmt.Errorf("%d bytes of codes, its shape %v has %d", has, l.entry.shape, codes)
	}
	wantDType := "F32"
	if c.format.Double {
		wantDType = "U8"
		if has, want := elements(c.nested), (scales+255)/256; has != want {
			return fmt.Errorf("nested_absmax has %d elements, want %d", has, want)
		}
	}
	if has := elements(c.absmax); has != scales || c.absmax.entry.dtype != wantDType {
		return fmt.Errorf("absmax or SCB has %d elements of %s, want %d of %s", has, c.absmax.entry.dtype, scales, wantDType)
	}
	for i, t := range c.tables {
		if has := elements(t); has != []int{16, 256}[i] {
			return fmt.Errorf("%s has %d elements", t.entry.name, has)
		}
	}
	return nil
}

func elements(l location) int {
	n := 1
	for _, d := range l.entry.shape {
		n *= d
	}
	return n
}

// Coded is the format of a tensor in codes; ok is false if it is not in codes.
func (w *Weights) Coded(name string) (f quant.Format, ok bool) {
	if c := w.tensors[name].codes; c != nil {
		return c.format, true
	}
	return f, false
}

// ReadCodes copies the codes of a tensor for which Coded is true.
func (w *Weights) ReadCodes(name string) (p quant.Parts, err error) {
	defer storage.CatchFault(&err)()
	l := w.tensors[name]
	return l.parts()
}

func (l location) parts() (p quant.Parts, err error) {
	c := l.codes
	p.Codes = slices.Clone(l.file.data[l.entry.begin:l.entry.end])
	p.Offset = c.offset
	floats := func(l location) []float32 {
		x := make([]float32, elements(l))
		if err == nil && !toFloat32(l.entry.dtype, l.file.data[l.entry.begin:l.entry.end], x) {
			err = fmt.Errorf("%s: tensor %q is %s, which is not read", l.file.path, l.entry.name, l.entry.dtype)
		}
		return x
	}
	for _, t := range c.tables {
		p.Tables = append(p.Tables, floats(t)...)
	}
	if !c.format.Double {
		p.Absmax = floats(c.absmax)
		return p, err
	}
	p.AbsmaxCodes = slices.Clone(c.absmax.file.data[c.absmax.entry.begin:c.absmax.entry.end])
	p.Nested = floats(c.nested)
	return p, err
}

// decode converts a matrix in codes to numbers in dst.
func (l location) decode(dst []float32) error {
	p, err := l.parts()
	if err != nil {
		return err
	}
	copy(dst, p.Decoded(l.codes.format, l.entry.shape[0], l.entry.shape[1]))
	return nil
}
