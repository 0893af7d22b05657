package autograd

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/shortconv"
	"dataflex.dev/dataflex/model/tensor"
)

// ChannelWeights are the weights of a short causal convolution, W [channels, …, K] and Bias
// [channels] or nil. An op uses the channels from From on.
type ChannelWeights struct {
	W, Bias *tensor.Param
	From    int
}

// trainable reports whether the weights or the biases are trained.
func (c ChannelWeights) trainable() bool { return c.W.Trainable() || c.Bias.Trainable() }

// part returns the weights, or their gradients as of selects, of n channels.
func (c ChannelWeights) part(width, n int, of func(*tensor.Param) driver.F32) (w, bias driver.F32) {
	if w = of(c.W); !w.IsNil() {
		w = w.Sub(c.From*width, (c.From+n)*width)
	}
	if c.Bias == nil {
		return w, bias
	}
	if bias = of(c.Bias); !bias.IsNil() {
		bias = bias.Sub(c.From, c.From+n)
	}
	return w, bias
}

func values(p *tensor.Param) driver.F32    { return p.Data }
func gradients(p *tensor.Param) driver.F32 { return p.Grad }

// ShortConv records the convolution c of x [T, C] within each segment.
func (t *Tape) ShortConv(c shortconv.Conv, x *Value, by ChannelWeights) *Value {
	if t.err != nil {
		return nil
	}
	out := t.value(x.Rows, x.Cols, x.needsGrad || by.trainable())
	if out == nil {
		return nil
	}
	w, bias := by.part(c.Width, x.Cols, values)
	c.Forward(t.dev, x.Data(), w, bias, out.Data())
	if n := t.record(opShortConv, out, x); n != nil {
		n.conv, n.weight, n.bias, n.from = c, by.W, by.Bias, by.From
		n.save(x.data)
	}
	return out
}

func shortConvVJP(t *Tape, n *node) error {
	x := n.in[0]
	dx := t.buffer(x.Rows * x.Cols)
	if dx == nil {
		return t.err
	}
	by := ChannelWeights{n.weight, n.bias, n.from}
	w, bias := by.part(n.conv.Width, x.Cols, values)
	dw, db := by.part(n.conv.Width, x.Cols, gradients)
	n.conv.Backward(t.dev, n.out.grad.mem, n.saved[0].mem, w, bias, dx.mem, dw, db)
	t.addGrad(x, dx)
	return t.err
}

// KeepConv stores the last inputs of every sequence of x in its slot of tails, from which
// ShortConvStep continues. It is for passes that record nothing; see package shortconv.
func (t *Tape) KeepConv(c shortconv.Conv, x *Value, slots []int32, tails driver.F32) {
	if t.err == nil {
		c.Keep(t.dev, x.Data(), slots, tails)
	}
}

// ShortConvStep processes one new row per sequence with the inputs stored in its slot of tails,
// which it updates. It is for passes that record nothing; see package shortconv.
func (t *Tape) ShortConvStep(c shortconv.Conv, x *Value, by ChannelWeights, slots []int32, tails driver.F32) *Value {
	if t.err != nil {
		return nil
	}
	out := t.value(x.Rows, x.Cols, false)
	if out != nil {
		w, bias := by.part(c.Width, x.Cols, values)
		c.Step(t.dev, x.Data(), slots, tails, w, bias, out.Data())
	}
	return out
}
