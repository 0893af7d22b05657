package decoder

import (
	"slices"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/quant"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// layout describes how checkpoints store a parameter whose numbers are in a different order
// there.
type layout struct {
	transposed  bool     // a matrix [in, out]
	pieces      []string // the names of the tensors that it is divided into: its rows, or equal parts of its rows
	stacked     bool     // [n, in, out] instead of [n, out, in]
	interleaved bool     // rows of the first and second half alternate (for [n, 2·k], the numbers do)
}

// plain reports whether files store the parameter as the model holds it.
func (l layout) plain() bool { return !l.transposed && l.pieces == nil && !l.stacked && !l.interleaved }

// laid builds a parameter that files store in layout l, and checks that the folder has its
// tensors.
func (b *builder) laid(l layout, allocate func() *tensor.Param) *tensor.Param {
	stored := b.stored
	if stored != nil {
		b.stored = func(name string, shape []int) bool {
			for _, t := range l.tensors(name, shape) {
				if !stored(t.Name, t.Shape) {
					return false
				}
			}
			return true
		}
	}
	p := allocate()
	if b.stored = stored; p != nil {
		if b.layouts == nil {
			b.layouts = map[*tensor.Param]layout{}
		}
		b.layouts[p] = l
	}
	return p
}

// tensors returns the names and shapes, without data, of a parameter's tensors in files.
func (l layout) tensors(name string, shape []int) []checkpoint.Tensor {
	switch {
	case l.transposed:
		return []checkpoint.Tensor{{Name: name, Shape: []int{shape[1], shape[0]}}}
	case l.pieces != nil:
		var out []checkpoint.Tensor
		one := shape[1:]
		if parts := len(l.pieces) / shape[0]; parts > 1 {
			one = append([]int{shape[1] / parts}, shape[2:]...)
		}
		for _, piece := range l.pieces {
			out = append(out, checkpoint.Tensor{Name: piece, Shape: one})
		}
		return out
	case l.stacked:
		return []checkpoint.Tensor{{Name: name, Shape: []int{shape[0], shape[2], shape[1]}}}
	}
	return []checkpoint.Tensor{{Name: name, Shape: shape}}
}

// split converts a parameter's numbers x to its tensors in files.
func (l layout) split(name string, shape []int, x []float32) []checkpoint.Tensor {
	out := l.tensors(name, shape)
	switch {
	case l.transposed:
		out[0].F32 = checkpoint.Transposed(x, shape[0], shape[1])
	case l.pieces != nil:
		n := len(x) / len(out)
		for i := range out {
			out[i].F32 = x[i*n : (i+1)*n]
		}
	case l.stacked || l.interleaved:
		x = slices.Clone(x)
		l.each(shape, x, func(m []float32, rows, cols int) {
			if l.interleaved {
				copy(m, interleaved(m, cols))
			}
			if l.stacked {
				copy(m, checkpoint.Transposed(m, rows, cols))
			}
		})
		out[0].F32 = x
	default:
		out[0].F32 = x
	}
	return out
}

// arrange converts the numbers of the tensors in files, concatenated in x, to the parameter's
// order. It is the inverse of split.
func (l layout) arrange(shape []int, x []float32) {
	if l.transposed {
		copy(x, checkpoint.Transposed(x, shape[1], shape[0]))
	}
	l.each(shape, x, func(m []float32, rows, cols int) {
		if l.stacked {
			copy(m, checkpoint.Transposed(m, cols, rows))
		}
		if l.interleaved {
			copy(m, deinterleaved(m, cols))
		}
	})
}

// each calls f for every matrix [rows, cols] of a stack; biases count as matrices with one
// column.
func (l layout) each(shape []int, x []float32, f func(m []float32, rows, cols int)) {
	if !l.stacked && !l.interleaved {
		return
	}
	rows, cols := shape[1], 1
	if len(shape) == 3 {
		cols = shape[2]
	}
	for i := range shape[0] {
		f(x[i*rows*cols:(i+1)*rows*cols], rows, cols)
	}
}

// interleaved returns m with the rows of its two halves alternating; deinterleaved is the inverse.
func interleaved(m []float32, cols int) []float32 {
	out, half := make([]float32, 0, len(m)), len(m)/2
	for at := 0; at < half; at += cols {
		out = append(append(out, m[at:at+cols]...), m[half+at:half+at+cols]...)
	}
	return out
}

func deinterleaved(m []float32, cols int) []float32 {
	out, half := make([]float32, len(m)), len(m)/2
	for at := 0; at < half; at += cols {
		copy(out[at:at+cols], m[2*at:])
		copy(out[half+at:half+at+cols], m[2*at+cols:])
	}
	return out
}

// tensors returns the names and shapes of the tensors that a folder has for p.
func (m *Model) tensors(p *tensor.Param, name string) []checkpoint.Tensor {
	return m.layouts[p].tensors(name, p.Shape)
}

// source returns where p's values are read from: the tensors under name in w.
func (m *Model) source(p *tensor.Param, w *checkpoint.Weights, name string) tensor.Source {
	l, other := m.layouts[p]
	if !other {
		return stored{w, name}
	}
	return arranged{w, l, name, p.Shape}
}

// arranged reads a parameter that files store in a layout.
type arranged struct {
	files  *checkpoint.Weights
	layout layout
	name   string
	shape  []int
}

// DType is "" because the numbers cannot be read without conversion.
func (a arranged) DType() string { return "" }

func (a arranged) Float32(x []float32) error {
	rest := x
	for _, t := range a.layout.tensors(a.name, a.shape) {
		n := 1
		for _, d := range t.Shape {
			n *= d
		}
		if err := a.files.ReadFloat32(t.Name, rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	a.layout.arrange(a.shape, x)
	return nil
}

// BF16 is never called, because DType is "".
func (a arranged) BF16([]driver.BF16) error { panic("decoder: bf16 of a tensor of another layout") }

// Codes implements tensor.CodedSource.
func (a arranged) Codes() (f quant.Format, p quant.Parts, ok bool, err error) {
	return f, p, false, nil
}
