package decoder

import (
	"cmp"
	"fmt"

	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/checkpoint"
)

// expertNames holds a family's names of the modules of a mixture of experts; block "" = the family
// has none.
type expertNames struct {
	block          string
	gate, up, down string // of an expert
	downSecond     bool   // down is registered before up
	router         string // "" = gate

	// The tensors of families that store all experts together: gate and up in one
	// [Experts, 2·Intermediate, Hidden], down in the other [Experts, Hidden, Intermediate]. If
	// gate, up and down have names as well, folders may have either form.
	allGateUp, allDown string
	stacking           stacking
	biased             bool // experts and the router have biases

	routerLast   bool   // registered after the experts
	routerTensor bool   // for PEFT the router is a parameter, not a linear module, so that it gets no adapter
	shared       string // "" = shared_expert
	sharedPlain  bool   // the shared expert's output is not gated
	weighsInputs bool   // a token's weight multiplies the expert's input, not its output
}

// stacking says how the gate and up matrices of an expert are stored in one tensor.
type stacking uint8

const (
	concatenatedRows    stacking = iota // [2·Intermediate, Hidden], as the model holds them: gate's rows, then up's
	concatenatedColumns                 // [Hidden, 2·Intermediate]: gate's columns, then up's
	interleavedColumns                  // [Hidden, 2·Intermediate]: columns of gate and up alternate
)

var (
	qwenExperts    = expertNames{block: "mlp", gate: "gate_proj", up: "up_proj", down: "down_proj"}
	qwen35Experts  = expertNames{block: "mlp", gate: "gate_proj", up: "up_proj", down: "down_proj", routerTensor: true, allGateUp: "experts.gate_up_proj", allDown: "experts.down_proj"}
	graniteExperts = expertNames{block: "block_sparse_moe", router: "router.layer", routerLast: true, allGateUp: "input_linear.weight", allDown: "output_linear.weight"}
	mixtralExperts = expertNames{block: "block_sparse_moe", gate: "w1", up: "w3", down: "w2", downSecond: true}
	glmExperts     = expertNames{
		block: "mlp", gate: "gate_proj", up: "up_proj", down: "down_proj", routerLast: true, routerTensor: true, shared: "shared_experts", sharedPlain: true,
	}
	ernieExperts = expertNames{
		block: "mlp", gate: "gate_proj", up: "up_proj", down: "down_proj", shared: "shared_experts", sharedPlain: true,
	}
	gptOssExperts = expertNames{
		block: "mlp", router: "router", routerTensor: true, allGateUp: "experts.gate_up_proj", allDown: "experts.down_proj", stacking: interleavedColumns, biased: true,
	}
	gemma4Experts = expertNames{allGateUp: "experts.gate_up_proj", allDown: "experts.down_proj"}
	llama4Experts = expertNames{
		block: "feed_forward", router: "router", routerLast: true, routerTensor: true, allGateUp: "experts.gate_up_proj", allDown: "experts.down_proj", stacking: concatenatedColumns,
		sharedPlain: true, weighsInputs: true,
	}
)

// mixture is a mixture of experts: a router chooses TopK experts for every token; all tokens go
// through the shared expert, if there is one.
type mixture struct {
	logits         autograd.Linear // [Experts, Hidden]
	chooser        chooser
	all            []expert
	gate, up, down []*autograd.Linear // the layers of all, by expert
	gating         gating
	weighsInputs   bool             // a token's weight multiplies the expert's input, not its output
	shared         *gatedMLP        // nil = none
	sharedGate     *autograd.Linear // [1, Hidden]; nil = the shared expert's output is not gated
	topK           int
}

// expert computes down(act(gate(x)) · up(x)).
type expert struct{ gate, up, down autograd.Linear }

// mixture builds the mixture of the layer whose names begin with path.
func (b *builder) mixture(path string) *mixture {
	n, c := b.f.experts, &b.c
	e := &mixture{gating: b.gating(), topK: c.MoE.TopK, weighsInputs: n.weighsInputs, all: make([]expert, c.MoE.Experts)}
	experts := func() {
		if n.allGateUp != "" {
			b.stackedExperts(e, path)
			return
		}
		for i := range e.all {
			b.expert(e, i, path)
		}
	}
	if n.routerLast {
		experts()
		b.routing(e, path)
	} else {
		b.routing(e, path)
		experts()
	}
	e.chooser = b.chooser(path)
	if c.MoE.Shared == 0 {
		return e
	}
	e.shared = b.gatedMLP(path+cmp.Or(n.shared, "shared_expert")+".", c.MoE.Shared)
	if !n.sharedPlain {
		e.sharedGate = &autograd.Linear{}
		b.linear(e.sharedGate, path+"shared_expert_gate", c.Hidden, 1, false)
	}
	return e
}

// routing builds the router's linear layer. It stays float32, or quantised as upstream has it,
// because small differences of logits change which experts are chosen.
func (b *builder) routing(e *mixture, path string) {
	n, hidden, experts := b.f.experts, b.c.Hidden, b.c.MoE.Experts
	path += cmp.Or(n.router, "gate")
	if !n.routerTensor {
		b.linearOf(&e.logits, path, hidden, experts, false, false)
		return
	}
	e.logits = autograd.Linear{In: hidden, Out: experts, Weight: b.tensor(false, path+".weight", experts, hidden)}
	if e.logits.Weight != nil {
		b.parts = append(b.parts, part{path: path, param: e.logits.Weight})
	}
	if n.biased {
		e.logits.Bias = b.bias(path, experts)
	}
}

// gating returns the activation of the family's experts.
func (b *builder) gating() gating {
	if b.c.MoE.Limit > 0 {
		return clamped{Alpha: b.c.MoE.Alpha, Limit: b.c.MoE.Limit}
	}
	return activated(b.f.act())
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

// feed implements feedForward: the experts' outputs, weighted by the router, plus the shared
// expert's. h and the result are [T, Hidden].
func (e *mixture) feed(m *Model, h *autograd.Value) *autograd.Value {
	t := m.tape
	logits := t.Linear(h, &e.logits)
	r := e.chooser.route(t, logits)
	t.Drop(logits)
	return e.withShared(m, h, e.computed(m, h, r))
}

// computed records the weighted sum of the outputs of the experts that r chose. Tokens are sorted
// by expert, so that every expert computes one product.
func (e *mixture) computed(m *Model, h *autograd.Value, r *autograd.Routing) *autograd.Value {
	t := m.tape
	var x, out *autograd.Value
	if e.weighsInputs {
		x = t.Send(h, r)
	} else {
		x = t.Dispatch(h, r)
	}
	gate, up := t.Experts(x, e.gate, r), t.Experts(x, e.up, r)
	t.Drop(x)
	s := e.gating.gate(t, gate, up, e.down[0])
	t.Drop(gate, up)
	y := t.Experts(s, e.down, r)
	t.Drop(s)
	if e.weighsInputs {
		out = t.Gather(y, r)
	} else {
		out = t.Combine(y, r)
	}
	t.Drop(y)
	return out
}

// withShared adds the shared expert's output to out, if there is one.
func (e *mixture) withShared(m *Model, h, out *autograd.Value) *autograd.Value {
	if e.shared == nil {
		return out
	}
	t := m.tape
	shared := e.shared.feed(m, h)
	if e.sharedGate == nil {
		return t.Residual(out, shared, 0)
	}
	g := t.Linear(h, e.sharedGate)
	gated := t.Gate(shared, g)
	t.Drop(shared, g)
	return t.Residual(out, gated, 0)
}

// spread implements feedForward. It assumes that all experts get equally many tokens.
func (e *mixture) spread(part map[*autograd.Linear]float64) {
	for _, list := range [][]*autograd.Linear{e.gate, e.up, e.down} {
		for _, l := range list {
			part[l] = float64(e.topK) / float64(len(e.all))
		}
	}
}

// MoE is the shape of the mixtures of experts.
type MoE struct {
	Experts, TopK int
	Intermediate  int     // of an expert
	Shared        int     // width of the shared expert; 0 = there is none
	Normalize     bool    // a token's weights sum to 1
	AuxCoef       float64 // router_aux_loss_coef: factor of Balance in the loss, if requested

	Groups, TopGroups int     `json:",omitempty"` // a token's experts are from that many groups; Groups 0 or 1 = from any
	Scale             float32 `json:",omitempty"` // factor of a token's weights; 0 = 1
	Floor             float32 `json:",omitempty"` // lower bound of the sum by which they are divided
	Alpha, Limit      float32 `json:",omitempty"` // for gpt_oss' activation; Limit 0 = the family's
}

// mixtures sets the shape of the mixtures, and which layers have one.
func (c *Config) mixtures(from *checkpoint.ModelConfig) {
	m := from.MoE
	if m == nil {
		return
	}
	c.MoE = MoE{
		Experts: m.Experts, TopK: m.PerToken, Intermediate: m.Intermediate, Shared: m.SharedIntermediate,
		Normalize: m.Normalize, AuxCoef: m.AuxCoef, Groups: m.Groups, TopGroups: m.TopGroups,
		Scale: float32(m.Scaling), Floor: float32(m.Floor), Alpha: float32(m.Alpha), Limit: float32(m.Limit),
	}
	for i := range c.Layers {
		c.Sparse = append(c.Sparse, from.Sparse(i))
	}
}
