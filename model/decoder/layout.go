package decoder

import (
	"slices"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/quant"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// layout is how a checkpoint holds a parameter that does not lie there as it does here.
type layout struct {
	transposed bool     // [in, out]
	pieces     []string // its rows are tensors of these names
}

// laid makes a parameter that is stored otherwise, and asks for it in the folder as it is
// stored there.
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

// tensors are the stored ones, without their numbers, of a parameter of that name and shape.
func (l layout) tensors(name string, shape []int) []checkpoint.Tensor {
	switch {
	case l.transposed:
		return []checkpoint.Tensor{{Name: name, Shape: []int{shape[1], shape[0]}}}
	case l.pieces != nil:
		var out []checkpoint.Tensor
		for _, piece := range l.pieces {
			out = append(out, checkpoint.Tensor{Name: piece, Shape: shape[1:]})
		}
		return out
	}
	return []checkpoint.Tensor{{Name: name, Shape: shape}}
}

// split gives the stored tensors of a parameter its numbers x.
func (l layout) split(name string, shape []int, x []float32) []checkpoint.Tensor {
	out := l.tensors(name, shape)
	switch {
	case l.transposed:
		out[0].F32 = checkpoint.Transposed(x, shape[0], shape[1])
	case l.pieces != nil:
		for i := range out {
			out[i].F32 = x[i*shape[1] : (i+1)*shape[1]]
		}
	default:
		out[0].F32 = x
	}
	return out
}

// tensors are p's as a folder holds them under name.
func (m *Model) tensors(p *tensor.Param, name string) []checkpoint.Tensor {
	return m.layouts[p].tensors(name, p.Shape)
}

// source is p in files under name.
func (m *Model) source(p *tensor.Param, w *checkpoint.Weights, name string) tensor.Source {
	l, other := m.layouts[p]
	if !other {
		return stored{w, name}
	}
	return arranged{w, l.tensors(name, p.Shape), l.transposed}
}

// arranged is a parameter of another layout.
type arranged struct {
	files      *checkpoint.Weights
	tensors    []checkpoint.Tensor
	transposed bool
}

// DType says that the numbers want converting.
func (a arranged) DType() string { return "" }

func (a arranged) Float32(x []float32) error {
	for _, t := range a.tensors {
		n := 1
		for _, d := range t.Shape {
			n *= d
		}
		if err := a.files.ReadFloat32(t.Name, x[:n]); err != nil {
			return err
		}
		if a.transposed {
			copy(x, checkpoint.Transposed(slices.Clone(x), t.Shape[0], t.Shape[1]))
		}
		x = x[n:]
	}
	return nil
}

// BF16 is not asked for.
func (a arranged) BF16([]driver.BF16) error { panic("decoder: bf16 of a tensor of another layout") }

// Codes implements tensor.CodedSource.
func (a arranged) Codes() (f quant.Format, p quant.Parts, ok bool, err error) {
	return f, p, false, nil
}
