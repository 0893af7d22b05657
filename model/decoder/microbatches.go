package decoder

import (
	"fmt"
	"math"
	"slices"

	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/tensor"
)

// Part is one micro-batch of a pass over several: the next Tokens tokens of the batch. Losses
// and gradients have the same bits as those of one pass per micro-batch: see autograd.Part.
type Part struct {
	Tokens      int
	PadLen      int // as Batch.PadLen
	DropoutSeed uint64
}

// Apart returns the reason why, with the parameters that are trained now, micro-batches cannot
// share a pass; "" if they can.
func (m *Model) Apart() string {
	switch {
	case m.config.MoE.Experts > 0:
		return "a mixture's experts add up, balance and mask the rows of one micro-batch"
	case m.rope != nil && !m.rope.Fixed():
		return "the angles of rope_type dynamic follow a micro-batch's length"
	case m.adaptedTables():
		return "what trains on the embeddings or the head adds up the rows of one micro-batch"
	}
	whole := slices.ContainsFunc(m.base(), (*tensor.Param).Trainable)
	switch {
	case whole && slices.Contains(m.config.Recurrent, true):
		return "the gradients of recurrent layers add up the rows of one micro-batch"
	case whole && m.family.sinks:
		return "the gradients of attention's sinks add up the rows of one micro-batch"
	case m.embed.Trainable() && m.head.Weight == m.embed:
		return "the head is the embeddings, whose gradient is a micro-batch's of both"
	}
	return ""
}

// split returns the micro-batches of b for the tape.
func (m *Model) split(b *Batch, o Objective) []autograd.Part {
	parts := o.Parts
	if len(parts) == 0 {
		parts = []Part{{len(b.Tokens), b.PadLen, o.DropoutSeed}}
	}
	out, at := make([]autograd.Part, len(parts)), 0
	for i, p := range parts {
		out[i] = autograd.Part{From: at, To: at + p.Tokens, DropoutSeed: p.DropoutSeed}
		out[i].Noise = m.noise(b, out[i], p.PadLen, o)
		at += p.Tokens
	}
	return out
}

// noise returns the magnitude of NEFTune's noise on a micro-batch that upstream would pad to
// length tokens.
func (m *Model) noise(b *Batch, p autograd.Part, length int, o Objective) float32 {
	if !o.Train || o.NEFTune == 0 {
		return 0
	}
	for i, from := range b.Segments[1:] {
		if from, to := b.Segments[i], from; int(from) >= p.From && int(to) <= p.To {
			length = max(length, int(to-from))
		}
	}
	return o.NEFTune / float32(math.Sqrt(float64(length*m.config.Hidden)))
}

// checkParts returns an error if the parts do not divide b.
func (m *Model) checkParts(b *Batch, parts []Part) error {
	if len(parts) == 0 {
		return nil
	}
	at := 0
	for i, p := range parts {
		at += p.Tokens
		if _, whole := slices.BinarySearch(b.Segments, int32(at)); p.Tokens < 1 || !whole {
			return fmt.Errorf("micro-batch %d of a pass ends at token %d, inside a sequence or at none", i, at)
		}
	}
	if at != len(b.Tokens) {
		return fmt.Errorf("the micro-batches of a pass have %d tokens of its %d", at, len(b.Tokens))
	}
	if why := m.Apart(); why != "" && len(parts) > 1 {
		return fmt.Errorf("a pass of several micro-batches: %s", why)
	}
	return nil
}
