package decoder

import (
	"fmt"
	"slices"

	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/tensor"
)

// norm is RMSNorm or LayerNorm. It always has a weight; where the model has none, ones.
type norm struct {
	weight, bias  *tensor.Param // bias nil: none
	width, groups int           // the weight is [groups, width]: rows of width elements take turns with its rows
	centred       bool          // LayerNorm, which subtracts the mean
	onePlus       bool          // it multiplies by 1+w
	eps           float32
}

// normed records norm(x) in the place of x.
func (m *Model) normed(x *autograd.Value, n norm) *autograd.Value {
	h := m.normOf(x, n)
	m.tape.Drop(x)
	return h
}

func (m *Model) normOf(x *autograd.Value, n norm) *autograd.Value {
	if n.centred {
		return m.tape.LayerNorm(x, n.weight, n.bias, n.width, autograd.LayerOptions{Eps: n.eps, Groups: n.groups, OnePlus: n.onePlus})
	}
	return m.tape.Norm(x, n.weight, autograd.NormOptions{Eps: n.eps, OnePlus: n.onePlus})
}

// norm builds a norm of the family's kind: with parameters, or with constant ones that are
// neither trained nor saved.
func (b *builder) norm(path string, width int) norm {
	n := norm{width: width, groups: 1, centred: b.f.layerNorm, onePlus: b.f.onePlus, eps: b.c.Eps}
	if b.f.bareNorms {
		n.weight = b.onesOf(width)
		return n
	}
	if n.weight = b.param(path, width); n.weight != nil && b.f.zeroNorms {
		b.parts[len(b.parts)-1].zero = true
	}
	if b.f.normBias {
		n.bias = b.bias(path, width)
	}
	return n
}

// onesOf is a constant tensor of that many ones.
func (b *builder) onesOf(width int) *tensor.Param {
	if p := b.ones[width]; p != nil || b.err != nil {
		return p
	}
	p, err := tensor.New(b.dev, "ones", width)
	if err == nil {
		err = p.Upload(b.dev, slices.Repeat([]float32{1}, width))
	}
	if b.err = err; b.ones == nil {
		b.ones = map[int]*tensor.Param{}
	}
	b.ones[width] = p
	return p
}

// bias is the bias of a module that is not a linear layer.
func (b *builder) bias(path string, width int) *tensor.Param {
	p := b.tensor(false, path+".bias", width)
	if p != nil {
		b.parts = append(b.parts, part{path: path, param: p, zero: true})
	}
	return p
}

// headNorm is a norm per head in which every head has its own weights.
func (b *builder) headNorm(path string, heads, width int) norm {
	n := norm{width: width, groups: heads, centred: b.f.layerNorm, onePlus: b.f.onePlus, eps: b.c.Eps}
	if b.f.headNorms == ownWeights {
		n.weight = b.tensor(false, path+".weight", heads, width)
	} else {
		var l layout
		for i := range heads {
			l.pieces = append(l.pieces, fmt.Sprintf("%s.norms.%d.weight", path, i))
		}
		n.weight = b.laid(l, func() *tensor.Param { return b.tensor(false, path+".norms.weight", heads, width) })
	}
	if n.weight != nil {
		b.parts = append(b.parts, part{path: path, param: n.weight, ones: true})
	}
	return n
}
