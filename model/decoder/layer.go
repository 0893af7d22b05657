package decoder

import (
	"dataflex.dev/dataflex/kernels/attention"
	"dataflex.dev/dataflex/kernels/rope"
	"dataflex.dev/dataflex/kernels/swiglu"
	"dataflex.dev/dataflex/model/autograd"
)

// stack records the embeddings and the first layers: [T, Hidden].
func (m *Model) stack(b *Batch, noise float32, layers int, cache *Cache) *autograd.Value {
	m.placeTokens()
	e := m.embedding
	e.Noise = noise
	x := m.tape.Embed(m.embed, b.Tokens, e)
	if m.positions != nil {
		at := m.tape.Embed(m.positions, b.Positions, autograd.Embedding{})
		x = m.tape.Residual(x, at, 0)
	}
	if m.family.embedNorm {
		x = m.normed(x, m.norm)
	}
	for i := range layers {
		x = m.layer(i, x, b, cache)
	}
	return x
}

// final records the norm below the head.
func (m *Model) final(x *autograd.Value) *autograd.Value { return m.normed(x, m.norm) }

// normed records norm(x) in the place of x.
func (m *Model) normed(x *autograd.Value, n norm) *autograd.Value {
	h := m.normOf(x, n)
	m.tape.Drop(x)
	return h
}

func (m *Model) normOf(x *autograd.Value, n norm) *autograd.Value {
	if m.family.layerNorm {
		return m.tape.LayerNorm(x, n.weight, n.bias, n.width, autograd.LayerOptions{Eps: m.config.Eps, Groups: n.groups, OnePlus: m.family.onePlus})
	}
	return m.tape.Norm(x, n.weight, autograd.NormOptions{Eps: m.config.Eps, OnePlus: m.family.onePlus})
}

// layer records x + attention(norm(x)), then + mlp(norm(·)); or x + attention(h) + mlp(h)
// with one h = norm(x), or with two.
func (m *Model) layer(i int, x *autograd.Value, b *Batch, cache *Cache) *autograd.Value {
	l := &m.layers[i]
	h := m.before(x, l.norms[beforeAttention])
	a := m.attention(i, h, b, cache)
	if m.family.parallel || m.config.Parallel {
		if l.norms[beforeMLP].weight != nil {
			m.dropUnless(h, x)
			h = m.normOf(x, l.norms[beforeMLP])
		}
		y := m.dense(&l.mlp, h, m.config.Intermediate)
		m.dropUnless(h, x)
		return m.residual(m.residual(x, a, norm{}), y, norm{})
	}
	m.dropUnless(h, x)
	x = m.residual(x, a, l.norms[afterAttention])

	h = m.before(x, l.norms[beforeMLP])
	var y *autograd.Value
	if l.experts != nil {
		y = m.mixture(l.experts, h)
	} else {
		y = m.dense(&l.mlp, h, m.config.Intermediate)
	}
	m.dropUnless(h, x)
	return m.residual(x, y, l.norms[afterMLP])
}

// before records the norm in front of a branch, which may not be there.
func (m *Model) before(x *autograd.Value, n norm) *autograd.Value {
	if n.weight == nil {
		return x
	}
	return m.normOf(x, n)
}

func (m *Model) dropUnless(h, x *autograd.Value) {
	if h != x {
		m.tape.Drop(h)
	}
}

// residual records x + y, or x + norm(y).
func (m *Model) residual(x, y *autograd.Value, n norm) *autograd.Value {
	if n.weight != nil {
		y = m.normed(y, n)
	}
	return m.tape.Residual(x, y, m.config.ResidualScale)
}

// attention records o(attention(q(h), k(h), v(h))).
func (m *Model) attention(i int, h *autograd.Value, b *Batch, cache *Cache) *autograd.Value {
	t, c, l := m.tape, &m.config, &m.layers[i]
	q, k, v := m.projections(l, h)
	turn := l.rope
	if turn == m.rope {
		turn = m.queryRope
	}
	q, k = m.placed(turn, q, l.qNorm, b, c.Heads), m.placed(l.rope, k, l.kNorm, b, c.KVHeads)
	v = m.clipped(v)
	p := attention.Params{
		Segments: b.Segments, Heads: c.Heads, KVHeads: c.KVHeads, HeadDim: c.HeadDim,
		Scale: c.AttentionScale, Window: l.window, SoftCap: c.AttnSoftCap,
	}
	a := cache.attend(t, i, p, q, k, v)
	t.Drop(q, k, v)
	o := t.Linear(a, &l.o)
	t.Drop(a)
	return o
}

// placed records queries or keys, normalised and turned as the family asks for.
func (m *Model) placed(turn *rope.Table, x *autograd.Value, n norm, b *Batch, heads int) *autograd.Value {
	if n.weight != nil && !m.family.rotateFirst {
		x = m.normed(x, n)
	}
	x = m.clipped(x)
	if turn != nil {
		rows := b.rows
		if turn != m.rope && turn != m.queryRope {
			rows = b.Positions // layers with a window: never scaled
		}
		x = m.tape.Rope(x, rows, turn, heads, m.config.HeadDim)
	}
	if n.weight != nil && m.family.rotateFirst {
		x = m.normed(x, n)
	}
	return x
}

// clipped records x within ±clip_qkv, where the family has one.
func (m *Model) clipped(x *autograd.Value) *autograd.Value {
	if m.config.ClipQKV == 0 {
		return x
	}
	y := m.tape.Pointwise(swiglu.Pointwise{Function: swiglu.Clamp, Bound: m.config.ClipQKV}, x)
	m.tape.Drop(x)
	return y
}

func (m *Model) projections(l *layer, h *autograd.Value) (q, k, v *autograd.Value) {
	t, c := m.tape, &m.config
	if !m.family.fusedQKV {
		return t.Linear(h, &l.q), t.Linear(h, &l.k), t.Linear(h, &l.v)
	}
	all := t.Linear(h, &l.qkv)
	nq, nk := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	if m.family.groupedQKV {
		queries := nq / c.KVHeads // of a group
		q, k = t.ColumnsOf(all, c.KVHeads, 0, queries), t.ColumnsOf(all, c.KVHeads, queries, c.HeadDim)
		v = t.ColumnsOf(all, c.KVHeads, queries+c.HeadDim, c.HeadDim)
		t.Drop(all)
		return q, k, v
	}
	q, k, v = t.Columns(all, 0, nq), t.Columns(all, nq, nk), t.Columns(all, nq+nk, nk)
	t.Drop(all)
	return q, k, v
}

// dense records an MLP.
func (m *Model) dense(l *mlp, h *autograd.Value, width int) *autograd.Value {
	if m.family.plainMLP.up == "" {
		return m.gated(l, h, width)
	}
	t := m.tape
	up := t.Linear(h, &l.up)
	s := t.Pointwise(m.family.plain(&m.config), up)
	t.Drop(up)
	y := t.Linear(s, &l.down)
	t.Drop(s)
	return y
}

// gated records down(act(gate(h))·up(h)).
func (m *Model) gated(l *mlp, h *autograd.Value, width int) *autograd.Value {
	t := m.tape
	var gate, up *autograd.Value
	if m.family.fusedGateUp {
		both := t.Linear(h, &l.gateUp)
		gate, up = t.Columns(both, 0, width), t.Columns(both, width, width)
		t.Drop(both)
	} else {
		gate, up = t.Linear(h, &l.gate), t.Linear(h, &l.up)
	}
	s := t.SwiGLU(m.family.act(), gate, up)
	t.Drop(gate, up)
	y := t.Linear(s, &l.down)
	t.Drop(s)
	return y
}

// mixture records the experts' outputs, weighted by the router, and the shared
// expert's. Tokens are grouped by expert: every expert computes one product.
func (m *Model) mixture(e *experts, h *autograd.Value) *autograd.Value {
	t, c := m.tape, &m.config.MoE
	logits := t.Linear(h, &e.router)
	var r *autograd.Routing
	if e.choiceBias != nil {
		r = t.RouteSigmoid(logits, e.choiceBias, c.TopK, c.Normalize)
	} else {
		r = t.Route(logits, c.TopK, c.Normalize)
	}
	t.Drop(logits)
	x := t.Dispatch(h, r)
	gate, up := t.Experts(x, e.gate, r), t.Experts(x, e.up, r)
	t.Drop(x)
	s := t.SwiGLU(m.family.act(), gate, up)
	t.Drop(gate, up)
	y := t.Experts(s, e.down, r)
	t.Drop(s)
	out := t.Combine(y, r)
	t.Drop(y)
	if c.Shared == 0 {
		return out
	}
	shared, g := m.gated(&e.shared, h, c.Shared), t.Linear(h, &e.sharedGate)
	gatedShared := t.Gate(shared, g)
	t.Drop(shared, g)
	return t.Residual(out, gatedShared, 0)
}
