package decoder

import (
	"slices"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/quant"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// layout is how checkpoints store a parameter whose numbers are in another order than here.
type layout struct {
	transposed bool     // [in, out]
	pieces     []string // it is divided into tensors with these names: its rows, or equal parts of them
	stacked    bool     // [n, in, out] instead of [n, out, in]
	inTurn     bool     // the rows of its two halves alternate (of [n, 2·k], the numbers)
}

// plain reports whether it is stored as it is here.
func (l layout) plain() bool { return !l.transposed && l.pieces == nil && !l.stacked && !l.inTurn }

// laid makes a parameter that is stored in a layout, and looks for it in the folder in that
// form.
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

// tensors are the stored tensors, without data, of a parameter of that name and shape.
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

// split converts a parameter's numbers x to the stored tensors.
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
	case l.stacked || l.inTurn:
		x = slices.Clone(x)
		l.each(shape, x, func(m []float32, rows, cols int) {
			if l.inTurn {
				copy(m, takeTurns(m, cols))
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

// arrange converts the numbers of the stored tensors, concatenated in x, to the parameter's
// order.
func (l layout) arrange(shape []int, x []float32) {
	if l.transposed {
		copy(x, checkpoint.Transposed(x, shape[1], shape[0]))
	}
	l.each(shape, x, func(m []float32, rows, cols int) {
		if l.stacked {
			copy(m, checkpoint.Transposed(m, cols, rows))
		}
		if l.inTurn {
			copy(m, takeApart(m, cols))
		}
	})
}

// each calls f for every matrix [rows, cols] of a stack; biases have rows of one number.
func (l layout) each(shape []int, x []float32, f func(m []float32, rows, cols int)) {
	if !l.stacked && !l.inTurn {
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

// takeTurns makes the rows of m's halves alternate, and takeApart restores the halves.
func takeTurns(m []float32, cols int) []float32 {
	out, half := make([]float32, 0, len(m)), len(m)/2
	for at := 0; at < half; at += cols {
		out = append(append(out, m[at:at+cols]...), m[half+at:half+at+cols]...)
	}
	return out
}

func takeApart(m []float32, cols int) []float32 {
	out, half := make([]float32, len(m)), len(m)/2
	for at := 0; at < half; at += cols {
		copy(out[at:at+cols], m[2*at:])
		copy(out[half+at:half+at+cols], m[2*at+cols:])
	}
	return out
}

// tensors converts p to the tensors that a folder has under name.
func (m *Model) tensors(p *tensor.Param, name string) []checkpoint.Tensor {
	return m.layouts[p].tensors(name, p.Shape)
}

// source is p in files under name.
func (m *Model) source(p *tensor.Param, w *checkpoint.Weights, name string) tensor.Source {
	l, other := m.layouts[p]
	if !other {
		return stored{w, name}
	}
	return arranged{w, l, name, p.Shape}
}

// arranged is the source of a parameter in a layout.
type arranged struct {
	files  *checkpoint.Weights
	layout layout
	name   string
	shape  []int
}

// DType is "", because the numbers must be converted.
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

// BF16 is never called.
func (a arranged) BF16([]driver.BF16) error { panic("decoder: bf16 of a tensor of another layout") }

// Codes implements tensor.CodedSource.
func (a arranged) Codes() (f quant.Format, p quant.Parts, ok bool, err error) {
	return f, p, false, nil
}
