package autograd

import (
	"dataflex/driver"
	"dataflex/kernels/gemm"
	"dataflex/kernels/gradproj"
	"dataflex/kernels/lora"
	"dataflex/kernels/reduce"
	"dataflex/model/tensor"
)

// Linear is y = x Wᵀ + b, with an adapter y += s·dropout(x) Aᵀ Bᵀ where there is one.
type Linear struct {
	In, Out int
	Weight  *tensor.Param // [Out, In]
	Bias    *tensor.Param // [Out], or nil
	LoRA    *LoRA         // or nil
}

// LoRA is a low-rank adapter of one Linear (Hu et al. 2021, as PEFT computes it).
type LoRA struct {
	A, B    *tensor.Param // [Rank, In], [Out, Rank]
	Rank    int
	Scale   float32 // s
	Dropout float32 // share of the entries of x set to zero while training
	Pair    int     // its number among the model's adapters
	Offset  int     // of A in the flattened trainable vector; B follows A
}

// FactorSink receives the factors of adapter number pair's per-sample gradients.
// Their memory is valid during the call only. Pairs come last first.
type FactorSink func(pair int, f gradproj.Factors) error

// Linear records y = l(x).
func (t *Tape) Linear(x *Value, l *Linear) *Value {
	if t.err != nil {
		return nil
	}
	trains := l.Weight.Trainable() || l.Bias.Trainable() || (l.LoRA != nil && l.LoRA.A.Trainable())
	y := t.value(x.Rows, l.Out, x.wants || trains)
	if y == nil {
		return nil
	}
	var beta float32
	if l.Bias != nil {
		ones := t.onesColumn(x.Rows)
		if t.err != nil {
			return nil
		}
		// A product of depth 1: every row of y becomes the bias.
		gemm.Run(t.dev, gemm.NN, x.Rows, l.Out, 1, 1, ones, 1, l.Bias.Data, l.Out, 0, y.Data(), l.Out)
		beta = 1
	}
	gemm.Run(t.dev, gemm.NT, x.Rows, l.Out, l.In, 1, x.Data(), l.In, l.Weight.Data, l.In, beta, y.Data(), l.Out)
	u := t.adapt(x, l.LoRA, y)
	if t.err != nil {
		return nil
	}
	if n := t.record(opLinear, y, x); n != nil {
		n.linear = l
		n.save(nil, u)
		if trains && !t.cheap(x) {
			n.save(x.data)
		}
	}
	t.release(u)
	return y
}

// adapt adds the adapter's part to y and returns u = dropout(x) Aᵀ, held once; nil
// without an adapter.
func (t *Tape) adapt(x *Value, l *LoRA, y *Value) (u *buffer) {
	if l == nil {
		return nil
	}
	xa := t.dropped(l, x.Rows, x.Cols, x.data)
	if u = t.buffer(x.Rows * l.Rank); t.err != nil {
		return nil
	}
	lora.Forward(t.dev, xa.mem, l.A.Data, l.B.Data, l.Scale, u.mem, y.Data(), x.Rows, x.Cols, y.Cols, l.Rank)
	t.release(xa)
	return u
}

// dropped is what A is multiplied with, held once more: x, or x with the pass's
// mask on it. The mask is drawn again in the backward pass rather than kept.
func (t *Tape) dropped(l *LoRA, rows, cols int, x *buffer) *buffer {
	if !t.drops(l) {
		x.refs++
		return x
	}
	b := t.buffer(rows * cols)
	if b != nil {
		dropout(t.dev, t.maskKey(l), l.Dropout, rows, cols, x.mem, b.mem, false)
	}
	return b
}

// drops reports whether l's input is dropped out in this pass.
func (t *Tape) drops(l *LoRA) bool { return t.mode.Dropout && l.Dropout > 0 }

// linearVJP: dx += dy W + the adapter's; dW += dyᵀ x; db += Σ rows of dy.
func linearVJP(t *Tape, n *node) error {
	l, x, dy := n.linear, n.in[0], n.out.grad.mem
	rows := x.Rows
	if l.Bias.Trainable() {
		ones := t.onesColumn(rows)
		if t.err != nil {
			return t.err
		}
		gemm.Run(t.dev, gemm.NN, 1, l.Out, rows, 1, ones, rows, dy, l.Out, 1, l.Bias.Grad, l.Out)
	}
	if l.Weight.Trainable() {
		in := t.input(n)
		if t.err != nil {
			return t.err
		}
		gemm.Run(t.dev, gemm.TN, l.Out, l.In, rows, 1, dy, l.Out, in.mem, l.In, 1, l.Weight.Grad, l.In)
	}
	var dx driver.F32
	if x.wants {
		var beta float32
		if dx, beta = t.accumulator(x); t.err != nil {
			return t.err
		}
		gemm.Run(t.dev, gemm.NN, rows, l.In, l.Out, 1, dy, l.Out, l.Weight.Data, l.In, beta, dx, l.In)
	}
	if l.LoRA != nil {
		return t.adapterVJP(n, l, dx, rows)
	}
	return nil
}

// input is x of a recorded Linear: kept, or computed again.
func (t *Tape) input(n *node) *buffer {
	if n.saved[0] == nil {
		t.again(n.in[0])
		return n.in[0].data
	}
	return n.saved[0]
}

// adapterVJP adds the adapter's part to dx (nil = not wanted), and to dA and dB,
// or hands the factors of these to the sink.
func (t *Tape) adapterVJP(n *node, l *Linear, dx driver.F32, rows int) error {
	a := l.LoRA
	f := gradproj.Factors{
		DY: n.out.grad.mem, U: n.saved[1].mem, In: l.In, Out: l.Out, Rank: a.Rank, Scale: a.Scale,
		Segments: t.mode.Segments, Offset: a.Offset,
	}
	v := t.buffer(rows * a.Rank)
	var dA, dB driver.F32
	var xa *buffer
	if a.A.Trainable() {
		if in := t.input(n); t.err == nil {
			xa = t.dropped(a, rows, l.In, in)
		}
	}
	if t.err != nil {
		return t.err
	}
	f.V = v.mem
	if xa != nil {
		f.X = xa.mem
		if t.mode.Sink == nil {
			dA, dB = a.A.Grad, a.B.Grad
		}
	}
	if t.adapterBackward(a, f, dx, dA, dB, rows); t.err != nil {
		return t.err
	}
	var err error
	if xa != nil && t.mode.Sink != nil {
		err = t.mode.Sink(a.Pair, f)
	}
	t.release(xa)
	t.release(v)
	return err
}

// adapterBackward is lora.Backward with the mask between A and dx.
func (t *Tape) adapterBackward(a *LoRA, f gradproj.Factors, dx, dA, dB driver.F32, rows int) {
	if !t.drops(a) || dx.IsNil() {
		lora.Backward(t.dev, f.DY, f.X, a.A.Data, a.B.Data, f.U, a.Scale, f.V, dx, dA, dB, rows, f.In, f.Out, a.Rank)
		return
	}
	masked := t.buffer(rows * f.In)
	if masked == nil {
		return
	}
	reduce.Fill(t.dev, 0, masked.mem)
	lora.Backward(t.dev, f.DY, f.X, a.A.Data, a.B.Data, f.U, a.Scale, f.V, masked.mem, dA, dB, rows, f.In, f.Out, a.Rank)
	dropout(t.dev, t.maskKey(a), a.Dropout, rows, f.In, masked.mem, dx, true)
	t.release(masked)
}

// onesColumn is a vector of at least n ones.
func (t *Tape) onesColumn(n int) driver.F32 {
	if t.ones == nil || t.ones.mem.Len() < n {
		b := t.buffer(n)
		if b == nil {
			return driver.F32{}
		}
		reduce.Fill(t.dev, 1, b.mem)
		t.ones = b
	}
	return t.ones.mem.Sub(0, n)
}

// MergeLoRA adds the adapter to the weight, W += s·B A, and leaves it in place.
func (l *Linear) MergeLoRA(dev driver.Device) {
	a := l.LoRA
	gemm.Run(dev, gemm.NN, l.Out, l.In, a.Rank, a.Scale, a.B.Data, a.Rank, a.A.Data, l.In, 1, l.Weight.Data, l.In)
}
