package autograd

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/attention"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/rope"
	"dataflex.dev/dataflex/kernels/swiglu"
	"dataflex.dev/dataflex/model/tensor"
)

// gradientCase is one use of an op: what the tape does, and the same written out plainly.
type gradientCase struct {
	op     op
	name   string
	inputs []input
	mode   Mode
	record func(t *Tape, x operands) *Value

	// loss is Σ g·out, and what else the op adds to what is differentiated; the gradients
	// are those of loss by the inputs. float64 is the reference, which finite differences
	// of loss confirm; float32 the plain implementation whose error sets the tolerance.
	loss    func(g []float64, x [][]float64) float64
	plain   func(g []float32, x [][]float32) [][]float32
	plain64 func(g []float64, x [][]float64) [][]float64
}

// input is a matrix of random numbers: a value on the tape, or a parameter.
type input struct {
	rows, cols int
	param      bool
}

// operands are the inputs as the tape takes them; values[i] or params[i] is nil.
type operands struct {
	values []*Value
	params []*tensor.Param
}

// with is c of a loss that is Σ g·forward alone.
func (c gradientCase) with(
	forward func(x [][]float64) []float64,
	plain func(g []float32, x [][]float32) [][]float32, plain64 func(g []float64, x [][]float64) [][]float64,
) gradientCase {
	c.loss = func(g []float64, x [][]float64) float64 { return optest.Inner(g, forward(x)) }
	c.plain, c.plain64 = plain, plain64
	return c
}

// TestGradients: every op of the table vjps, by every kind of operand: the tape's
// gradients are as exact as plain float32's, measured against float64, which agrees with
// finite differences. An op without a case fails.
func TestGradients(t *testing.T) {
	cases := slices.Concat(
		embedCases(), linearCases(), normCases(), ropeCases(t), attentionCases(), swigluCases(), residualCases(), columnsCases(),
		routeCases(), scoreCases(), expertCases(), gateCases(), pointwiseCases(), layerNormCases(), shortConvCases(), deltaRuleCases(), productCases(),
		joinCases(), weighedCases(), clampedCases(), scaledCases(),
	)
	seen := map[op]bool{}
	for i, c := range cases {
		seen[c.op] = true
		t.Run(fmt.Sprintf("op %d, %s", c.op, c.name), func(t *testing.T) { c.check(t, uint64(i)) })
	}
	for o := range ops {
		if vjps[o] == nil {
			t.Errorf("op %d has no VJP", o)
		}
		if !seen[o] {
			t.Errorf("op %d has no gradient check", o)
		}
	}
}

func (c gradientCase) check(t *testing.T, seed uint64) {
	r := optest.Rand(seed)
	x := make([][]float32, len(c.inputs))
	for i, in := range c.inputs {
		x[i] = optest.Normal(r, in.rows*in.cols, 1)
	}
	tape := New(optest.CPU(t, 2))
	defer tape.Close()
	mode := c.mode
	mode.Record = true
	tape.Begin(mode)
	at := operands{make([]*Value, len(x)), make([]*tensor.Param, len(x))}
	for i, in := range c.inputs {
		if in.param {
			at.params[i] = filled(t, tape.dev, x[i], in.rows, in.cols)
		} else {
			at.values[i] = tape.leaf(x[i], in.rows, in.cols)
		}
	}
	out := c.record(tape, at)
	g := optest.Normal(r, out.Rows*out.Cols, 1)
	out.grad = tape.buffer(len(g))
	copy(out.grad.mem.Host(), g)
	if err := tape.Backward(); err != nil {
		t.Fatal(err)
	}

	exact, exactG := make([][]float64, len(x)), optest.To[float64](g)
	for i := range x {
		exact[i] = optest.To[float64](x[i])
	}
	plain, ref := c.plain(g, x), c.plain64(exactG, exact)
	for i, in := range c.inputs {
		what := fmt.Sprintf("input %d [%d, %d]", i, in.rows, in.cols)
		optest.FiniteDifference(t, what, func() float64 { return c.loss(exactG, exact) }, exact[i], ref[i])
		var got driver.F32
		if in.param {
			got = at.params[i].Grad
		} else {
			got = at.values[i].grad.mem
		}
		optest.Within(t, what, got.Host(), plain[i], ref[i])
	}
}

// leaf is a value that needs a gradient and that no op computed.
func (t *Tape) leaf(x []float32, rows, cols int) *Value {
	v := t.value(rows, cols, true)
	copy(v.data.mem.Host(), x)
	return v
}

// filled is a parameter that trains.
func filled(t *testing.T, dev driver.Device, x []float32, shape ...int) *tensor.Param {
	t.Helper()
	p, err := tensor.New(dev, "p", shape...)
	if err == nil {
		err = p.Train(dev)
	}
	if err != nil {
		t.Fatal(err)
	}
	copy(p.Data.Host(), x)
	return p
}

func embedCases() []gradientCase {
	const vocab, d, scale, fixed = 6, 5, 1.7, 4
	ids := []int32{1, 4, 1, 0, 5}
	c := gradientCase{op: opEmbed, name: "scaled, one row fixed", inputs: []input{{vocab, d, true}}}
	c.record = func(t *Tape, x operands) *Value {
		return t.Embed(x.params[0], ids, Embedding{Scale: scale, HasFixed: true, Fixed: fixed})
	}
	forward := func(x [][]float64) []float64 { // the fixed row counts as a constant
		var out []float64
		for _, id := range ids {
			for _, v := range x[0][int(id)*d:][:d] {
				if id == fixed {
					v = 0
				}
				out = append(out, scale*v)
			}
		}
		return out
	}
	return []gradientCase{c.with(forward, embedPlain[float32](ids, d, scale, fixed, vocab), embedPlain[float64](ids, d, scale, fixed, vocab))}
}

func embedPlain[F optest.Float](ids []int32, d int, scale F, fixed int32, vocab int) func(g []F, x [][]F) [][]F {
	return func(g []F, _ [][]F) [][]F {
		dx := make([]F, vocab*d)
		for t, id := range ids {
			for j := range d {
				if id != fixed {
					dx[int(id)*d+j] += scale * g[t*d+j]
				}
			}
		}
		return [][]F{dx}
	}
}

// A linear with bias and adapter: x, W, b, A, B.
const (
	linT, linIn, linOut, linRank = 7, 6, 5, 2
	linScale                     = 0.7
)

func linearCases() []gradientCase {
	c := gradientCase{op: opLinear, name: "bias and adapter", inputs: []input{
		{linT, linIn, false}, {linOut, linIn, true}, {1, linOut, true}, {linRank, linIn, true}, {linOut, linRank, true},
	}}
	c.record = func(t *Tape, x operands) *Value {
		p := x.params
		return t.Linear(x.values[0], &Linear{In: linIn, Out: linOut, Weight: p[1], Bias: p[2], LoRA: &LoRA{A: p[3], B: p[4], Rank: linRank, Scale: linScale}})
	}
	forward := func(x [][]float64) []float64 {
		y := optest.Mul(x[0], x[1], linT, linOut, linIn, false, true)
		for i := range y {
			y[i] += x[2][i%linOut]
		}
		_, y = optest.LoRA(x[0], x[3], x[4], y, linScale, linT, linIn, linOut, linRank)
		return y
	}
	return []gradientCase{c.with(forward, linearPlain[float32], linearPlain[float64])}
}

func linearPlain[F optest.Float](g []F, x [][]F) [][]F {
	_, dx, da, db := optest.LoRAGrad(g, x[0], x[3], x[4], linScale, linT, linIn, linOut, linRank)
	for i, v := range optest.Mul(g, x[1], linT, linIn, linOut, false, false) {
		dx[i] += v
	}
	bias := make([]F, linOut)
	for i, v := range g {
		bias[i%linOut] += v
	}
	return [][]F{dx, optest.Mul(g, x[0], linOut, linIn, linT, true, false), bias, da, db}
}

func normCases() (out []gradientCase) {
	const t, heads, d, eps = 5, 3, 4, 1e-2
	for _, onePlus := range []bool{false, true} {
		c := gradientCase{op: opNorm, name: fmt.Sprint("one plus: ", onePlus), inputs: []input{{t, heads * d, false}, {1, d, true}}}
		c.record = func(t *Tape, x operands) *Value {
			return t.Norm(x.values[0], x.params[1], NormOptions{Eps: eps, OnePlus: onePlus})
		}
		forward := func(x [][]float64) []float64 {
			y, _ := optest.RMSNorm(x[0], plus(x[1], onePlus), eps)
			return y
		}
		out = append(out, c.with(forward, normPlain[float32](onePlus, eps), normPlain[float64](onePlus, eps)))
	}
	return out
}

func plus[F optest.Float](w []F, one bool) []F {
	w = slices.Clone(w)
	for i := range w {
		if one {
			w[i]++
		}
	}
	return w
}

func normPlain[F optest.Float](onePlus bool, eps F) func(g []F, x [][]F) [][]F {
	return func(g []F, x [][]F) [][]F {
		dx, dw := optest.RMSNormGrad(g, x[0], plus(x[1], onePlus), eps)
		return [][]F{dx, dw}
	}
}

func ropeCases(t *testing.T) []gradientCase {
	const heads, d = 2, 6
	table, err := rope.NewTable(d, 100, rope.Scaling{}, 16)
	if err != nil {
		t.Fatal(err)
	}
	pos, back := []int32{0, 1, 5, 2}, []int32{0, -1, -5, -2}
	inv, scale := table.Frequencies()
	c := gradientCase{op: opRope, name: "two heads", inputs: []input{{len(pos), heads * d, false}}}
	c.record = func(t *Tape, x operands) *Value { return t.Rope(x.values[0], pos, table, heads, d) }
	return []gradientCase{c.with(
		func(x [][]float64) []float64 { return optest.RoPE(x[0], pos, inv, scale, heads, d) },
		func(g []float32, _ [][]float32) [][]float32 {
			return [][]float32{optest.RoPE(g, back, optest.To[float32](inv), float32(scale), heads, d)}
		},
		func(g []float64, _ [][]float64) [][]float64 {
			return [][]float64{optest.RoPE(g, back, inv, scale, heads, d)}
		},
	)}
}

func attentionCases() (out []gradientCase) {
	for _, p := range []attention.Params{
		{Segments: []int32{0, 5, 6, 9}, Heads: 4, KVHeads: 2, HeadDim: 3, Scale: 0.6},
		{Segments: []int32{0, 9}, Heads: 2, KVHeads: 1, HeadDim: 4, Scale: 0.5, Window: 3, SoftCap: 2},
		{Segments: []int32{0, 5, 6, 9}, Heads: 4, KVHeads: 2, HeadDim: 3, ValueDim: 5, Scale: 0.6},
	} {
		n, values := int(p.Segments[len(p.Segments)-1]), cmp.Or(p.ValueDim, p.HeadDim)
		c := gradientCase{op: opAttention, name: fmt.Sprintf("%+v", p), inputs: []input{
			{n, p.Heads * p.HeadDim, false}, {n, p.KVHeads * p.HeadDim, false}, {n, p.KVHeads * values, false},
		}}
		c.record = func(t *Tape, x operands) *Value { return t.Attention(p, x.values[0], x.values[1], x.values[2]) }
		if p.ValueDim > 0 {
			c.inputs = append(c.inputs, input{1, p.Heads, true})
			c.record = func(t *Tape, x operands) *Value {
				return t.SinkAttention(p, x.params[3], x.values[0], x.values[1], x.values[2])
			}
		}
		forward := func(x [][]float64) []float64 { o, _ := plainAttention(p, x).Forward(); return o }
		out = append(out, c.with(forward, attentionPlain[float32](p), attentionPlain[float64](p)))
	}
	return out
}

func plainAttention[F optest.Float](p attention.Params, x [][]F) *optest.Attention[F] {
	a := &optest.Attention[F]{
		Segments: p.Segments, Heads: p.Heads, KVHeads: p.KVHeads, HeadDim: p.HeadDim, Scale: F(p.Scale),
		Window: p.Window, SoftCap: F(p.SoftCap), ValueDim: p.ValueDim, Q: x[0], K: x[1], V: x[2],
	}
	if len(x) > 3 {
		a.Sinks = x[3]
	}
	return a
}

func attentionPlain[F optest.Float](p attention.Params) func(g []F, x [][]F) [][]F {
	return func(g []F, x [][]F) [][]F {
		dq, dk, dv := plainAttention(p, x).Backward(g)
		if len(x) > 3 {
			return [][]F{dq, dk, dv, plainAttention(p, x).SinksGradient(g)}
		}
		return [][]F{dq, dk, dv}
	}
}

func swigluCases() []gradientCase {
	c := gradientCase{op: opSwiGLU, name: "silu", inputs: []input{{4, 7, false}, {4, 7, false}}}
	c.record = func(t *Tape, x operands) *Value { return t.SwiGLU(swiglu.SiLU, x.values[0], x.values[1]) }
	return []gradientCase{c.with(func(x [][]float64) []float64 { return optest.SwiGLU(x[0], x[1]) }, swigluPlain[float32], swigluPlain[float64])}
}

func swigluPlain[F optest.Float](g []F, x [][]F) [][]F {
	dgate, dup := optest.SwiGLUGrad(g, x[0], x[1])
	return [][]F{dgate, dup}
}

func residualCases() []gradientCase {
	const scale = 0.3
	c := gradientCase{op: opResidual, name: "scaled", inputs: []input{{4, 5, false}, {4, 5, false}}}
	c.record = func(t *Tape, x operands) *Value { return t.Residual(x.values[0], x.values[1], scale) }
	forward := func(x [][]float64) []float64 {
		out := slices.Clone(x[0])
		for i, v := range x[1] {
			out[i] += scale * v
		}
		return out
	}
	return []gradientCase{c.with(forward, residualPlain[float32](scale), residualPlain[float64](scale))}
}

func residualPlain[F optest.Float](scale F) func(g []F, x [][]F) [][]F {
	return func(g []F, _ [][]F) [][]F {
		scaled := slices.Clone(g)
		for i := range scaled {
			scaled[i] *= scale
		}
		return [][]F{g, scaled}
	}
}

// columnsCases: pieces of a row are rows of a matrix that is that much narrower.
func columnsCases() (out []gradientCase) {
	const t, width, from, n = 6, 9, 2, 4
	for name, pieces := range map[string]int{"in the middle": 1, "of pieces": 2} {
		c := gradientCase{op: opColumns, name: name, inputs: []input{{t / pieces, pieces * width, false}}}
		c.record = func(t *Tape, x operands) *Value { return t.ColumnsOf(x.values[0], pieces, from, n) }
		forward := func(x [][]float64) (out []float64) {
			for i := range t {
				out = append(out, x[0][i*width+from:][:n]...)
			}
			return out
		}
		out = append(out, c.with(forward, columnsPlain[float32](t, width, from, n), columnsPlain[float64](t, width, from, n)))
	}
	return out
}

func columnsPlain[F optest.Float](t, width, from, n int) func(g []F, x [][]F) [][]F {
	return func(g []F, _ [][]F) [][]F {
		dx := make([]F, t*width)
		for i := range t {
			copy(dx[i*width+from:], g[i*n:][:n])
		}
		return [][]F{dx}
	}
}
