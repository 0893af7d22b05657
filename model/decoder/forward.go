package decoder

import (
	"fmt"

	"dataflex/driver"
	"dataflex/kernels/attention"
	"dataflex/kernels/xent"
	"dataflex/model/autograd"
)

// Batch is a packed micro-batch: T tokens of one or more sequences one after the
// other, without padding. A position attends to the earlier ones of its sequence.
type Batch struct {
	Tokens    []int32 // [T]
	Positions []int32 // [T], from 0 in every sequence; nil = just that
	Targets   []int32 // [T], what each position must predict; < 0 = nothing
	Segments  []int32 // cu_seqlens: sequence i is [Segments[i], Segments[i+1]); nil = one sequence

	// PadLen is the length that upstream would have padded the batch to; 0 = the
	// longest sequence's. Dynamic rope alone depends on it.
	PadLen int
}

// Objective is the scalar Σ_t Weight[t]·loss[t] whose gradient is wanted.
type Objective struct {
	Weight      []float32 // [T]; nil = 1
	Smoothing   float32   // label smoothing: (1-ε)·NLL + ε·(mean over the vocabulary of -log p)
	Train       bool      // apply the adapters' dropout
	DropoutSeed uint64    // the masks' key: another one for every micro-batch
}

// Losses returns the loss of every token, 0 where there is no target. Nothing is
// dropped out and nothing is kept for a gradient.
func (m *Model) Losses(b Batch, smoothing float32) ([]float32, error) {
	return m.run(&b, Objective{Smoothing: smoothing}, autograd.Mode{})
}

// Backward adds the gradient of o to Param.Grad of every trainable parameter and
// returns the loss of every token, without its weight.
func (m *Model) Backward(b Batch, o Objective) ([]float32, error) {
	return m.run(&b, o, autograd.Mode{Record: true, Dropout: o.Train, DropoutSeed: o.DropoutSeed})
}

// FactorSink receives the factors of per-sequence adapter gradients; see PerSample.
type FactorSink = autograd.FactorSink

// PerSample is Backward for per-sequence gradients: every adapter's factors go to
// sink, last adapter first, and nothing is added to Param.Grad. It is an error if
// anything but adapters trains.
func (m *Model) PerSample(b Batch, o Objective, sink FactorSink) ([]float32, error) {
	for _, p := range m.base() {
		if p.Trainable() {
			return nil, fmt.Errorf("per-sample factors exist for LoRA adapters only, but %s is trained", p.Name)
		}
	}
	return m.run(&b, o, autograd.Mode{Record: true, Dropout: o.Train, DropoutSeed: o.DropoutSeed, Sink: sink})
}

// run is one pass over b: forward, the losses and, if mode records, backward.
func (m *Model) run(b *Batch, o Objective, mode autograd.Mode) ([]float32, error) {
	if err := m.check(b, o); err != nil {
		return nil, err
	}
	mode.Segments = b.Segments
	t := m.tape
	t.Begin(mode)
	h := m.hidden(b)
	loss := t.Scratch(len(b.Tokens))
	p := xent.Params{Rows: len(b.Tokens), Hidden: m.config.Hidden, Vocab: m.config.Vocab, Smoothing: o.Smoothing}
	t.CrossEntropy(p, h, m.head, b.Targets, driver.FromHost(o.Weight), loss)
	if err := t.Err(); err != nil {
		return nil, err
	}
	losses := append([]float32(nil), loss.Host()...)
	if mode.Record {
		return losses, t.Backward()
	}
	return losses, nil
}

// hidden records everything below the head: [T, Hidden] after the final norm.
func (m *Model) hidden(b *Batch) *autograd.Value {
	t := m.tape
	x := t.Embed(m.embed, b.Tokens)
	for i := range m.layers {
		x = m.layer(&m.layers[i], x, b)
	}
	h := t.Norm(x, m.norm, m.config.Eps)
	t.Drop(x)
	return h
}

// layer records x + attention(norm(x)), then + mlp(norm(·)).
func (m *Model) layer(l *layer, x *autograd.Value, b *Batch) *autograd.Value {
	t, c := m.tape, &m.config
	h := t.Norm(x, l.inputNorm, c.Eps)
	q, k, v := t.Linear(h, &l.q), t.Linear(h, &l.k), t.Linear(h, &l.v)
	t.Drop(h)
	q = t.Rope(q, b.Positions, m.rope, c.Heads, c.HeadDim)
	k = t.Rope(k, b.Positions, m.rope, c.KVHeads, c.HeadDim)
	a := t.Attention(attention.Params{
		Segments: b.Segments, Heads: c.Heads, KVHeads: c.KVHeads, HeadDim: c.HeadDim,
		Scale: c.AttentionScale, Window: l.window,
	}, q, k, v)
	t.Drop(q, k, v)
	o := t.Linear(a, &l.o)
	t.Drop(a)
	x = t.Residual(x, o)

	h = t.Norm(x, l.mlpNorm, c.Eps)
	gate, up := t.Linear(h, &l.gate), t.Linear(h, &l.up)
	t.Drop(h)
	s := t.SwiGLU(gate, up)
	t.Drop(gate, up)
	d := t.Linear(s, &l.down)
	t.Drop(s)
	return t.Residual(x, d)
}

// check completes b and says what is wrong with it.
func (m *Model) check(b *Batch, o Objective) error {
	n := len(b.Tokens)
	if n == 0 {
		return fmt.Errorf("a batch without tokens")
	}
	if len(b.Targets) != n || (b.Positions != nil && len(b.Positions) != n) || (o.Weight != nil && len(o.Weight) != n) {
		return fmt.Errorf("a batch of %d tokens with %d targets, %d positions and %d weights", n, len(b.Targets), len(b.Positions), len(o.Weight))
	}
	for i, id := range b.Tokens {
		if id < 0 || int(id) >= m.config.Vocab {
			return fmt.Errorf("token %d at position %d of the batch: the model's vocabulary has %d entries", id, i, m.config.Vocab)
		}
		if int(b.Targets[i]) >= m.config.Vocab {
			return fmt.Errorf("target %d at position %d of the batch: the model's vocabulary has %d entries", b.Targets[i], i, m.config.Vocab)
		}
	}
	if err := m.checkSegments(b); err != nil {
		return err
	}
	return m.checkPositions(b)
}

func (m *Model) checkSegments(b *Batch) error {
	n := int32(len(b.Tokens))
	if b.Segments == nil {
		b.Segments = []int32{0, n}
	}
	s := b.Segments
	if len(s) < 2 || s[0] != 0 || s[len(s)-1] != n {
		return fmt.Errorf("segments %v of a batch of %d tokens must start with 0 and end with %d", s, n, n)
	}
	for i := range s[1:] {
		if s[i+1] <= s[i] {
			return fmt.Errorf("segments %v must increase", s)
		}
	}
	return nil
}

// checkPositions also tells the rope table the batch's length. A length below every
// other makes the table forget earlier batches first: transformers' dynamic rope
// remembers the longest batch so far, which would make a batch's result depend on
// what came before it, and on whether the run was resumed.
func (m *Model) checkPositions(b *Batch) error {
	if b.Positions == nil {
		b.Positions = make([]int32, len(b.Tokens))
		for i := range b.Segments[1:] {
			for j := b.Segments[i]; j < b.Segments[i+1]; j++ {
				b.Positions[j] = j - b.Segments[i]
			}
		}
	}
	length := b.PadLen
	for i, p := range b.Positions {
		if p < 0 {
			return fmt.Errorf("position %d at token %d of the batch", p, i)
		}
		length = max(length, int(p)+1)
	}
	m.rope.Prepare(1)
	m.rope.Prepare(length)
	return nil
}
