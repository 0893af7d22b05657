package decoder

import (
	"errors"
	"fmt"
	"slices"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/xent"
	"dataflex.dev/dataflex/model/autograd"
)

// Batch is a packed micro-batch, or several that share a pass: T tokens of one or more sequences one after the
// other, without padding. A position attends to the earlier ones of its sequence.
type Batch struct {
	Tokens    []int32 // [T]
	Positions []int32 // [T], from 0 in every sequence; nil = just that
	Targets   []int32 // [T], the label of each position; < 0 = none
	Segments  []int32 // cu_seqlens: sequence i is [Segments[i], Segments[i+1]); nil = one sequence

	// PadLen is the length that upstream would have padded the batch to; 0 = the
	// longest sequence's. Dynamic rope alone depends on it.
	PadLen int

	rows   []int32               // [T], of the rope table; set by Model.check
	shared map[int]keysAndValues // in a pass, those of layers that later ones read
}

// Objective is the scalar Σ_t Weight[t]·loss[t] whose gradient is wanted.
type Objective struct {
	Weight      []float32 // [T]; nil = 1
	Smoothing   float32   // label smoothing: (1-ε)·NLL + ε·(mean over the vocabulary of -log p)
	Train       bool      // apply the adapters' dropout
	DropoutSeed uint64    // the masks' key, and the noise's: another one for every micro-batch
	Parts       []Part    // the micro-batches of the batch; nil: it is one, with that seed and the batch's PadLen

	// Balance times the load-balancing loss of a mixture of experts is added to the
	// scalar (moe_aux_loss_coef); see Model.BalanceLoss for its value.
	Balance float32
	// NEFTune is neftune_noise_alpha: while training, noise uniform in ±NEFTune/sqrt(L·Hidden)
	// is added to the embeddings, L being the batch's padded length.
	NEFTune float32
}

// Losses returns the loss of every token, 0 where there is no target, without dropout and
// without recording for a backward pass.
func (m *Model) Losses(b Batch, smoothing float32) ([]float32, error) {
	return m.run(&b, Objective{Smoothing: smoothing}, autograd.Mode{})
}

// Backward adds the gradient of o to Param.Grad of every trainable parameter and
// returns the loss of every token, without its weight.
func (m *Model) Backward(b Batch, o Objective) ([]float32, error) {
	return m.run(&b, o, recording(o, nil))
}

func recording(o Objective, sink FactorSink) autograd.Mode {
	return autograd.Mode{Record: true, Dropout: o.Train, BalanceWeight: o.Balance, Sink: sink}
}

// FactorSink receives the factors of per-sequence adapter gradients; see PerSample.
type FactorSink = autograd.FactorSink

// PerSample is Backward for per-sequence gradients: sink gets every adapter's factors, last
// adapter first, and Param.Grad does not change. It is an error if anything but A and B of
// adapters trains.
func (m *Model) PerSample(b Batch, o Objective, sink FactorSink) ([]float32, error) {
	for _, p := range m.base() {
		if p.Trainable() {
			return nil, fmt.Errorf("per-sample factors exist for LoRA adapters only, but %s is trained", p.Name)
		}
	}
	if m.adapter != nil && m.adapter.lora.DoRA {
		return nil, errors.New("per-sample factors exist for A and B alone, and DoRA's magnitudes are trained, too")
	}
	if m.adaptedTables() {
		return nil, errors.New("per-sample factors exist for the layers' adapters alone, and something on the embeddings or the head is trained, too")
	}
	return m.run(&b, o, recording(o, sink))
}

// run is one pass over b: forward, the losses and, if mode records, backward.
func (m *Model) run(b *Batch, o Objective, mode autograd.Mode) (losses []float32, err error) {
	if err := m.check(b, o); err != nil {
		return nil, err
	}
	if m.shards == nil {
		return m.through(b, o, mode)
	}
	err = m.pass(mode.Record, mode.Sink == nil, func() (err error) { losses, err = m.through(b, o, mode); return err })
	return losses, err
}

// through is run in this process's turn.
func (m *Model) through(b *Batch, o Objective, mode autograd.Mode) ([]float32, error) {
	mode.Segments, mode.Parts = b.Segments, m.split(b, o)
	t := m.tape
	t.Begin(mode)
	h := m.stack(b, m.config.Layers, nil)
	m.boundary(m.config.Layers)
	h = m.final(h)
	loss := t.Scratch(len(b.Tokens))
	weight, err := m.weights(o.Weight)
	if err != nil {
		return nil, err
	}
	if m.follower != nil && t.Follows() { // the gradients of the head come with its losses
		if err := m.begin(m.follower, m.Sections()-1); err != nil {
			return nil, err
		}
	}
	t.CrossEntropy(m.headParams(len(b.Tokens), o.Smoothing), h, &m.head, b.Targets, weight, loss)
	if err := t.Err(); err != nil {
		return nil, err
	}
	losses, err := driver.Read(m.dev, loss)
	if err != nil {
		return nil, err
	}
	losses = slices.Clone(losses) // what Read returns may be the pass's own memory
	if mode.Record {
		return losses, t.Backward()
	}
	return losses, nil
}

// weights copies w to the device for this pass; nil stays nil.
func (m *Model) weights(w []float32) (driver.F32, error) {
	if w == nil || m.dev.Kind() == driver.CPU {
		return driver.FromHost(w), nil
	}
	s := m.tape.Scratch(len(w))
	if err := m.tape.Err(); err != nil {
		return s, err
	}
	return s, driver.Upload(m.dev, s, w)
}

func (m *Model) headParams(rows int, smoothing float32) xent.Params {
	c := &m.config
	p := xent.Params{
		Rows: rows, Hidden: c.Hidden, Vocab: c.Vocab, Smoothing: smoothing,
		SoftCap: c.LogitSoftCap, LogitScale: c.LogitScale,
	}
	if b := m.head.Bias; b != nil {
		p.Bias, p.DBias = b.Data, b.Grad
	}
	return p
}

// BalanceLoss is the load-balancing loss (transformers' aux_loss, without its
// coefficient) of the last pass; 0 for a model without mixtures of experts.
func (m *Model) BalanceLoss() (float64, error) {
	loss, _, err := m.tape.Balance()
	return loss, err
}

// Routings are the choices of experts in the last pass, one per layer that has them.
// They are valid until the next pass.
func (m *Model) Routings() []*autograd.Routing { return m.tape.Routings() }

// GateLoads returns, per layer with a mixture of experts, each expert's share of the
// router's probabilities over b's tokens; nil for a model without any.
func (m *Model) GateLoads(b Batch) ([][]float64, error) {
	if _, err := m.Hidden(b, m.config.Layers); err != nil {
		return nil, err
	}
	var loads [][]float64
	for _, r := range m.Routings() {
		share := make([]float64, m.config.MoE.Experts)
		probs, err := driver.Read(m.dev, r.Probabilities())
		if err != nil {
			return nil, err
		}
		for i, p := range probs {
			share[i%len(share)] += float64(p) / float64(len(b.Tokens))
		}
		loads = append(loads, share)
	}
	return loads, nil
}

// Hidden returns the hidden states [T, Hidden] of b as transformers' hidden_states
// counts them: layer 0 is the embeddings, Layers comes after the final norm, and
// negative ones count from the end. The memory is valid until the next call.
func (m *Model) Hidden(b Batch, layer int) (h driver.F32, err error) {
	err = m.pass(false, false, func() (err error) { h, err = m.hidden(b, layer); return err })
	return h, err
}

func (m *Model) hidden(b Batch, layer int) (driver.F32, error) {
	n := m.config.Layers
	at := layer
	if at < 0 {
		at += n + 1
	}
	if at < 0 || at > n {
		return driver.F32{}, fmt.Errorf("hidden states of layer %d: the model has layers %d to %d", layer, -n-1, n)
	}
	if b.Targets == nil {
		b.Targets = make([]int32, len(b.Tokens))
	}
	if err := m.check(&b, Objective{}); err != nil {
		return driver.F32{}, err
	}
	m.tape.Begin(autograd.Mode{Segments: b.Segments})
	h := m.stack(&b, at, nil)
	if at == n {
		m.enter(n + 1)
		h = m.final(h)
	}
	if err := m.tape.Err(); err != nil {
		return driver.F32{}, err
	}
	return h.Data(), nil
}

// check validates b and fills in its defaults.
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
	if err := m.checkParts(b, o.Parts); err != nil {
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
		if m.positions != nil && int(p) >= m.config.MaxPositions {
			return fmt.Errorf("position %d: model_type %s learned positions, and has %d of them: shorter sequences fit (cutoff_len, max_new_tokens)", p, m.config.ModelType, m.config.MaxPositions)
		}
		length = max(length, int(p)+1)
	}
	m.rope.Prepare(1)
	m.rope.Prepare(length)
	b.rows = m.rope.Rows(b.Positions, b.Segments)
	return nil
}
