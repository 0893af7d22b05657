package autograd

import (
	"dataflex/driver"
	"dataflex/kernels/dropout"
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

// linears are the layers of one opLinear: number i takes rows rows[i] to rows[i+1].
// A dense layer is one of them, the experts of a mixture are many. All have the same
// shape, and the same rank where they have adapters.
type linears struct {
	layers []*Linear
	rows   []int32
	routed *Routing // whose rows these are; nil = the batch's tokens
}

func (l linears) trains() bool {
	for _, lin := range l.layers {
		if lin.Weight.Trainable() || lin.Bias.Trainable() || (lin.LoRA != nil && lin.LoRA.A.Trainable()) {
			return true
		}
	}
	return false
}

// rank is the adapters' width, 0 without any.
func (l linears) rank() int {
	for _, lin := range l.layers {
		if lin.LoRA != nil {
			return lin.LoRA.Rank
		}
	}
	return 0
}

// Linear records y = l(x).
func (t *Tape) Linear(x *Value, l *Linear) *Value {
	if t.err != nil {
		return nil
	}
	return t.linear(x, linears{layers: []*Linear{l}, rows: []int32{0, int32(x.Rows)}})
}

// Experts records y: the rows of x that r gives expert e, through layers[e].
func (t *Tape) Experts(x *Value, layers []*Linear, r *Routing) *Value {
	if t.err != nil {
		return nil
	}
	return t.linear(x, linears{layers: layers, rows: r.plan.Offsets, routed: r})
}

func (t *Tape) linear(x *Value, l linears) *Value {
	trains, rank := l.trains(), l.rank()
	y := t.value(x.Rows, l.layers[0].Out, x.wants || trains)
	if y == nil {
		return nil
	}
	var u *buffer
	if rank > 0 {
		u = t.buffer(x.Rows * rank)
	}
	for i, lin := range l.layers {
		t.product(part(l, i, x.data, u, y.data), lin)
	}
	if t.err != nil {
		return nil
	}
	if n := t.record(opLinear, y, x); n != nil {
		n.linears = l
		n.save(nil, u)
		if trains && !t.cheap(x) {
			n.save(x.data)
		}
	}
	t.release(u)
	return y
}

// rowsOf is one layer's share of a pass; u and x are nil where they are not there.
type rowsOf struct {
	rows    int
	x, u, y driver.F32
}

func part(l linears, i int, x, u, y *buffer) rowsOf {
	lin, lo, hi := l.layers[i], int(l.rows[i]), int(l.rows[i+1])
	p := rowsOf{rows: hi - lo}
	if x != nil {
		p.x = x.mem.Sub(lo*lin.In, hi*lin.In)
	}
	if u != nil && lin.LoRA != nil {
		p.u = u.mem.Sub(lo*lin.LoRA.Rank, hi*lin.LoRA.Rank)
	}
	p.y = y.mem.Sub(lo*lin.Out, hi*lin.Out)
	return p
}

// product computes p.y, and p.u = dropout(x) Aᵀ.
func (t *Tape) product(p rowsOf, l *Linear) {
	if t.err != nil || p.rows == 0 {
		return
	}
	var beta float32
	if l.Bias != nil {
		ones := t.onesColumn(p.rows)
		if t.err != nil {
			return
		}
		// A product of depth 1: every row of y becomes the bias.
		gemm.Run(t.dev, gemm.NN, p.rows, l.Out, 1, 1, ones, 1, l.Bias.Data, l.Out, 0, p.y, l.Out)
		beta = 1
	}
	gemm.Run(t.dev, gemm.NT, p.rows, l.Out, l.In, 1, p.x, l.In, l.Weight.Data, l.In, beta, p.y, l.Out)
	a := l.LoRA
	if a == nil {
		return
	}
	x, own := t.dropped(a, p.rows, l.In, p.x)
	if t.err != nil {
		return
	}
	lora.Forward(t.dev, x, a.A.Data, a.B.Data, a.Scale, p.u, p.y, p.rows, l.In, l.Out, a.Rank)
	t.release(own)
}

// dropped is what A is multiplied with: x, or x with the pass's mask on it in a
// buffer of its own. The mask is drawn again in the backward pass rather than kept.
func (t *Tape) dropped(l *LoRA, rows, cols int, x driver.F32) (driver.F32, *buffer) {
	if !t.drops(l) || rows == 0 {
		return x, nil
	}
	b := t.buffer(rows * cols)
	if b == nil {
		return driver.F32{}, nil
	}
	dropout.Mask(t.dev, t.maskKey(l), l.Dropout, rows, cols, x, b.mem, false)
	return b.mem, b
}

// drops reports whether l's input is dropped out in this pass.
func (t *Tape) drops(l *LoRA) bool { return t.mode.Dropout && l.Dropout > 0 }

func (t *Tape) maskKey(l *LoRA) dropout.Key {
	return dropout.Key{Seed: t.mode.DropoutSeed, Stream: uint32(l.Pair)}
}

// linearVJP: dx += dy W + the adapter's; dW += dyᵀ x; db += Σ rows of dy. Layers come
// last first, as pairs must.
func linearVJP(t *Tape, n *node) error {
	l, x := n.linears, n.in[0]
	var in *buffer
	if l.trains() {
		in = t.input(n)
	}
	var dx *buffer
	var beta float32
	if x.wants {
		beta = t.accumulator(x)
		dx = x.grad
	}
	if t.err != nil {
		return t.err
	}
	for i := len(l.layers) - 1; i >= 0; i-- {
		p := part(l, i, in, n.saved[1], n.out.grad)
		var d driver.F32
		if dx != nil {
			lin := l.layers[i]
			d = dx.mem.Sub(int(l.rows[i])*lin.In, int(l.rows[i+1])*lin.In)
		}
		if err := t.productVJP(p, l.layers[i], d, beta, l.segments(t, i)); err != nil {
			return err
		}
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

// segments are the samples among layer i's rows.
func (l linears) segments(t *Tape, i int) []int32 {
	if l.routed == nil || t.mode.Sink == nil {
		return t.mode.Segments
	}
	return l.routed.segments(i, t.mode.Segments)
}

// productVJP is linearVJP for one layer; p.y is dy here, and dx nil where it is not
// wanted.
func (t *Tape) productVJP(p rowsOf, l *Linear, dx driver.F32, beta float32, segments []int32) error {
	if l.Bias.Trainable() {
		ones := t.onesColumn(p.rows)
		if t.err != nil {
			return t.err
		}
		gemm.Run(t.dev, gemm.NN, 1, l.Out, p.rows, 1, ones, p.rows, p.y, l.Out, 1, l.Bias.Grad, l.Out)
	}
	if l.Weight.Trainable() {
		gemm.Run(t.dev, gemm.TN, l.Out, l.In, p.rows, 1, p.y, l.Out, p.x, l.In, 1, l.Weight.Grad, l.In)
	}
	if !dx.IsNil() {
		gemm.Run(t.dev, gemm.NN, p.rows, l.In, l.Out, 1, p.y, l.Out, l.Weight.Data, l.In, beta, dx, l.In)
	}
	if l.LoRA != nil {
		return t.adapterVJP(p, l, dx, segments)
	}
	return nil
}

// adapterVJP adds the adapter's part to dx (nil = not wanted), and to dA and dB,
// or hands the factors of these to the sink.
func (t *Tape) adapterVJP(p rowsOf, l *Linear, dx driver.F32, segments []int32) error {
	a := l.LoRA
	f := gradproj.Factors{
		DY: p.y, U: p.u, In: l.In, Out: l.Out, Rank: a.Rank, Scale: a.Scale,
		Segments: segments, Offset: a.Offset,
	}
	v := t.buffer(p.rows * a.Rank)
	var own *buffer
	if a.A.Trainable() && t.err == nil {
		f.X, own = t.dropped(a, p.rows, l.In, p.x)
	}
	if t.err != nil {
		return t.err
	}
	f.V = v.mem
	var dA, dB driver.F32
	if a.A.Trainable() && t.mode.Sink == nil {
		dA, dB = a.A.Grad, a.B.Grad
	}
	if t.adapterBackward(a, f, dx, dA, dB, p.rows); t.err != nil {
		return t.err
	}
	var err error
	if a.A.Trainable() && t.mode.Sink != nil {
		err = t.mode.Sink(a.Pair, f)
	}
	t.release(own)
	t.release(v)
	return err
}

// adapterBackward is lora.Backward with the mask between A and dx.
func (t *Tape) adapterBackward(a *LoRA, f gradproj.Factors, dx, dA, dB driver.F32, rows int) {
	if !t.drops(a) || dx.IsNil() || rows == 0 {
		lora.Backward(t.dev, f.DY, f.X, a.A.Data, a.B.Data, f.U, a.Scale, f.V, dx, dA, dB, rows, f.In, f.Out, a.Rank)
		return
	}
	masked := t.buffer(rows * f.In)
	if masked == nil {
		return
	}
	reduce.Fill(t.dev, 0, masked.mem)
	lora.Backward(t.dev, f.DY, f.X, a.A.Data, a.B.Data, f.U, a.Scale, f.V, masked.mem, dA, dB, rows, f.In, f.Out, a.Rank)
	dropout.Mask(t.dev, t.maskKey(a), a.Dropout, rows, f.In, masked.mem, dx, true)
	t.release(masked)
}

// onesColumn is a vector of n ones.
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
