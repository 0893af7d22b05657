package decoder

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/tensor"
)

// layer is one decoder layer: its token mixer (attention or a recurrent one), its
// feed-forward part, and the norms around the two. Which parts a layer has is chosen by its
// index when the model is built.
type layer struct {
	mixer tokenMixer
	feed  feedForward
	norms [roles]norm // those that the family has

	input  *layerInput   // per-layer embedding; nil: none
	factor *tensor.Param // its output is multiplied by this; nil: not
	scale  float32       // value of factor
}

// tokenMixer is the part of a layer in which tokens read earlier tokens of their sequence:
// attention, a delta rule or a convolution.
type tokenMixer interface {
	// mix records what layer i adds to the residual: from h [T, Hidden] to [T, Hidden].
	// With a cache it reads and writes what cache.stores(i) holds.
	mix(m *Model, i int, h *autograd.Value, b *Batch, cache *Cache) *autograd.Value
	// keeps lists the buffers in which a cache keeps a sequence of up to capacity tokens, as
	// numbers of float32.
	keeps(capacity int) []int
	// pairs is the number of multiplications per pair of tokens, steps per token, both without
	// linear layers.
	pairs() float64
	steps() float64
	// narrows reports whether the mixer can run in bf16 on such a device if the matrices are
	// bf16.
	narrows(on driver.Kind) bool
}

// feedForward is the part of a layer that computes each token by itself: an MLP or a mixture.
type feedForward interface {
	// feed records what the layer adds to the residual: from h [T, Hidden] to [T, Hidden].
	feed(m *Model, h *autograd.Value) *autograd.Value
	// spread stores the fraction of tokens that each of its linear layers computes, if it is
	// not 1.
	spread(part map[*autograd.Linear]float64)
}

// layer builds layer i, with its modules in the order in which PyTorch registers them.
func (b *builder) layer(l *layer, i int) {
	names := b.f.named()
	path := fmt.Sprintf("%s.%d.", names.layers, i)
	mixer := func() { l.mixer = b.mixer(path, i) }
	feed := func() { l.feed = b.feedForward(path, i) }
	norms := func(of ...role) {
		for _, n := range b.f.normsOf(&b.c) {
			if len(of) == 0 || n.role == of[0] {
				l.norms[n.role] = b.norm(path+n.name, b.c.Hidden)
			}
		}
	}
	switch b.f.order {
	case normsLast:
		mixer()
		feed()
		norms()
	case normsFirst:
		norms()
		mixer()
		feed()
	case normsBefore:
		norms(beforeAttention)
		mixer()
		norms(beforeMLP)
		feed()
	}
	l.factor, l.scale = b.layerScale(path), 1
	l.input = b.layerInput(path)
	if b.f.mixtureBeside && b.c.MoE.Experts > 0 {
		l.feed = b.mixtureBeside(path, l.feed, l.norms[beforeMLP])
		l.norms[beforeMLP] = norm{} // mixtureBeside applies it, because the experts read the residual without it
	}
}

// mixer builds the token mixer of layer i. path is the layer's.
func (b *builder) mixer(path string, i int) tokenMixer {
	attention := path + b.f.named().attention + "."
	switch {
	case b.c.Shapes != nil:
		return b.sharedAttention(attention, i)
	case b.c.Latent.Rank > 0:
		return b.latentAttention(attention, i)
	case !b.c.recurrent(i):
		return b.attention(attention, i)
	case b.c.Linear.KeyHeads > 0:
		return b.deltaNet(path + "linear_attn.")
	}
	return b.shortConv(path + "conv.")
}

// feedForward builds the feed-forward part of layer i.
func (b *builder) feedForward(path string, i int) feedForward {
	if b.c.sparse(i) {
		return b.mixture(path + b.f.experts.block + ".")
	}
	width := b.c.Intermediate
	if b.c.Shapes != nil {
		width = b.c.Shapes[i].Intermediate
	}
	return b.mlp(path+b.f.named().mlp+".", width)
}

// stack records the embeddings and the first layers layers: [T, Hidden].
func (m *Model) stack(b *Batch, layers int, cache *Cache) *autograd.Value {
	m.placeTokens()
	m.boundary(-1)
	e := m.embedding
	e.Noisy = true
	x := m.tape.Embed(m.embed, b.Tokens, e)
	if m.positions != nil {
		at := m.tape.Embed(m.positions, b.Positions, autograd.Embedding{})
		x = m.tape.Residual(x, at, 0)
	}
	if m.family.embedNorm {
		x = m.normed(x, m.norm)
	}
	inputs := m.inputsOf(x, b)
	for i := range layers {
		m.boundary(i)
		if m.checkpointed && !m.layers[i].lendsKeys() {
			x = m.tape.Segment(x, func(x *autograd.Value) *autograd.Value { return m.finished(i, m.layer(i, x, b, cache), inputs) })
		} else {
			x = m.finished(i, m.layer(i, x, b, cache), inputs)
		}
	}
	if inputs != nil && !m.checkpointed {
		m.tape.Drop(inputs)
	}
	return x
}

// lendsKeys reports whether later layers read the keys and values of l, which then stay allocated.
func (l *layer) lendsKeys() bool {
	a, ok := l.mixer.(*sharedAttention)
	return ok && a.lent
}

// finished records what some families append to a layer: its per-layer embedding and its
// output factor.
func (m *Model) finished(i int, x, inputs *autograd.Value) *autograd.Value {
	l := &m.layers[i]
	if l.input != nil {
		x = l.input.add(m, i, x, inputs)
	}
	if l.scale != 1 {
		x = m.tape.Scaled(x, l.scale)
	}
	return x
}

// CheckpointLayers turns activation checkpointing on or off. With it, a pass keeps only the
// input of each layer and the backward pass recomputes the layer, with the same bits: a token
// takes Hidden numbers per layer, plus all activations of one layer at a time. Layers whose
// keys and values later layers read keep all activations.
func (m *Model) CheckpointLayers(on bool) { m.checkpointed = on }

// CheckpointsLayers reports whether CheckpointLayers is on.
func (m *Model) CheckpointsLayers() bool { return m.checkpointed }

// final records the final norm.
func (m *Model) final(x *autograd.Value) *autograd.Value { return m.normed(x, m.norm) }

// layer records x + mixer(norm(x)), then + feed(norm(·)); or x + mixer(h) + feed(h) with
// one h = norm(x), or with two.
func (m *Model) layer(i int, x *autograd.Value, b *Batch, cache *Cache) *autograd.Value {
	l := &m.layers[i]
	h := m.before(x, l.norms[beforeAttention])
	a := l.mixer.mix(m, i, h, b, cache)
	if m.family.parallel || m.config.Parallel {
		if l.norms[beforeMLP].weight != nil {
			m.dropUnless(h, x)
			h = m.normOf(x, l.norms[beforeMLP])
		}
		y := l.feed.feed(m, h)
		m.dropUnless(h, x)
		return m.residual(m.residual(x, a, norm{}), y, norm{})
	}
	m.dropUnless(h, x)
	x = m.residual(x, a, l.norms[afterAttention])

	h = m.before(x, l.norms[beforeMLP])
	y := l.feed.feed(m, h)
	m.dropUnless(h, x)
	return m.residual(x, y, l.norms[afterMLP])
}

// before records the norm in front of a branch, if the family has one.
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
