package decoder

import (
	"dataflex.dev/dataflex/kernels/swiglu"
	"dataflex.dev/dataflex/model/autograd"
)

// chooser chooses a token's experts, and how much each of them counts, from the router
// layer's logits [T, Experts].
type chooser interface {
	route(t *autograd.Tape, logits *autograd.Value) *autograd.Routing
}

// probabilities choose the most probable experts, weighted by their probabilities.
type probabilities struct {
	topK      int
	normalize bool // a token's weights sum to 1
}

func (r probabilities) route(t *autograd.Tape, logits *autograd.Value) *autograd.Routing {
	return t.Route(logits, r.topK, r.normalize)
}

// scores choose by scores that do not compete, that something corrects, or in groups.
type scores autograd.ScoreOptions

func (r scores) route(t *autograd.Tape, logits *autograd.Value) *autograd.Routing {
	return t.RouteScores(logits, autograd.ScoreOptions(r))
}

// routing is how a family's routers choose.
type routing uint8

const (
	byProbability routing = iota
	bySigmoid             // of every logit by itself
	byCorrected           // by probability and a correction
)

// chooser is the family's kind of one; path is that of its mixture.
func (b *builder) chooser(path string) chooser {
	c := &b.c.MoE
	if b.f.routing == byProbability {
		return probabilities{c.TopK, c.Normalize}
	}
	s := scores{
		TopK: c.TopK, Normalize: c.Normalize, Softmax: b.f.routing == byCorrected, Groups: c.Groups, TopGroups: c.TopGroups,
		Scale: c.Scale, Floor: c.Floor, NoBalance: b.f.noBalance,
	}
	if b.f.choiceBias == "" {
		return s
	}
	shape := []int{b.c.MoE.Experts}
	if b.f.choiceRow {
		shape = []int{1, b.c.MoE.Experts}
	}
	if s.Bias = b.tensor(false, path+b.f.choiceBias, shape...); s.Bias != nil {
		b.parts = append(b.parts, part{path: path + b.f.choiceBias, param: s.Bias, fixed: true})
	}
	return s
}

// gating is what an expert computes of its two projections [T, Intermediate].
type gating interface {
	gate(t *autograd.Tape, gate, up *autograd.Value) *autograd.Value
}

// activated is act(gate)·up.
type activated swiglu.Activation

func (a activated) gate(t *autograd.Tape, gate, up *autograd.Value) *autograd.Value {
	return t.SwiGLU(swiglu.Activation(a), gate, up)
}

// clamped is gpt_oss'.
type clamped swiglu.Clamped

func (c clamped) gate(t *autograd.Tape, gate, up *autograd.Value) *autograd.Value {
	return t.ClampedSwiGLU(swiglu.Clamped(c), gate, up)
}
