package decoder

import (
	"fmt"

	"dataflex.dev/dataflex/kernels/attention"
	"dataflex.dev/dataflex/model/autograd"
)

// sharedAttention is attention that may read the keys and values of an earlier layer, whose
// values may be computed by the projection of the keys, and are normalised (gemma4:
// transformers 5, modeling_gemma4.py).
type sharedAttention struct {
	selfAttention
	keysOf     int  // the layer whose keys and values it reads
	lent       bool // later layers read its keys and values
	last       bool // no later layer reads those of keysOf
	keysValues bool // values are the keys before norm and rotary embedding
	vNorm      norm // without trained weights
}

// keysAndValues are one layer's in the current pass.
type keysAndValues struct{ k, v *autograd.Value }

// sharedAttention builds the attention of layer i.
func (b *builder) sharedAttention(path string, i int) *sharedAttention {
	c, shape := &b.c, b.c.Shapes[i]
	a := &sharedAttention{
		selfAttention: selfAttention{
			rope: b.rotaryOf(i), heads: c.Heads, kvHeads: shape.KVHeads, headDim: shape.HeadDim,
			scale: c.AttentionScale, softCap: c.AttnSoftCap, window: c.Window[i],
		},
		keysOf: shape.KeysOf, keysValues: shape.KeysAreValues, last: true,
	}
	for j := i + 1; j < len(c.Shapes); j++ {
		a.lent = a.lent || c.Shapes[j].KeysOf == i
		a.last = a.last && c.Shapes[j].KeysOf != a.keysOf
	}
	q, kv := a.heads*a.headDim, a.kvHeads*a.headDim
	b.linear(&a.q, path+"q_proj", c.Hidden, q, c.QKVBias)
	a.qNorm = b.norm(path+"q_norm", a.headDim)
	if a.keysOf == i {
		a.kNorm = b.norm(path+"k_norm", a.headDim)
		a.vNorm = norm{weight: b.onesOf(a.headDim), width: a.headDim, groups: 1, eps: c.Eps}
		b.linear(&a.k, path+"k_proj", c.Hidden, kv, c.QKVBias)
		if !a.keysValues {
			b.linear(&a.v, path+"v_proj", c.Hidden, kv, c.QKVBias)
		}
	}
	b.linear(&a.o, path+"o_proj", q, c.Hidden, c.OutBias)
	return a
}

// mix implements tokenMixer.
func (a *sharedAttention) mix(m *Model, i int, h *autograd.Value, b *Batch, cache *Cache) *autograd.Value {
	t := m.tape
	q := a.normedAndRotated(m, a.rope.queries, t.Linear(h, &a.q), a.qNorm, b, a.heads)
	kv := b.shared[a.keysOf]
	if a.keysOf == i {
		kv = a.compute(m, h, b)
	}
	p := attention.Params{
		Segments: b.Segments, Heads: a.heads, KVHeads: a.kvHeads, HeadDim: a.headDim,
		Scale: a.scale, Window: a.window, SoftCap: a.softCap,
	}
	var y *autograd.Value
	if a.keysOf == i {
		y = cache.attend(t, i, p, 0, nil, q, kv.k, kv.v)
	} else {
		y = cache.attendStored(t, a.keysOf, p, 0, nil, q, kv.k, kv.v)
	}
	t.Drop(q)
	switch {
	case a.lent && b.shared == nil:
		b.shared = map[int]keysAndValues{i: kv}
	case a.lent:
		b.shared[i] = kv
	case a.last && !m.checkpointed: // with checkpointing the backward pass reads them again
		t.Drop(kv.k, kv.v)
		delete(b.shared, a.keysOf)
	}
	o := t.Linear(y, &a.o)
	t.Drop(y)
	return o
}

// compute records the layer's own keys and values.
func (a *sharedAttention) compute(m *Model, h *autograd.Value, b *Batch) (kv keysAndValues) {
	t := m.tape
	k := t.Linear(h, &a.k)
	if a.keysValues {
		kv.v = m.normOf(k, a.vNorm)
	} else {
		kv.v = m.normed(t.Linear(h, &a.v), a.vNorm)
	}
	kv.k = a.normedAndRotated(m, a.rope.keys, k, a.kNorm, b, a.kvHeads)
	return kv
}

// keeps implements tokenMixer: only a layer that computes keys and values caches them.
func (a *sharedAttention) keeps(capacity int) []int {
	if a.k.Weight == nil {
		return nil
	}
	return a.selfAttention.keeps(capacity)
}

// unread reports whether a tensor is one that folders may have although no layer reads it: keys
// and values of layers that read an earlier layer's.
func (c *Config) unread(name string) bool {
	for i, shape := range c.Shapes {
		if shape.KeysOf == i {
			continue
		}
		path := fmt.Sprintf("%s.%d.self_attn.", families[c.ModelType].within(c.Multimodal).named().layers, i)
		for _, module := range []string{"k_proj", "v_proj", "k_norm", "v_norm"} {
			if name == path+module+".weight" || name == path+module+".bias" {
				return true
			}
		}
	}
	return false
}
