package autograd

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/norm"
	"dataflex.dev/dataflex/model/tensor"
)

// LayerOptions are the variants of LayerNorm.
type LayerOptions struct {
	Eps     float32
	Groups  int  // row i uses the weights and biases i mod Groups; 0 = 1
	OnePlus bool // multiply by 1+w instead of w: nemotron
}

// LayerNorm records (x − mean)/sqrt(variance + eps)·w + b (Ba et al. 2016, arXiv:1607.06450)
// over every width elements of x: whole rows, or their heads. w and b are [Groups, width]; nil
// leaves out the factor or the bias.
func (t *Tape) LayerNorm(x *Value, w, b *tensor.Param, width int, o LayerOptions) *Value {
	if t.err != nil {
		return nil
	}
	rows := x.Rows * x.Cols / width
	out, moments := t.value(x.Rows, x.Cols, x.needsGrad || w.Trainable() || b.Trainable()), t.buffer(2*rows)
	var factor *buffer
	if o.OnePlus {
		factor = t.onePlus(w)
	}
	if t.err != nil {
		return nil
	}
	layerOf(w, b, factor, o).Forward(t.dev, x.Data(), out.Data(), moments.mem, width)
	if n := t.record(opLayerNorm, out, x); n != nil {
		n.weight, n.bias, n.layer, n.width = w, b, o, width
		n.save(x.data, moments, factor)
	}
	t.release(moments)
	t.release(factor)
	return out
}

func layerOf(w, b *tensor.Param, onePlus *buffer, o LayerOptions) norm.Layer {
	l := norm.Layer{Eps: o.Eps, Groups: o.Groups}
	if w != nil {
		l.W = factorOf(w, onePlus)
	}
	if b != nil {
		l.B = b.Data
	}
	return l
}

// layerNormVJP overwrites the output's gradient with dx, to save memory.
func layerNormVJP(t *Tape, n *node) error {
	if t.ownGrad(n.out); t.err != nil {
		return t.err
	}
	var dw, db driver.F32
	if n.weight != nil {
		dw = n.weight.Grad
	}
	if n.bias != nil {
		db = n.bias.Grad
	}
	dx, x := n.out.grad, n.in[0]
	l := layerOf(n.weight, n.bias, n.saved[2], n.layer)
	for _, p := range t.partsIf(!dw.IsNil() || !db.IsNil(), x.Rows) {
		g := p.of(dx.mem, x.Cols)
		l.Backward(t.dev, g, p.of(n.saved[0].mem, x.Cols), p.of(n.saved[1].mem, 2*x.Cols/n.width), g, dw, db, n.width)
	}
	dx.refs++
	t.addGrad(x, dx)
	return t.err
}

func layerNormRecompute(t *Tape, n *node) {
	layerOf(n.weight, n.bias, n.saved[2], n.layer).Forward(t.dev, n.saved[0].mem, n.out.data.mem, n.saved[1].mem, n.width)
}
