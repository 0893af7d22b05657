package decoder

import "dataflex.dev/dataflex/model/autograd"

// Work is the number of floating-point operations of a pass's products, which take nearly all
// of its time.
type Work struct {
	Forward  float64
	Backward float64 // gradients of activations and of trained weights
}

// Work counts the operations for rows of the given lengths, labelled of whose tokens have a
// target: 2 per weight and token, and 4 per element of an attention head and pair of tokens.
func (m *Model) Work(lengths []int, labelled int) Work {
	c := m.config
	tokens, pairs := 0.0, 0.0
	for _, n := range lengths {
		tokens += float64(n)
		pairs += float64(n) * float64(n) / 2
	}
	layers, trained := m.weightsPerToken()
	head := float64(c.Vocab) * float64(c.Hidden) * float64(labelled)
	mixed := 0.0
	for i := range m.layers {
		mixed += 4*pairs*m.layers[i].mixer.pairs() + 2*tokens*m.layers[i].mixer.steps()
	}
	w := Work{Forward: 2*layers*tokens + 2*head + mixed}
	w.Backward = w.Forward + 2*trained*tokens + 1.5*mixed // attention's backward pass recomputes the scores
	if m.head.Weight.Trainable() {
		w.Backward += 2 * head
	}
	if m.checkpointed { // the forward pass of every layer once more
		w.Backward += 2*layers*tokens + mixed
	}
	return w
}

// weightsPerToken returns the number of the layers' weights that are applied to a token, and of the
// trained ones among them.
func (m *Model) weightsPerToken() (all, trained float64) {
	share := map[*autograd.Linear]float64{}
	for i := range m.layers {
		m.layers[i].feed.spread(share)
	}
	for _, p := range m.parts {
		l := p.linear
		if l == nil {
			continue
		}
		n := float64(l.In) * float64(l.Out)
		if s, ok := share[l]; ok {
			n *= s
		}
		all += n
		if l.Weight.Trainable() {
			trained += n
		}
		if l.LoRA != nil {
			r := float64(l.LoRA.Rank) * float64(l.In+l.Out)
			all, trained = all+r, trained+r
		}
	}
	stacked, trainedToo := m.stackedWeights()
	return all + stacked, trained + trainedToo
}

// stackedWeights counts the weights of experts that are stored in one tensor, which are not
// linear modules.
func (m *Model) stackedWeights() (all, trained float64) {
	listed := map[*autograd.Linear]bool{}
	for _, p := range m.parts {
		listed[p.linear] = true
	}
	for i := range m.layers {
		share, part := map[*autograd.Linear]float64{}, 0.0
		m.layers[i].feed.spread(share)
		weights, train := 0, 0
		for l, s := range share { // a layer's experts all have the same fraction, and sums of integers do not depend on the order
			if listed[l] {
				continue
			}
			part, weights = s, weights+l.In*l.Out
			if l.Weight.Trainable() {
				train += l.In * l.Out
			}
		}
		all, trained = all+part*float64(weights), trained+part*float64(train)
	}
	return all, trained
}
