package decoder

import (
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/deltanet"
	"dataflex.dev/dataflex/kernels/swiglu"
	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/tensor"
)

// deltaNet is a gated delta rule after a short convolution of queries, keys and values,
// out(norm(rule(q, k, v, a, b)) · silu(z)) (Gated DeltaNet: Yang et al. 2024, arXiv:2412.06464,
// section 3).
type deltaNet struct {
	qkvz, ba     autograd.Linear // qwen3_next: for every key head its q, k, v and z; its b and a
	qkv, z, b, a autograd.Linear // qwen3_5: these replace qkvz and ba
	out          autograd.Linear
	fused        bool // the projections are qkvz and ba
	conv         convolution
	aLog, dtBias *tensor.Param // [ValueHeads]
	norm         norm
	shape        deltanet.Params
}

// deltaNet builds the mixer. Its tensors are in PyTorch's order, in which a module's own
// parameters come before its submodules'.
func (b *builder) deltaNet(path string) *deltaNet {
	l, hidden := &b.c.Linear, b.c.Hidden
	d := &deltaNet{
		fused: b.f.fusedDelta,
		shape: deltanet.Params{KeyHeads: l.KeyHeads, ValueHeads: l.ValueHeads, KeyDim: l.KeyDim, ValueDim: l.ValueDim},
	}
	keys, values := d.keys(), d.values()
	d.dtBias = b.vector(path+"dt_bias", l.ValueHeads, nil)
	d.aLog = b.vector(path+"A_log", l.ValueHeads, decayRates)
	d.conv = b.convolution(path+"conv1d", 2*keys+values, true, false)
	if d.fused {
		b.linear(&d.qkvz, path+"in_proj_qkvz", hidden, 2*keys+2*values, false)
		b.linear(&d.ba, path+"in_proj_ba", hidden, 2*l.ValueHeads, false)
	}
	d.norm = norm{weight: b.param(path+"norm", l.ValueDim), width: l.ValueDim, groups: 1, eps: b.c.Eps}
	b.linear(&d.out, path+"out_proj", values, hidden, false)
	if !d.fused {
		b.linear(&d.qkv, path+"in_proj_qkv", hidden, 2*keys+values, false)
		b.linear(&d.z, path+"in_proj_z", hidden, values, false)
		b.linear(&d.b, path+"in_proj_b", hidden, l.ValueHeads, false)
		b.linear(&d.a, path+"in_proj_a", hidden, l.ValueHeads, false)
	}
	return d
}

// vector builds a vector of n numbers that is a module's own parameter. In a new model it is
// ones, or start of draws from N(0, 1).
func (b *builder) vector(path string, n int, start func(normal float64) float64) *tensor.Param {
	p := b.tensor(false, path, n)
	if p != nil {
		b.parts = append(b.parts, part{path: path, param: p, start: start})
	}
	return p
}

// decayRates maps a draw from N(0, 1) to the logarithm of a number uniform in [0.01, 16].
func decayRates(normal float64) float64 {
	uniform := 0.5 * math.Erfc(-normal/math.Sqrt2)
	return math.Log(0.01 + 15.99*uniform)
}

// keys and values return the widths of all heads together.
func (d *deltaNet) keys() int   { return d.shape.KeyHeads * d.shape.KeyDim }
func (d *deltaNet) values() int { return d.shape.ValueHeads * d.shape.ValueDim }

// mix implements tokenMixer.
func (d *deltaNet) mix(m *Model, i int, h *autograd.Value, b *Batch, cache *Cache) *autograd.Value {
	t := m.tape
	x, z := d.project(t, h)
	for j, v := range []**autograd.Value{&x.Q, &x.K, &x.V} {
		before := *v
		*v = cache.convolve(t, i, j, d.conv, j*d.keys(), before, b)
		t.Drop(before)
	}
	p := d.shape
	p.Segments = b.Segments
	y := cache.rule(t, i, p, x)
	t.Drop(x.Q, x.K, x.V, x.A, x.B)
	y = m.normed(y, d.norm)
	gated := t.SwiGLUFor(&d.out, swiglu.SiLU, z, y)
	t.Drop(z, y)
	out := t.Linear(gated, &d.out)
	t.Drop(gated)
	return out
}

// project records the inputs of the rule before the convolution, and z, the input of the output
// gate.
func (d *deltaNet) project(t *autograd.Tape, h *autograd.Value) (x autograd.DeltaInputs, z *autograd.Value) {
	x.ALog, x.DtBias = d.aLog, d.dtBias
	if d.fused {
		heads, k := d.shape.KeyHeads, d.shape.KeyDim
		group := d.shape.ValueHeads / heads
		v := group * d.shape.ValueDim
		all := t.Linear(h, &d.qkvz)
		x.Q, x.K = t.ColumnsOf(all, heads, 0, k), t.ColumnsOf(all, heads, k, k)
		x.V, z = t.ColumnsOf(all, heads, 2*k, v), t.ColumnsOf(all, heads, 2*k+v, v)
		gates := t.Linear(h, &d.ba)
		x.B, x.A = t.ColumnsOf(gates, heads, 0, group), t.ColumnsOf(gates, heads, group, group)
		t.Drop(all, gates)
		return x, z
	}
	all := t.Linear(h, &d.qkv)
	x.Q, x.K, x.V = t.Columns(all, 0, d.keys()), t.Columns(all, d.keys(), d.keys()), t.Columns(all, 2*d.keys(), d.values())
	t.Drop(all)
	x.B, x.A = t.Linear(h, &d.b), t.Linear(h, &d.a)
	return x, t.Linear(h, &d.z)
}

// keeps implements tokenMixer: the last inputs of the convolution, and the state of the rule.
func (d *deltaNet) keeps(int) []int {
	tail := d.conv.width - 1
	return []int{tail * d.keys(), tail * d.keys(), tail * d.values(), d.shape.State()}
}

func (d *deltaNet) pairs() float64 { return 0 }

// steps implements tokenMixer: three products with the state, and the convolution.
func (d *deltaNet) steps() float64 {
	return float64(3*d.shape.State() + d.conv.width*(2*d.keys()+d.values()))
}

func (d *deltaNet) narrows(driver.Kind) bool { return true }

// rule records the delta rule. With a cache its state is in the layer's last store.
func (c *Cache) rule(t *autograd.Tape, layer int, p deltanet.Params, x autograd.DeltaInputs) *autograd.Value {
	if c == nil || t.Err() != nil {
		return t.DeltaRule(p, x)
	}
	states := c.stores[layer][3]
	if c.step != nil {
		return t.DeltaStep(p, x, c.slots, states)
	}
	return t.DeltaPrefill(p, x, c.slots, states)
}
