package autograd

import (
	"slices"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/gradproj"
	"dataflex.dev/dataflex/kernels/lora"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/model/tensor"
)

// Linear is y = x Wᵀ + b, with an adapter y += s·dropout(x) Aᵀ Bᵀ where there is one.
type Linear struct {
	In, Out int
	Weight  *tensor.Param // [Out, In]
	Bias    *tensor.Param // [Out], or nil
	LoRA    *LoRA         // or nil
}

// LoRA is a low-rank adapter of one Linear, B·A scaled by s (Hu et al. 2021, arXiv:2106.09685,
// section 4.1), with the dropout of PEFT.
type LoRA struct {
	A, B    *tensor.Param // [Rank, In], [Out, Rank]
	Rank    int
	Scale   float32 // s
	Dropout float32 // probability that an element of x is set to zero in training
	DoRA    *DoRA   // nil: plain LoRA
	Pair    int     // the adapter's number in the model
	Offset  int     // of A in the vector of all trained parameters; B follows A
}

// FactorSink receives the factors of the per-sample gradients of the adapter with that Pair.
// The factors' memory is valid during the call only. Adapters come in descending order of Pair.
type FactorSink func(pair int, f gradproj.Factors) error

// linears are the layers of one opLinear: layers[i] computes rows rows[i] to rows[i+1]. A dense
// layer is a list of one; the experts of a mixture are a list of many. All have the same shape.
type linears struct {
	layers []*Linear
	rows   []int32  // on the host; nil = one launch computes all layers (see together)
	routed *Routing // the routing of the rows to experts; nil = the rows are the batch's tokens
}

// apart reads rows from the device, for computing layer by layer.
func (l *linears) apart() (err error) {
	if l.rows == nil {
		l.rows, err = l.routed.rows()
	}
	return err
}

func (l linears) trains() bool {
	for _, lin := range l.layers {
		if lin.Weight.Trainable() || lin.Bias.Trainable() || (lin.LoRA != nil && lin.LoRA.A.Trainable()) {
			return true
		}
	}
	return false
}

// narrows reports whether the layers multiply in bf16.
func (l linears) narrows() bool { return l.layers[0].Weight.Narrows() }

// rank returns the largest rank of the layers' adapters, 0 without adapters.
func (l linears) rank() int {
	rank := 0
	for _, lin := range l.layers {
		if lin.LoRA != nil {
			rank = max(rank, lin.LoRA.Rank)
		}
	}
	return rank
}

// Linear records y = l(x): [T, In] to [T, Out].
func (t *Tape) Linear(x *Value, l *Linear) *Value {
	if t.err != nil {
		return nil
	}
	if t.keepsHalf() && l.groups() {
		return t.group(x, []*Linear{l})[0]
	}
	return t.linear(x, linears{layers: []*Linear{l}, rows: []int32{0, int32(x.Rows)}})
}

// Experts records the outputs of a mixture's experts: layers[e] computes the rows of x that r
// assigns to expert e.
func (t *Tape) Experts(x *Value, layers []*Linear, r *Routing) *Value {
	if t.err != nil {
		return nil
	}
	l := linears{layers: layers, routed: r}
	if !t.together(l) {
		if err := l.apart(); err != nil {
			t.fail(err)
			return nil
		}
	}
	return t.linear(x, l)
}

func (t *Tape) linear(x *Value, l linears) *Value {
	trains, rank := l.trains(), l.rank()
	y := t.value(x.Rows, l.layers[0].Out, x.needsGrad || trains)
	if y == nil {
		return nil
	}
	m := memory{y: y.data}
	if t.readsFloats(l) {
		m.x = t.floats(x)
	}
	if rank > 0 {
		m.u = t.buffer(x.Rows * rank)
	}
	if t.dropsAny(l) {
		m.masked = t.buffer(x.Rows * x.Cols)
	}
	if l.dora() {
		m.z, m.scale, m.inverse = t.buffer(x.Rows*y.Cols), t.buffer(len(l.layers)*y.Cols), t.buffer(len(l.layers)*y.Cols)
	}
	if l.narrows() {
		m.xHalf = t.narrowed(x)
	}
	if l.rows == nil {
		t.expertProducts(m, l, x.Rows)
	}
	for i := range len(l.rows) - 1 {
		t.product(m.part(l, i), l.layers[i])
	}
	if t.err != nil {
		return nil
	}
	t.release(m.masked)
	if n := t.record(opLinear, y, x); n != nil {
		n.linears = l
		n.save(nil, m.u, m.z, m.scale, m.inverse)
		switch {
		case !trains || t.cheap(x):
		case m.x != nil:
			n.save(m.x)
		default:
			n.keepsHalf = true
			n.save(m.xHalf)
		}
	}
	for _, b := range []*buffer{m.u, m.z, m.scale, m.inverse} {
		t.release(b)
	}
	return y
}

// memory holds the buffers of a pass over linears, with the rows of all layers; unused ones are
// nil.
type memory struct {
	x, y, dx *buffer // in the backward pass y holds dy
	u, v     *buffer // [rows, rank], for the largest rank
	z        *buffer // y before DoRA's scaling
	scale    *buffer // DoRA's magnitude/norm [layers, Out]
	inverse  *buffer // DoRA's 1/norm [layers, Out]
	masked   *buffer // dropout(x)
	dMasked  *buffer // the gradient of masked

	xHalf, yHalf *buffer // x and y in bf16, if the layers multiply in bf16
}

// rowsOf is one layer's part of memory.
type rowsOf struct {
	rows                            int
	most                            int // the rows of all layers together
	x, y, dx, u, v, masked, dMasked gemm.F32
	z                               gemm.F32
	scale, inverse                  driver.F32
	xHalf, yHalf                    gemm.BF16
}

func (m memory) part(l linears, i int) rowsOf {
	lin, lo, hi := l.layers[i], int(l.rows[i]), int(l.rows[i+1])
	cut := func(b *buffer, width int) gemm.F32 {
		if b == nil {
			return gemm.F32{}
		}
		return gemm.Dense(b.mem.Sub(lo*width, hi*width), hi-lo, width)
	}
	p := rowsOf{
		rows: hi - lo, most: int(l.rows[len(l.layers)]), x: cut(m.x, lin.In), y: cut(m.y, lin.Out), dx: cut(m.dx, lin.In),
		masked: cut(m.masked, lin.In), dMasked: cut(m.dMasked, lin.In),
	}
	if lin.LoRA != nil {
		r, widest := lin.LoRA.Rank, l.rank()
		for _, side := range []struct {
			to   *gemm.F32
			from *buffer
		}{{&p.u, m.u}, {&p.v, m.v}} {
			if side.from != nil {
				*side.to = gemm.Dense(side.from.mem.Sub(lo*widest, lo*widest+(hi-lo)*r), hi-lo, r)
			}
		}
	}
	if lin.dora() {
		p.z, p.scale, p.inverse = cut(m.z, lin.Out), m.scale.mem.Sub(i*lin.Out, (i+1)*lin.Out), m.inverse.mem.Sub(i*lin.Out, (i+1)*lin.Out)
	}
	p.xHalf, p.yHalf = m.xHalf.rows(lo, hi, lin.In), m.yHalf.rows(lo, hi, lin.Out)
	return p
}

// product computes p.y, and p.u = dropout(x) Aᵀ.
func (t *Tape) product(p rowsOf, l *Linear) {
	if t.err != nil || p.rows == 0 {
		return
	}
	if l.dora() {
		t.doraProduct(p, l)
		return
	}
	var beta float32
	if l.Bias != nil {
		if t.bias(p, l); t.err != nil {
			return
		}
		beta = 1
	}
	a := l.LoRA
	if a != nil && l.Weight.Narrows() {
		t.adaptedBF16(p, l, beta)
		return
	}
	if a != nil && a.fusedProduct(t, gemm.NT, p, l, beta) {
		return
	}
	l.Weight.Multiply(t.dev, gemm.NT, 1, p.input(), beta, p.y)
	if a != nil {
		a.branch(l).Forward(t.dev, t.adapterInput(a, p), p.u, p.y)
	}
}

// input and output return x and y as operands of products; in the backward pass y holds dy.
func (p rowsOf) input() tensor.Operand  { return tensor.Operand{F32: p.x, BF16: p.xHalf} }
func (p rowsOf) output() tensor.Operand { return tensor.Operand{F32: p.y, BF16: p.yHalf} }

// bias sets every row of y to the bias, by the product of a column of ones with it.
func (t *Tape) bias(p rowsOf, l *Linear) {
	if ones := t.onesColumn(p); t.err == nil {
		gemm.Run(t.dev, gemm.NN, 1, gemm.Dense(ones, p.rows, 1), gemm.Dense(l.Bias.Data, 1, l.Out), 0, p.y)
	}
}

// adapterInput returns what A is multiplied with: x, or dropout(x) in p.masked. The mask is a
// function of the pass's seed, so the backward pass draws it again instead of keeping it.
func (t *Tape) adapterInput(a *LoRA, p rowsOf) gemm.F32 {
	if !t.drops(a) || p.rows == 0 {
		return p.x
	}
	t.mask(a, p.rows, p.x.Cols, p.x.Data, p.masked.Data, false)
	return p.masked
}

func (t *Tape) dropsAny(l linears) bool {
	return slices.ContainsFunc(l.layers, func(lin *Linear) bool { return lin.LoRA != nil && t.drops(lin.LoRA) })
}

// drops reports whether this pass applies dropout to the adapter's input.
func (t *Tape) drops(l *LoRA) bool { return t.mode.Dropout && l.Dropout > 0 }

// linearVJP computes dx += dy W + the adapter's part; dW += dyᵀ x; db += Σ rows of dy. It goes
// through the layers in reverse order, as FactorSink requires.
func linearVJP(t *Tape, n *node) error {
	l, x := n.linears, n.in[0]
	m := memory{y: n.out.grad, yHalf: n.out.halfGrad, u: n.saved[1], z: n.saved[2], scale: n.saved[3], inverse: n.saved[4]}
	if l.trains() {
		m.x, m.xHalf = t.inputs(n)
	}
	var beta float32
	if x.needsGrad {
		beta = t.accumulator(x)
		m.dx = x.grad
	}
	if rank := l.rank(); rank > 0 {
		m.v = t.buffer(x.Rows * rank)
	}
	if t.dropsAny(l) {
		m.masked = t.buffer(x.Rows * x.Cols)
		if x.needsGrad {
			m.dMasked = t.buffer(x.Rows * x.Cols)
		}
	}
	if m.yHalf != nil {
		m.yHalf.refs++
	} else if l.narrows() {
		m.yHalf = t.narrow(m.y, x.Rows*l.layers[0].Out)
	}
	if l.rows == nil && t.mode.Sink == nil {
		if err := t.expertGradients(m, l, x.Rows, beta); err != nil {
			return err
		}
	} else if err := l.apart(); err != nil {
		return err
	}
	for i := len(l.rows) - 2; i >= 0 && t.err == nil; i-- {
		segments, err := l.segments(t, i)
		if err != nil {
			return err
		}
		if err := t.productVJP(m.part(l, i), l.layers[i], beta, segments); err != nil {
			return err
		}
	}
	for _, b := range []*buffer{m.v, m.masked, m.dMasked, m.yHalf} {
		t.release(b)
	}
	return t.err
}

// input returns the input of a recorded op in float32: kept or recomputed.
func (t *Tape) input(n *node) *buffer {
	if n.saved[0] == nil {
		t.recomputed(n.in[0])
		return n.in[0].data
	}
	return n.saved[0]
}

// inputs returns x of a recorded Linear, kept or recomputed, in the forms that its products read.
func (t *Tape) inputs(n *node) (x, half *buffer) {
	v := n.in[0]
	switch {
	case n.keepsHalf:
		return nil, n.saved[0]
	case n.saved[0] == nil && v.data == nil && v.half == nil:
		t.recompute(v)
	}
	if x = n.saved[0]; x == nil {
		x = v.data
	}
	if x == nil && t.readsFloats(n.linears) {
		x = t.floats(v)
	}
	if n.linears.narrows() && t.err == nil {
		half = t.narrowedFrom(v, x)
	}
	return x, half
}

// readsFloats reports whether the layers read their input, or the gradient of their output, in
// float32, and not only in bf16.
func (t *Tape) readsFloats(l linears) bool {
	if !l.narrows() || l.dora() || t.mode.Sink != nil || t.dropsAny(l) {
		return true
	}
	return slices.ContainsFunc(l.layers, func(lin *Linear) bool { return lin.Weight.Trainable() || lin.Bias.Trainable() })
}

// segments returns where the samples begin among layer i's rows.
func (l linears) segments(t *Tape, i int) ([]int32, error) {
	if l.routed == nil || t.mode.Sink == nil {
		return t.mode.Segments, nil
	}
	return l.routed.segments(i, t.mode.Segments)
}

// productVJP is linearVJP for one layer.
func (t *Tape) productVJP(p rowsOf, l *Linear, beta float32, segments []int32) error {
	if l.Bias.Trainable() {
		ones := t.onesColumn(p)
		if t.err != nil {
			return t.err
		}
		for _, part := range t.parts(p.rows) {
			y := part.rows(p.y)
			gemm.Run(t.dev, gemm.NN, 1, gemm.Dense(ones.Sub(0, y.Rows), 1, y.Rows), y, 1, gemm.Dense(l.Bias.Grad, 1, l.Out))
		}
	}
	if l.dora() && p.rows > 0 {
		return t.doraVJP(p, l, beta, segments)
	}
	if l.Weight.Trainable() {
		for _, part := range t.parts(p.rows) {
			l.Weight.AddGradient(t.dev, part.operand(p.output()), part.operand(p.input()))
		}
	}
	if l.LoRA != nil && l.Weight.Narrows() && p.rows > 0 {
		return t.branchVJP(p, l, beta, segments)
	}
	fused := l.LoRA != nil && !p.dx.IsNil() && l.LoRA.fusedProduct(t, gemm.NN, p, l, beta)
	if !p.dx.IsNil() && !fused {
		l.Weight.Multiply(t.dev, gemm.NN, 1, p.output(), beta, p.dx)
	}
	if l.LoRA != nil && !l.Weight.Narrows() {
		return t.adapterVJP(p, l, fused, segments)
	}
	return nil
}

// fusedProduct computes a layer and its adapter in one product, if the weight is packed for it and
// this pass has no dropout: y and u for NT, dx and v for NN. It reports whether it did.
func (a *LoRA) fusedProduct(t *Tape, tr gemm.Transpose, p rowsOf, l *Linear, beta float32) bool {
	if t.drops(a) || p.rows == 0 {
		return false
	}
	w := a.branch(l)
	if tr == gemm.NT {
		return l.Weight.MultiplyLowRank(t.dev, tr, p.x, gemm.LowRank{Down: w.A, Up: w.B, DownScale: 1, UpScale: a.Scale, U: p.u}, beta, p.y)
	}
	return l.Weight.MultiplyLowRank(t.dev, tr, p.y, gemm.LowRank{Down: w.B, Up: w.A, DownScale: a.Scale, UpScale: 1, U: p.v}, beta, p.dx)
}

// adapterVJP adds the adapter's part to dx (nil = not wanted) unless inDX says that it is in it
// already. It adds to dA and dB, or passes their factors to the sink.
func (t *Tape) adapterVJP(p rowsOf, l *Linear, inDX bool, segments []int32) error {
	a := l.LoRA
	w := a.branch(l)
	var x gemm.F32
	if a.A.Trainable() {
		x = t.adapterInput(a, p)
		if t.mode.Sink == nil {
			w.DA, w.DB = gemm.Dense(a.A.Grad, a.Rank, l.In), gemm.Dense(a.B.Grad, l.Out, a.Rank)
		}
	}
	if !inDX {
		t.adapterBackward(a, a.branch(l), p)
	}
	for _, part := range t.partsIf(!w.DA.IsNil(), p.rows) {
		w.Gradient(t.dev, part.rows(p.y), part.rows(x), part.rows(p.u), part.rows(p.v))
	}
	if a.A.Trainable() && t.mode.Sink != nil {
		return t.mode.Sink(a.Pair, l.factors(p, x, segments))
	}
	return nil
}

// branch returns l's adapter as kernels/lora takes it, without memory for its gradients.
func (a *LoRA) branch(l *Linear) lora.Branch {
	return lora.Branch{A: gemm.Dense(a.A.Data, a.Rank, l.In), B: gemm.Dense(a.B.Data, l.Out, a.Rank), Scale: a.Scale}
}

// factors returns the factors of the gradients of l's adapter. x is what A was multiplied with.
func (l *Linear) factors(p rowsOf, x gemm.F32, segments []int32) gradproj.Factors {
	return gradproj.Factors{
		X: x.Data, DY: p.y.Data, U: p.u.Data, V: p.v.Data, In: l.In, Out: l.Out, Rank: l.LoRA.Rank, Scale: l.LoRA.Scale,
		Segments: segments, Offset: l.LoRA.Offset,
	}
}

// adapterBackward computes v and adds the adapter's part, with its dropout mask, to dx.
func (t *Tape) adapterBackward(a *LoRA, w lora.Branch, p rowsOf) {
	masks := t.drops(a) && !p.dx.IsNil() && p.rows > 0
	dx := p.dx
	if masks {
		dx = p.dMasked
		reduce.Fill(t.dev, 0, dx.Data)
	}
	w.Backward(t.dev, p.y, p.v, dx)
	if masks {
		t.mask(a, p.rows, dx.Cols, dx.Data, p.dx.Data, true)
	}
}

// onesColumn returns a column of ones with p.rows rows. It allocates one for the rows of all
// layers, so that a pass's memory does not depend on how tokens are routed.
func (t *Tape) onesColumn(p rowsOf) driver.F32 {
	if t.ones == nil || t.ones.mem.Len() < p.most {
		b := t.buffer(p.most)
		if b == nil {
			return driver.F32{}
		}
		reduce.Fill(t.dev, 1, b.mem)
		t.ones = b
	}
	return t.ones.mem.Sub(0, p.rows)
}
