package autograd

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/model/tensor"
)

// Weights that multiply in bf16 (bf16 weights, and quantised ones on tensor cores) need both
// operands in bf16; products are summed in float32. On a tape without Half all other values
// stay float32, and a value is converted once for all products that read it.

// rowChunk is the multiple, in elements, that rows of bf16 operands are padded to: 16 bytes.
const rowChunk = 8

func padded(n int) int { return (n + rowChunk - 1) / rowChunk * rowChunk }

// bf16Buffer returns a buffer for n bf16 numbers.
func (t *Tape) bf16Buffer(n int) *buffer { return t.buffer((n + 1) / 2) }

// bf16 returns b's memory as n bf16 numbers.
func (b *buffer) bf16(n int) driver.Slice[driver.BF16] {
	return driver.View[driver.BF16](b.mem.Memory()).Sub(0, n)
}

// rows returns rows lo to hi of a bf16 matrix; nil if b is nil.
func (b *buffer) rows(lo, hi, width int) gemm.BF16 {
	if b == nil {
		return gemm.BF16{}
	}
	return gemm.Dense(b.bf16(hi*width).Sub(lo*width, hi*width), hi-lo, width)
}

// narrow converts n floats of x to bf16, in a new buffer; nil after an error.
func (t *Tape) narrow(x *buffer, n int) *buffer {
	half := t.bf16Buffer(n)
	if half != nil {
		cast.Narrow(t.dev, x.mem, half.bf16(n))
	}
	return half
}

// narrowedFrom returns v in bf16, converted from x, which holds v's data. It is released with
// v.
func (t *Tape) narrowedFrom(v *Value, x *buffer) *buffer {
	if v.half == nil {
		v.half = t.narrow(x, v.Rows*v.Cols)
	}
	return v.half
}

// clear fills b with zeros.
func (t *Tape) clear(b *buffer) { reduce.Fill(t.dev, 0, b.mem) }

// operand returns x as an operand of products with l's weight. If the weight multiplies in
// bf16, half is the buffer of the bf16 copy, with room for most rows.
func (t *Tape) operand(l *Linear, x gemm.F32, most int) (o tensor.Operand, half *buffer) {
	o.F32 = x
	if !l.Weight.Narrows() {
		return o, nil
	}
	if half = t.bf16Buffer(most * x.Cols); half != nil {
		o.BF16 = gemm.Dense(half.bf16(x.Rows*x.Cols), x.Rows, x.Cols)
		cast.Narrow(t.dev, x.Data, o.BF16.Data)
	}
	return o, half
}

// adaptedBF16 computes y = x Wᵀ + beta y plus the adapter's contribution, and p.u.
func (t *Tape) adaptedBF16(p rowsOf, l *Linear, beta float32) {
	a, r := t.branch(p, l), l.LoRA.Rank
	if t.err != nil {
		return
	}
	t.maskBranch(&a, p, l)
	gemm.RunBF16(t.dev, gemm.NT, 1, a.x, a.a, 0, p.u)
	cast.NarrowRows(t.dev, l.LoRA.Scale, p.rows, r, p.u.Data, a.u.Data, a.ld)
	l.Weight.MultiplyLoRA(t.dev, gemm.NT, p.xHalf, a.u, a.b, beta, p.y)
	a.release(t)
}

// branch holds an adapter's operands in bf16. Rows of u, v and B are padded to ld elements.
type branch struct {
	ld      int
	a, b    gemm.BF16 // A [r, In], B [Out, r]
	u, v    gemm.BF16 // s·u and v [rows, r]
	x       gemm.BF16 // what A is multiplied with
	buffers []*buffer
}

// branch converts A and B to bf16 and allocates the rest, each time for the rows of all layers:
// so all experts of a mixture use the same memory in turn, however tokens are routed. A and B
// themselves are float32, because they are trained.
func (t *Tape) branch(p rowsOf, l *Linear) branch {
	r := l.LoRA.Rank
	b := branch{ld: padded(r), x: p.xHalf}
	room := func(rows, most, cols, ld int) gemm.BF16 {
		m := t.bf16Buffer(most * ld)
		if m == nil {
			return gemm.BF16{}
		}
		b.buffers = append(b.buffers, m)
		return gemm.Strided(m.bf16(rows*ld), rows, cols, ld)
	}
	b.a, b.b, b.buffers = t.narrowAdapter(l)
	b.u, b.v = room(p.rows, p.most, r, b.ld), room(p.rows, p.most, r, b.ld)
	if t.drops(l.LoRA) {
		b.x = room(p.rows, p.most, l.In, l.In)
	}
	return b
}

// maskBranch sets b.x to dropout(x), if this pass applies dropout.
func (t *Tape) maskBranch(b *branch, p rowsOf, l *Linear) gemm.F32 {
	x := t.adapterInput(l.LoRA, p)
	if t.drops(l.LoRA) {
		cast.Narrow(t.dev, x.Data, b.x.Data)
	}
	return x
}

func (b branch) release(t *Tape) {
	for _, m := range b.buffers {
		t.release(m)
	}
}

// branchVJP computes dx of the layer and its adapter. It adds to dA and dB, or passes their
// factors to the sink.
func (t *Tape) branchVJP(p rowsOf, l *Linear, beta float32, segments []int32) error {
	b, a, r := t.branch(p, l), l.LoRA, l.LoRA.Rank
	if t.err != nil {
		return t.err
	}
	defer b.release(t)
	gemm.RunBF16(t.dev, gemm.NN, a.Scale, p.yHalf, b.b, 0, p.v)
	cast.NarrowRows(t.dev, 1, p.rows, r, p.v.Data, b.v.Data, b.ld)
	if !p.dx.IsNil() {
		t.branchDX(p, l, beta, b)
	}
	if !a.A.Trainable() {
		return nil
	}
	x := t.maskBranch(&b, p, l)
	if t.mode.Sink != nil {
		return t.mode.Sink(a.Pair, l.factors(p, x, segments))
	}
	cast.NarrowRows(t.dev, a.Scale, p.rows, r, p.u.Data, b.u.Data, b.ld)
	if ends := t.partEnds(p.rows); t.err == nil {
		gemm.AddLoRAGradients(t.dev, ends, a.gradients(l, b.u, b.v, b.x, p.yHalf))
	}
	return t.err
}

// branchDX computes dx = dy W + v A + beta dx. Where there is dropout the mask is applied to v
// A.
func (t *Tape) branchDX(p rowsOf, l *Linear, beta float32, b branch) {
	if !t.drops(l.LoRA) {
		l.Weight.MultiplyLoRA(t.dev, gemm.NN, p.yHalf, b.v, b.a, beta, p.dx)
		return
	}
	l.Weight.Multiply(t.dev, gemm.NN, 1, p.output(), beta, p.dx)
	gemm.RunBF16(t.dev, gemm.NN, 1, b.v, b.a, 0, p.dMasked)
	t.mask(l.LoRA, p.rows, l.In, p.dMasked.Data, p.dx.Data, true)
}
