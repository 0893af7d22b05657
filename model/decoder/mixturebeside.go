package decoder

import (
	"math"

	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/tensor"
)

// mixtureBeside is an MLP and a mixture of experts that both read the residual, each through
// norms of its own, and are added; so does the router (gemma4: transformers 5,
// modeling_gemma4.py).
type mixtureBeside struct {
	mlp                       feedForward
	experts                   *mixture
	beforeMLP, afterMLP       norm
	beforeExperts, afterwards norm
	beforeRouter              norm          // without weights, then multiplied by the router's scale
	perExpert                 *tensor.Param // [Experts], of the weights of each expert's outputs
}

// mixtureBeside builds the mixture of a layer, behind its norms, around its MLP.
func (b *builder) mixtureBeside(path string, mlp feedForward, before norm) *mixtureBeside {
	c := &b.c
	f := &mixtureBeside{mlp: mlp, beforeMLP: before, experts: &mixture{
		gating: b.gating(), chooser: probabilities{c.MoE.TopK, true}, topK: c.MoE.TopK, all: make([]expert, c.MoE.Experts),
	}}
	ones := func(float64) float64 { return 1 }
	f.beforeRouter = norm{weight: b.vector(path+"router.scale", c.Hidden, ones), width: c.Hidden, groups: 1, eps: c.Eps}
	f.perExpert = b.vector(path+"router.per_expert_scale", c.MoE.Experts, ones)
	b.linearOf(&f.experts.logits, path+"router.proj", c.Hidden, c.MoE.Experts, false, false)
	b.stackedExperts(f.experts, path)
	f.afterMLP = b.norm(path+"post_feedforward_layernorm_1", c.Hidden)
	f.afterwards = b.norm(path+"post_feedforward_layernorm_2", c.Hidden)
	f.beforeExperts = b.norm(path+"pre_feedforward_layernorm_2", c.Hidden)
	return f
}

// feed implements feedForward: x is the residual.
func (f *mixtureBeside) feed(m *Model, x *autograd.Value) *autograd.Value {
	t := m.tape
	h := m.normOf(x, f.beforeMLP)
	dense := m.normed(f.mlp.feed(m, h), f.afterMLP)
	t.Drop(h)

	h = m.normOf(x, f.beforeRouter)
	logits := t.Scaled(t.Linear(h, &f.experts.logits), float32(1/math.Sqrt(float64(m.config.Hidden))))
	t.Drop(h)
	r := f.experts.chooser.route(t, logits)
	t.Drop(logits)
	t.WeighExperts(r, f.perExpert)

	h = m.normOf(x, f.beforeExperts)
	sparse := m.normed(f.experts.computed(m, h, r), f.afterwards)
	t.Drop(h)
	return t.Residual(dense, sparse, 0)
}

func (f *mixtureBeside) spread(part map[*autograd.Linear]float64) {
	f.mlp.spread(part)
	f.experts.spread(part)
}
