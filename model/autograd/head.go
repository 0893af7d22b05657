package autograd

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/embed"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/kernels/xent"
)

// Head is the output projection (lm_head) and what trains on it. Its logits are never stored as
// a whole: without an adapter and trained tokens kernels/xent computes them tile by tile, and
// with them they are computed for a block of rows at a time, as any linear layer's output.
type Head struct {
	Linear         // Weight [Vocab, Hidden], an optional float32 bias, an optional adapter
	Tokens *Tokens // rows that are trained by themselves, already copied into Weight; nil = none
}

// adapted reports whether an adapter or single tokens are trained on the head.
func (h *Head) adapted() bool { return h.LoRA != nil || h.Tokens != nil }

// CrossEntropy computes the loss of every row of h [Rows, Hidden] against targets. If the pass
// records it also computes the gradients of h and of the head's parameters right away, because
// the logits exist only inside this call. p holds the head's bias and its gradient. weight
// [Rows] multiplies a row's gradient (nil = 1). Rows with a negative target have loss 0. loss
// is [Rows], overwritten.
func (t *Tape) CrossEntropy(p xent.Params, h *Value, head *Head, targets []int32, weight, loss driver.F32) {
	if t.err != nil {
		return
	}
	if head.adapted() {
		t.adaptedEntropy(p, h, head, targets, weight, loss)
		return
	}
	var dh, dw driver.F32
	if t.mode.Record && (h.needsGrad || head.Weight.Trainable() || head.Bias.Trainable()) {
		b := t.buffer(h.Rows * h.Cols)
		if b == nil {
			return
		}
		dh, dw = b.mem, head.Weight.Grad
		if h.needsGrad {
			h.grad = b
		}
	}
	var half *buffer
	if head.Weight.Narrows() {
		if half = t.narrowed(h); half == nil {
			return
		}
	}
	for _, part := range t.partsIf(!dw.IsNil() || !p.DBias.IsNil(), h.Rows) {
		p.Rows = part.To - part.From
		y, w, l, dx := targets[part.From:part.To], part.of(weight, 1), part.of(loss, 1), part.of(dh, h.Cols)
		if half != nil {
			xent.RunBF16(t.dev, p, half.bf16(h.Rows*h.Cols).Sub(part.From*h.Cols, part.To*h.Cols), head.Weight.BF16(), y, w, l, dx, dw)
		} else {
			xent.Run(t.dev, p, part.of(h.Data(), h.Cols), head.Weight.Data, y, w, l, dx, dw)
		}
	}
}

// Limits on the rows whose logits are stored at once for an adapted head. They are the same on
// every device, because dropout masks are drawn per block.
const (
	headFloats = 16 << 20 // 64 MiB of logits
	headRows   = 512
)

// adaptedEntropy is CrossEntropy for a head with an adapter or trained tokens. For one block of
// rows after the other it computes the logits, the losses with their gradients, and the layer's
// VJP.
func (t *Tape) adaptedEntropy(p xent.Params, h *Value, head *Head, targets []int32, weight, loss driver.F32) {
	var rows, hits []int32
	for i, y := range targets {
		if y >= 0 {
			rows, hits = append(rows, int32(i)), append(hits, y)
		}
	}
	reduce.Fill(t.dev, 0, loss)
	if t.mode.Record {
		if h.grad = t.buffer(h.Rows * h.Cols); t.err != nil {
			return
		}
		reduce.Fill(t.dev, 0, h.grad.mem)
	}
	if len(rows) == 0 {
		return
	}
	most := min(len(rows), headRows, max(headFloats/p.Vocab, 1))
	m := t.headMemory(head, most)
	for lo := 0; lo < len(rows) && t.err == nil; lo += most {
		hi := min(len(rows), lo+most)
		t.headBlock(p, h, head.block(lo/most), m, most, rows[lo:hi], hits[lo:hi], weight, loss)
	}
	m.release(t)
}

// block returns the head for block number of the rows, with dropout masks of its own.
func (h *Head) block(number int) *Head {
	if h.LoRA == nil || number == 0 {
		return h
	}
	const stride = 1 << 20 // larger than any model's number of adapters
	one, a := *h, *h.LoRA
	a.Pair += stride * number
	one.LoRA = &a
	return &one
}

// headMemory allocates what the layer's product and VJP need for that many rows.
func (t *Tape) headMemory(head *Head, rows int) (m memory) {
	m.x, m.y = t.buffer(rows*head.In), t.buffer(rows*head.Out)
	if t.mode.Record {
		m.dx = t.buffer(rows * head.In)
	}
	if a := head.LoRA; a != nil {
		m.u, m.v = t.buffer(rows*a.Rank), t.buffer(rows*a.Rank)
		if t.drops(a) {
			m.masked, m.dMasked = t.buffer(rows*head.In), t.buffer(rows*head.In)
		}
		if a.DoRA != nil {
			m.z, m.scale, m.inverse = t.buffer(rows*head.Out), t.buffer(head.Out), t.buffer(head.Out)
		}
	}
	if head.Weight.Narrows() {
		m.xHalf, m.yHalf = t.bf16Buffer(rows*head.In), t.bf16Buffer(rows*head.Out)
	}
	return m
}

func (m memory) release(t *Tape) {
	for _, b := range []*buffer{m.x, m.y, m.dx, m.u, m.v, m.z, m.scale, m.inverse, m.masked, m.dMasked, m.xHalf, m.yHalf} {
		t.release(b)
	}
}

// headBlock computes the given rows of h, whose targets are hits. most is the number of rows
// that m has room for.
func (t *Tape) headBlock(p xent.Params, h *Value, head *Head, m memory, most int, rows, hits []int32, weight, loss driver.F32) {
	if t.err != nil {
		return
	}
	n := len(rows)
	part := m.part(linears{layers: []*Linear{&head.Linear}, rows: []int32{0, int32(n)}}, 0)
	part.most = most
	embed.Forward(t.dev, h.Data(), rows, part.x.Data, head.In)
	if m.xHalf != nil {
		cast.Narrow(t.dev, part.x.Data, part.xHalf.Data)
	}
	if t.product(part, &head.Linear); t.err != nil {
		return
	}
	xent.Products(t.dev, p, part.y.Data, rows, hits, weight, loss, t.mode.Record)
	if !t.mode.Record {
		return
	}
	if m.yHalf != nil {
		cast.Narrow(t.dev, part.y.Data, part.yHalf.Data)
	}
	if head.Tokens != nil {
		t.headVJP(head.Tokens, part)
	}
	if err := t.productVJP(part, &head.Linear, 0, t.mode.Segments); err != nil {
		t.fail(err)
		return
	}
	embed.Backward(t.dev, part.dx.Data, rows, h.grad.mem, head.In)
}

// Product overwrites z [rows, Out] with l(x) of x [rows, In], its adapter included but without
// dropout. It may be called after a pass.
func (t *Tape) Product(l *Linear, x, z driver.F32) error {
	in := t.alias(x.Len()/l.In, l.In, false, &buffer{mem: x, refs: 1})
	mode := t.mode
	t.mode = Mode{}
	if y := t.Linear(in, l); y != nil {
		reduce.Fill(t.dev, 0, z)
		reduce.Add(t.dev, z, y.Data())
		t.Drop(y)
		t.release(in.half)
	}
	t.mode = mode
	return t.err
}

// Logits overwrites z [Rows, Vocab] with the scaled and soft-capped logits of h.
func (t *Tape) Logits(p xent.Params, h *Value, head *Head, z driver.F32) {
	switch {
	case t.err != nil:
	case head.LoRA != nil:
		if y := t.Linear(h, &head.Linear); y != nil {
			reduce.Fill(t.dev, 0, z)
			reduce.Add(t.dev, z, y.Data())
			xent.Finish(t.dev, p, z)
			t.Drop(y)
		}
	case !head.Weight.Narrows():
		xent.Logits(t.dev, p, h.Data(), head.Weight.Data, z)
	default:
		if half := t.narrowed(h); half != nil {
			xent.LogitsBF16(t.dev, p, half.bf16(h.Rows*h.Cols), head.Weight.BF16(), z)
		}
	}
}
