package decoder

import (
	"dataflex.dev/dataflex/kernels/swiglu"
	"dataflex.dev/dataflex/model/autograd"
)

// chooser chooses each token's experts and their weights from the router's logits
// [T, Experts].
type chooser interface {
	route(t *autograd.Tape, logits *autograd.Value) *autograd.Routing
}

// probabilities chooses the most probable experts (softmax), weighted by their probabilities.
type probabilities struct {
	topK      int
	normalize bool // a token's weights sum to 1
}

func (r probabilities) route(t *autograd.Tape, logits *autograd.Value) *autograd.Routing {
	return t.Route(logits, r.topK, r.normalize)
}

// scores chooses by sigmoid scores, by corrected ones, or within groups of experts.
type scores autograd.ScoreOptions

func (r scores) route(t *autograd.Tape, logits *autograd.Value) *autograd.Routing {
	return t.RouteScores(logits, autograd.ScoreOptions(r))
}

// routing is the kind of a family's routers.
type routing uint8

const (
	byProbability routing = iota
	bySigmoid             // sigmoid of every logit
	byCorrected           // softmax, and a bias that only the choice reads
)

// chooser builds the family's kind of router; path is that of its mixture.
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

// gating combines an expert's two projections [T, Intermediate], which down alone reads.
type gating interface {
	gate(t *autograd.Tape, gate, up *autograd.Value, down *autograd.Linear) *autograd.Value
}

// activated is act(gate)·up.
type activated swiglu.Activation

func (a activated) gate(t *autograd.Tape, gate, up *autograd.Value, down *autograd.Linear) *autograd.Value {
	return t.SwiGLUFor(down, swiglu.Activation(a), gate, up)
}

// clamped is the clamped swiglu of gpt_oss.
type clamped swiglu.Clamped

func (c clamped) gate(t *autograd.Tape, gate, up *autograd.Value, _ *autograd.Linear) *autograd.Value {
	return t.ClampedSwiGLU(swiglu.Clamped(c), gate, up)
}
