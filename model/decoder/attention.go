package decoder

import (
	"cmp"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/attention"
	"dataflex.dev/dataflex/kernels/swiglu"
	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/tensor"
)

// selfAttention is causal grouped-query attention, o(attention(q(h), k(h), v(h))), or with an
// output gate o(attention(…) · σ(gate)). The shape of its heads may differ from those of other
// layers.
type selfAttention struct {
	q, k, v, qkv, o autograd.Linear // qkv replaces q, k and v if they are fused
	qNorm, kNorm    norm
	fused           fusion
	gated           bool // q computes every head's query and, after it, the head's gate
	rotateFirst     bool // heads are rotated before they are normalised
	rope            rotary
	clip            float32 // queries, keys and values are clipped to ±clip; 0 = not

	heads, kvHeads, headDim int
	scale, softCap          float32       // of q·k; 0 = no cap
	window                  int           // sliding window in tokens, the token itself included; 0 = full attention
	chunkSize               int           // tokens attend only within chunks of that many tokens; 0 = no chunks
	sinks                   *tensor.Param // [heads]; nil: none
}

// fusion is the order of queries, keys and values in one matrix.
type fusion uint8

const (
	unfused fusion = iota // separate matrices
	inRow                 // all queries, all keys, all values
	grouped               // one group's queries, key and value, then the next group's
)

// attention builds the attention of layer i.
func (b *builder) attention(path string, i int) *selfAttention {
	c := &b.c
	a := &selfAttention{
		gated: b.f.gatedQuery, rotateFirst: b.f.rotateFirst, rope: b.rotaryOf(i), clip: c.ClipQKV,
		heads: c.Heads, kvHeads: c.KVHeads, headDim: c.HeadDim,
		scale: c.AttentionScale, softCap: c.AttnSoftCap, window: c.Window[i],
	}
	if b.f.fusedQKV {
		a.fused = inRow
	}
	if b.f.groupedQKV {
		a.fused = grouped
	}
	if i < len(c.Chunk) {
		a.chunkSize = c.Chunk[i]
	}
	b.projections(a, path)
	if b.f.sinks {
		a.sinks = b.vector(path+"sinks", a.heads, func(normal float64) float64 { return c.InitializerRange * normal })
	}
	b.headNorms(a, path)
	return a
}

func (b *builder) projections(a *selfAttention, path string) {
	c, names := &b.c, b.f.named()
	q, kv := a.heads*a.headDim, a.kvHeads*a.headDim
	out := func() { b.linear(&a.o, path+names.o, a.heads*a.headDim, c.Hidden, c.OutBias) }
	all := func() { b.linear(&a.qkv, path+names.qkv, c.Hidden, q+2*kv, c.QKVBias) }
	switch {
	case a.fused != unfused && b.f.modules.qkv == "": // phi3
		out()
		all()
	case a.fused != unfused:
		all()
		out()
	default:
		if a.gated {
			q *= 2
		}
		b.linear(&a.q, path+names.q, c.Hidden, q, c.QKVBias)
		b.linear(&a.k, path+names.k, c.Hidden, kv, c.QKVBias)
		b.linear(&a.v, path+names.v, c.Hidden, kv, c.QKVBias)
		out()
	}
}

func (b *builder) headNorms(a *selfAttention, path string) {
	if b.f.chosenNorms && !b.c.QKNorm {
		return
	}
	q, k := path+cmp.Or(b.f.qNorm, "q_norm"), path+cmp.Or(b.f.kNorm, "k_norm")
	switch b.f.headNorms {
	case perHead:
		a.qNorm, a.kNorm = b.norm(q, a.headDim), b.norm(k, a.headDim)
	case fullWidth:
		a.qNorm, a.kNorm = b.norm(q, a.heads*a.headDim), b.norm(k, a.kvHeads*a.headDim)
	case perRotatedHead:
		if a.rope.keys != nil {
			a.qNorm = norm{weight: b.onesOf(a.headDim), width: a.headDim, groups: 1, eps: b.c.Eps}
			a.kNorm = a.qNorm
		}
	case ownWeights, ownModules:
		a.qNorm, a.kNorm = b.headNorm(q, a.heads, a.headDim), b.headNorm(k, a.kvHeads, a.headDim)
	}
}

// mix implements tokenMixer.
func (a *selfAttention) mix(m *Model, i int, h *autograd.Value, b *Batch, cache *Cache) *autograd.Value {
	t := m.tape
	q, k, v := a.project(t, h)
	var gate *autograd.Value
	if a.gated {
		both := q
		q, gate = t.ColumnsOf(both, a.heads, 0, a.headDim), t.ColumnsOf(both, a.heads, a.headDim, a.headDim)
		t.Drop(both)
	}
	q, k = a.normedAndRotated(m, a.rope.queries, q, a.qNorm, b, a.heads), a.normedAndRotated(m, a.rope.keys, k, a.kNorm, b, a.kvHeads)
	v = clipped(t, v, a.clip)
	p := attention.Params{
		Segments: b.Segments, Heads: a.heads, KVHeads: a.kvHeads, HeadDim: a.headDim,
		Scale: a.scale, Window: a.window, SoftCap: a.softCap,
	}
	if a.chunkSize > 0 {
		p.Segments = attention.Chunks(b.Segments, a.chunkSize)
	}
	y := cache.attend(t, i, p, a.chunkSize, a.sinks, q, k, v)
	t.Drop(q, k, v)
	if a.gated {
		through := y
		y = t.SwiGLUFor(&a.o, swiglu.Sigmoid, gate, through)
		t.Drop(gate, through)
	}
	o := t.Linear(y, &a.o)
	t.Drop(y)
	return o
}

// project records queries, keys and values.
func (a *selfAttention) project(t *autograd.Tape, h *autograd.Value) (q, k, v *autograd.Value) {
	if a.fused == unfused {
		all := t.Linears(h, &a.q, &a.k, &a.v)
		return all[0], all[1], all[2]
	}
	all := t.Linear(h, &a.qkv)
	nq, nk := a.heads*a.headDim, a.kvHeads*a.headDim
	if a.fused == grouped {
		queries := nq / a.kvHeads // per group
		q, k = t.ColumnsOf(all, a.kvHeads, 0, queries), t.ColumnsOf(all, a.kvHeads, queries, a.headDim)
		v = t.ColumnsOf(all, a.kvHeads, queries+a.headDim, a.headDim)
	} else {
		q, k, v = t.Columns(all, 0, nq), t.Columns(all, nq, nk), t.Columns(all, nq+nk, nk)
	}
	t.Drop(all)
	return q, k, v
}

// normedAndRotated records queries or keys after their norm and rotary embedding, in the family's order.
// table nil: no rotary embedding.
func (a *selfAttention) normedAndRotated(m *Model, table *angles, x *autograd.Value, n norm, b *Batch, heads int) *autograd.Value {
	if n.weight != nil && !a.rotateFirst {
		x = m.normed(x, n)
	}
	x = clipped(m.tape, x, a.clip)
	if table != nil {
		x = m.tape.Rope(x, table.rows(b), table.Table, heads, a.headDim)
	}
	if n.weight != nil && a.rotateFirst {
		x = m.normed(x, n)
	}
	return x
}

// clipped records x clipped to ±bound; 0 = unchanged.
func clipped(t *autograd.Tape, x *autograd.Value, bound float32) *autograd.Value {
	if bound == 0 {
		return x
	}
	y := t.Pointwise(swiglu.Pointwise{Function: swiglu.Clamp, Bound: bound}, x)
	t.Drop(x)
	return y
}

// keeps implements tokenMixer: the keys and values of every token, rounded up to whole chunks.
func (a *selfAttention) keeps(capacity int) []int {
	n := wholeChunks(capacity, a.chunkSize) * a.kvHeads * a.headDim
	return []int{n, n}
}

func (a *selfAttention) pairs() float64 { return float64(a.heads * a.headDim) }
func (a *selfAttention) steps() float64 { return 0 }

// narrows implements tokenMixer. Devices have no bf16 kernel for heads longer than
// attention.TensorHeadDim.
func (a *selfAttention) narrows(on driver.Kind) bool {
	return a.headDim%chunk == 0 && a.scale > 0 && a.sinks == nil && (on == driver.CPU || a.headDim <= attention.TensorHeadDim)
}
