package decoder

import (
	"cmp"
	"fmt"

	"dataflex.dev/dataflex/kernels/swiglu"
	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/tensor"
)

// mixture is a mixture of experts, of which a router chooses some for every token, and a
// shared expert, if there is one, that every token goes through.
type mixture struct {
	router         autograd.Linear // [Experts, Hidden]
	all            []expert        // whose layers gate, up and down list
	gate, up, down []*autograd.Linear
	act            swiglu.Activation
	shared         *gatedMLP       // nil: there is none
	sharedGate     autograd.Linear // [1, Hidden]
	choiceBias     *tensor.Param   // [Experts], nil: the router's scores are softmaxed
	topK           int
	normalize      bool // a token's weights sum to 1
}

// expert is down(act(gate(x)) · up(x)).
type expert struct{ gate, up, down autograd.Linear }

// mixture builds the family's kind of mixture.
func (b *builder) mixture(path string) *mixture {
	n, c := b.f.experts, &b.c
	e := &mixture{act: b.f.act(), topK: c.MoE.TopK, normalize: c.MoE.Normalize}
	if n.allGateUp != "" {
		b.stackedExperts(e, path)
		return e
	}
	// Which experts a token goes to hangs on small differences: float32, or what upstream
	// quantises it to.
	b.linearOf(&e.router, path+cmp.Or(n.router, "gate"), c.Hidden, c.MoE.Experts, false, false)
	e.all = make([]expert, c.MoE.Experts)
	for i := range e.all {
		b.expert(e, i, path)
	}
	if b.f.choiceBias != "" {
		if e.choiceBias = b.tensor(false, path+b.f.choiceBias, c.MoE.Experts); e.choiceBias != nil {
			b.parts = append(b.parts, part{path: path + b.f.choiceBias, param: e.choiceBias, fixed: true})
		}
	}
	if c.MoE.Shared > 0 {
		e.shared = b.gatedMLP(path+"shared_expert.", c.MoE.Shared)
		b.linear(&e.sharedGate, path+"shared_expert_gate", c.Hidden, 1, false)
	}
	return e
}

func (b *builder) expert(e *mixture, i int, path string) {
	n, c := b.f.experts, &b.c
	x, p := &e.all[i], fmt.Sprintf("%sexperts.%d.", path, i)
	b.linear(&x.gate, p+n.gate, c.Hidden, c.MoE.Intermediate, false)
	if n.downSecond {
		b.linear(&x.down, p+n.down, c.MoE.Intermediate, c.Hidden, false)
		b.linear(&x.up, p+n.up, c.Hidden, c.MoE.Intermediate, false)
	} else {
		b.linear(&x.up, p+n.up, c.Hidden, c.MoE.Intermediate, false)
		b.linear(&x.down, p+n.down, c.MoE.Intermediate, c.Hidden, false)
	}
	e.gate, e.up, e.down = append(e.gate, &x.gate), append(e.up, &x.up), append(e.down, &x.down)
}

// feed records the experts' outputs, weighted by the router, and the shared expert's.
// Tokens are grouped by expert: every expert computes one product.
func (e *mixture) feed(m *Model, h *autograd.Value) *autograd.Value {
	t := m.tape
	logits := t.Linear(h, &e.router)
	var r *autograd.Routing
	if e.choiceBias != nil {
		r = t.RouteScores(logits, autograd.ScoreOptions{TopK: e.topK, Normalize: e.normalize, Bias: e.choiceBias})
	} else {
		r = t.Route(logits, e.topK, e.normalize)
	}
	t.Drop(logits)
	x := t.Dispatch(h, r)
	gate, up := t.Experts(x, e.gate, r), t.Experts(x, e.up, r)
	t.Drop(x)
	s := t.SwiGLU(e.act, gate, up)
	t.Drop(gate, up)
	y := t.Experts(s, e.down, r)
	t.Drop(s)
	out := t.Combine(y, r)
	t.Drop(y)
	if e.shared == nil {
		return out
	}
	shared, g := e.shared.feed(m, h), t.Linear(h, &e.sharedGate)
	gatedShared := t.Gate(shared, g)
	t.Drop(shared, g)
	return t.Residual(out, gatedShared, 0)
}

// spread implements feedForward: tokens spread evenly over the experts.
func (e *mixture) spread(part map[*autograd.Linear]float64) {
	for _, list := range [][]*autograd.Linear{e.gate, e.up, e.down} {
		for _, l := range list {
			part[l] = float64(e.topK) / float64(len(e.all))
		}
	}
}
