package decoder

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/attention"
	"dataflex.dev/dataflex/model/autograd"
)

// Latent is the shape of multi-head latent attention (MLA); Rank 0 = the family has none.
type Latent struct {
	QueryRank                     int  // width of compressed queries; 0 = not compressed
	Rank                          int  // width of compressed keys and values
	PlainDim, RotaryDim, ValueDim int  // elements per head: without rotary embedding, with it, and of the value
	Halves                        bool // rope rotates pairs (i, i+RotaryDim/2) instead of adjacent elements
}

// latentAttention is multi-head latent attention (DeepSeek-AI 2024, arXiv:2405.04434, section
// 2.1): all heads compute their keys and values from one compressed vector per token, and
// share the part of the keys that has a rotary embedding:
//
//	q    = qUp(norm(qDown(h))), or qProj(h). Per head: PlainDim elements, then RotaryDim with rope
//	c, r = kvDown(h): Rank elements, and RotaryDim with rope
//	k, v = kvUp(norm(c)). Per head: k is PlainDim elements followed by r, v is ValueDim elements
//	o(attention(q, k, v))
type latentAttention struct {
	Latent
	q, qDown, qUp autograd.Linear // q replaces qDown and qUp if queries are not compressed
	kvDown, kvUp  autograd.Linear
	o             autograd.Linear
	qNorm, kvNorm norm
	rope          rotary // of the queries, and of the key part shared by all heads
	heads         int
	scale         float32
	padded        bool // values are zero-padded to the width of keys, because device kernels need equal widths
}

// latentEps is the epsilon of the norms of compressed vectors, whatever config.json has.
const latentEps = 1e-6

func (b *builder) latentAttention(path string, i int) *latentAttention {
	c, l := &b.c, b.c.Latent
	width := l.PlainDim + l.RotaryDim
	a := &latentAttention{
		Latent: l, rope: b.rotaryOf(i), heads: c.Heads, scale: c.AttentionScale,
		padded: b.dev.Kind() != driver.CPU && l.ValueDim < width,
	}
	compressed := func(name string, rank int) norm {
		n := b.norm(path+name, rank)
		n.eps = latentEps
		return n
	}
	if l.QueryRank == 0 {
		b.linear(&a.q, path+"q_proj", c.Hidden, c.Heads*width, false)
	} else {
		b.linear(&a.qDown, path+"q_a_proj", c.Hidden, l.QueryRank, c.QKVBias)
		a.qNorm = compressed("q_a_layernorm", l.QueryRank)
		b.linear(&a.qUp, path+"q_b_proj", l.QueryRank, c.Heads*width, false)
	}
	b.linear(&a.kvDown, path+"kv_a_proj_with_mqa", c.Hidden, l.Rank+l.RotaryDim, c.QKVBias)
	a.kvNorm = compressed("kv_a_layernorm", l.Rank)
	b.linear(&a.kvUp, path+"kv_b_proj", l.Rank, c.Heads*(l.PlainDim+l.ValueDim), false)
	b.linear(&a.o, path+"o_proj", c.Heads*l.ValueDim, c.Hidden, c.OutBias)
	return a
}

// mix implements tokenMixer.
func (a *latentAttention) mix(m *Model, i int, h *autograd.Value, b *Batch, cache *Cache) *autograd.Value {
	t := m.tape
	q := a.queries(m, h, b)
	k, v := a.keysAndValues(m, h, b)
	width := a.PlainDim + a.RotaryDim
	p := attention.Params{
		Segments: b.Segments, Heads: a.heads, KVHeads: a.heads, HeadDim: width, ValueDim: a.values(), Scale: a.scale,
	}
	if a.padded {
		narrow, zeros := v, t.Zeros(h.Rows, width-a.ValueDim)
		v = t.Join(narrow, zeros, a.heads)
		t.Drop(narrow, zeros)
	}
	y := cache.attend(t, i, p, 0, nil, q, k, v)
	t.Drop(q, k, v)
	if a.padded {
		wide := y
		y = t.ColumnsOf(wide, a.heads, 0, a.ValueDim)
		t.Drop(wide)
	}
	o := t.Linear(y, &a.o)
	t.Drop(y)
	return o
}

func (a *latentAttention) queries(m *Model, h *autograd.Value, b *Batch) *autograd.Value {
	t := m.tape
	var q *autograd.Value
	if a.QueryRank == 0 {
		q = t.Linear(h, &a.q)
	} else {
		c := m.normed(t.Linear(h, &a.qDown), a.qNorm)
		q = t.Linear(c, &a.qUp)
		t.Drop(c)
	}
	return t.Rope(q, a.rope.queries.rows(b), a.rope.queries.Table, a.heads, a.PlainDim+a.RotaryDim)
}

func (a *latentAttention) keysAndValues(m *Model, h *autograd.Value, b *Batch) (k, v *autograd.Value) {
	t := m.tape
	both := t.Linear(h, &a.kvDown)
	c, shared := t.Columns(both, 0, a.Rank), t.Columns(both, a.Rank, a.RotaryDim)
	t.Drop(both)
	c = m.normed(c, a.kvNorm)
	all := t.Linear(c, &a.kvUp)
	t.Drop(c)
	plain, v := t.ColumnsOf(all, a.heads, 0, a.PlainDim), t.ColumnsOf(all, a.heads, a.PlainDim, a.ValueDim)
	t.Drop(all)
	shared = t.Rope(shared, a.rope.keys.rows(b), a.rope.keys.Table, 1, a.RotaryDim)
	k = t.Join(plain, shared, a.heads)
	t.Drop(plain, shared)
	return k, v
}

// keeps implements tokenMixer: every token's decompressed keys and values. They take many times
// the memory of the compressed ones, but are not computed again at every step.
func (a *latentAttention) keeps(capacity int) []int {
	return []int{capacity * a.heads * (a.PlainDim + a.RotaryDim), capacity * a.heads * a.values()}
}

// values returns the width of a head's values in the attention.
func (a *latentAttention) values() int {
	if a.padded {
		return a.PlainDim + a.RotaryDim
	}
	return a.ValueDim
}

func (a *latentAttention) pairs() float64 {
	return float64(a.heads*(a.PlainDim+a.RotaryDim+a.ValueDim)) / 2
}
func (a *latentAttention) steps() float64           { return 0 }
func (a *latentAttention) narrows(driver.Kind) bool { return false }
