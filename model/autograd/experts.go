package autograd

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/router"
	"dataflex.dev/dataflex/model/tensor"
)

// Routing is the assignment of a layer's tokens to experts in this pass. It is on the device:
// what the host reads of it, it waits for.
type Routing struct {
	params  router.Params
	plan    router.Plan
	choice  driver.I32 // [T, TopK]
	probs   *buffer    // [T, Experts], kept until the pass ends, as numbers is
	numbers *buffer    // the memory of choice, likely and plan
	weight  *Value     // [T, TopK]

	scores *router.Scores // what chose the experts, if not the probabilities alone; nil otherwise
	likely driver.I32     // with scores: the most probable experts, which Balance counts
	apart  bool           // Balance leaves this layer out

	dev     driver.Device
	offsets []int32 // plan.Offsets, once the host has read them
}

// Route chooses the TopK most probable experts for every token of logits [T, Experts] and
// records their weights [T, TopK]. With normalize a token's weights are divided by their sum.
func (t *Tape) Route(logits *Value, topK int, normalize bool) *Routing {
	r := t.routing(logits, router.Params{TopK: topK, Normalize: normalize}, nil)
	if r == nil {
		return nil
	}
	router.Forward(t.dev, r.params, logits.Data(), r.probs.mem, r.choice, r.weight.Data())
	return t.routed(logits, r)
}

// ScoreOptions are the variants of RouteScores: see router.Scores.
type ScoreOptions struct {
	TopK              int
	Normalize         bool          // a token's weights are divided by their sum
	Softmax           bool          // scores are probabilities, not sigmoids
	Bias              *tensor.Param // [Experts], has a part in the choice alone; nil = 0
	Groups, TopGroups int
	Scale, Floor      float32
	NoBalance         bool // the load-balancing loss leaves the layer out
}

// RouteScores is Route with the scores of router.Scores in place of probabilities.
func (t *Tape) RouteScores(logits *Value, o ScoreOptions) *Routing {
	s := &router.Scores{Softmax: o.Softmax, Groups: o.Groups, TopGroups: o.TopGroups, Scale: o.Scale, Floor: o.Floor}
	if o.Bias != nil {
		s.Bias = o.Bias.Data
	}
	r := t.routing(logits, router.Params{TopK: o.TopK, Normalize: o.Normalize}, s)
	if r == nil {
		return nil
	}
	s.Params, r.apart = r.params, o.NoBalance
	s.Forward(t.dev, logits.Data(), r.probs.mem, r.choice, r.likely, r.weight.Data())
	return t.routed(logits, r)
}

// routing allocates what a routing of logits' tokens keeps; nil after an error.
func (t *Tape) routing(logits *Value, p router.Params, scores *router.Scores) *Routing {
	if t.err != nil {
		return nil
	}
	p.Tokens, p.Experts = logits.Rows, logits.Cols
	r := &Routing{params: p, scores: scores, dev: t.dev}
	choices, lists := p.Tokens*p.TopK, 1
	if scores != nil {
		lists = 2
	}
	r.probs, r.numbers = t.buffer(logits.Rows*logits.Cols), t.buffer(lists*choices+p.PlanSize())
	r.weight = t.value(logits.Rows, p.TopK, logits.needsGrad)
	if t.err != nil {
		return nil
	}
	r.choice = r.numbers.ints().Sub(0, choices)
	if scores != nil {
		r.likely = r.numbers.ints().Sub(choices, 2*choices)
	}
	return r
}

// ints returns b's memory as int32.
func (b *buffer) ints() driver.I32 { return driver.View[int32](b.mem.Memory()) }

// routed orders the tokens by the experts that r has chosen, and records the weights.
func (t *Tape) routed(logits *Value, r *Routing) *Routing {
	numbers := r.numbers.ints()
	r.plan = router.Group(t.dev, r.params, r.choice, numbers.Sub(numbers.Len()-r.params.PlanSize(), numbers.Len()))
	t.routings = append(t.routings, r)
	if n := t.record(opRoute, r.weight, logits); n != nil {
		n.routing = r
		if r.scores == nil {
			n.save(r.weight.data)
		} else {
			n.save(r.weight.data, logits.data)
		}
	}
	return r
}

// release frees the memory of a routing that nothing reads any more.
func (r *Routing) release(t *Tape) {
	t.release(r.probs)
	t.release(r.numbers)
}

func routeVJP(t *Tape, n *node) error {
	logits, r := n.in[0], n.routing
	d := t.buffer(logits.Rows * logits.Cols)
	if d == nil {
		return t.err
	}
	if r.scores != nil {
		r.scores.Backward(t.dev, n.saved[1].mem, r.probs.mem, r.choice, n.saved[0].mem, n.out.grad.mem, t.balance, d.mem)
		t.addGrad(logits, d)
		return t.err
	}
	router.Backward(t.dev, r.params, r.probs.mem, r.choice, n.saved[0].mem, n.out.grad.mem, t.balance, d.mem)
	t.addGrad(logits, d)
	return t.err
}

// Probabilities returns the router's probabilities [T, Experts]. They are valid until the next
// pass.
func (r *Routing) Probabilities() driver.F32 { return r.probs.mem }

// rows returns where each expert's rows begin, and the end of the last one's, on the host. On a
// device that only plans memory, which reads as zeros, all rows are the first expert's.
func (r *Routing) rows() ([]int32, error) {
	if r.offsets != nil {
		return r.offsets, nil
	}
	offsets, err := driver.Read(r.dev, r.plan.Offsets)
	if err != nil {
		return nil, fmt.Errorf("the experts' rows: %w", err)
	}
	if all := int32(r.plan.Token.Len()); offsets[len(offsets)-1] != all {
		for e := range offsets[1:] {
			offsets[1+e] = all
		}
	}
	r.offsets = offsets
	return offsets, nil
}

// Loads returns the number of tokens that each expert got.
func (r *Routing) Loads() ([]int, error) {
	offsets, err := r.rows()
	if err != nil {
		return nil, err
	}
	loads := make([]int, r.params.Experts)
	for e := range loads {
		loads[e] = int(offsets[e+1] - offsets[e])
	}
	return loads, nil
}

// counted is Loads as the balance loss counts: by the most probable experts, as transformers
// does.
func (r *Routing) counted() ([]int, error) {
	if r.scores == nil {
		return r.Loads()
	}
	likely, err := driver.Read(r.dev, r.likely)
	if err != nil {
		return nil, fmt.Errorf("the most probable experts: %w", err)
	}
	loads := make([]int, r.params.Experts)
	for _, e := range likely {
		loads[e]++
	}
	return loads, nil
}

// segments returns where the batch's samples begin among expert e's rows.
func (r *Routing) segments(e int, batch []int32) ([]int32, error) {
	offsets, err := r.rows()
	if err != nil {
		return nil, err
	}
	tokens, err := driver.Read(r.dev, r.plan.Token.Sub(int(offsets[e]), int(offsets[e+1])))
	if err != nil {
		return nil, fmt.Errorf("the experts' tokens: %w", err)
	}
	out, at := make([]int32, len(batch)), 0
	for i, begin := range batch {
		for at < len(tokens) && tokens[at] < begin {
			at++
		}
		out[i] = int32(at)
	}
	return out, nil
}

// Routings returns those of the current pass, in order.
func (t *Tape) Routings() []*Routing { return t.routings }

// Balance computes the load-balancing loss of the pass over all its routed layers, Experts·Σ_e
// F_e·P_e (Fedus et al. 2021, arXiv:2101.03961, section 2.2; transformers' aux_loss). F_e is
// the number of tokens routed to e and P_e the sum of e's probabilities, each divided by the
// number of tokens times layers. The loss is 0 if no layer counts. gradient [Experts] is its
// gradient with respect to the probabilities, the same for every token.
func (t *Tape) Balance() (loss float64, gradient []float32, err error) {
	if len(t.routings) == 0 || t.routings[0].apart {
		return 0, nil, nil
	}
	experts, tokens := t.routings[0].params.Experts, 0
	share, mean := make([]float64, experts), make([]float64, experts)
	for _, r := range t.routings {
		tokens += r.params.Tokens
		probs, err := driver.Read(t.dev, r.probs.mem)
		if err != nil {
			return 0, nil, fmt.Errorf("the router's probabilities: %w", err)
		}
		for i, p := range probs {
			mean[i%experts] += float64(p)
		}
		counted, err := r.counted()
		if err != nil {
			return 0, nil, err
		}
		for e, n := range counted {
			share[e] += float64(n)
		}
	}
	gradient = make([]float32, experts)
	for e := range share {
		f := share[e] / float64(tokens)
		loss += float64(experts) * f * mean[e] / float64(tokens)
		gradient[e] = float32(float64(experts) * f / float64(tokens))
	}
	return loss, gradient, nil
}

// Dispatch records the rows of x for the experts, ordered by expert: [T·TopK, d].
func (t *Tape) Dispatch(x *Value, r *Routing) *Value {
	if t.err != nil {
		return nil
	}
	out := t.value(r.plan.Slot.Len(), x.Cols, x.needsGrad)
	if out == nil {
		return nil
	}
	router.Dispatch(t.dev, r.plan, x.Data(), out.Data(), x.Cols)
	if n := t.record(opDispatch, out, x); n != nil {
		n.routing = r
		if !t.cheap(x) {
			n.save(x.data)
		}
	}
	return out
}

func dispatchVJP(t *Tape, n *node) error {
	x := n.in[0]
	d := t.buffer(x.Rows * x.Cols)
	if d == nil {
		return t.err
	}
	router.DispatchBackward(t.dev, n.routing.plan, n.out.grad.mem, d.mem, x.Cols)
	t.addGrad(x, d)
	return t.err
}

func dispatchRecompute(t *Tape, n *node) {
	if in := t.input(n); in != nil {
		router.Dispatch(t.dev, n.routing.plan, in.mem, n.out.data.mem, n.out.Cols)
	}
}

// Combine records the sum of y's rows [T·TopK, d] per token, weighted by r: [T, d].
func (t *Tape) Combine(y *Value, r *Routing) *Value {
	if t.err != nil {
		return nil
	}
	out := t.value(r.params.Tokens, y.Cols, y.needsGrad || r.weight.needsGrad)
	if out == nil {
		return nil
	}
	router.Combine(t.dev, r.plan, y.Data(), r.weight.Data(), out.Data(), y.Cols)
	if n := t.record(opCombine, out, y, r.weight); n != nil {
		n.routing = r
		n.save(y.data, r.weight.data)
	}
	t.Drop(r.weight)
	return out
}

func combineVJP(t *Tape, n *node) error {
	y, w := n.in[0], n.in[1]
	dy, dw := t.reuseSaved(n.saved[0]), t.buffer(w.Rows*w.Cols)
	if t.err != nil {
		return t.err
	}
	router.CombineBackward(t.dev, n.routing.plan, n.out.grad.mem, n.saved[0].mem, n.saved[1].mem, dy.mem, dw.mem, y.Cols)
	t.addGrad(y, dy)
	t.addGrad(w, dw)
	return t.err
}

// Gate records x·σ(gate): gate [T, 1] scales the rows of x.
func (t *Tape) Gate(x, gate *Value) *Value {
	if t.err != nil {
		return nil
	}
	out := t.value(x.Rows, x.Cols, x.needsGrad || gate.needsGrad)
	if out == nil {
		return nil
	}
	router.Gate(t.dev, x.Data(), gate.Data(), out.Data(), x.Cols)
	if n := t.record(opGate, out, x, gate); n != nil {
		n.save(x.data, gate.data)
	}
	return out
}

func gateVJP(t *Tape, n *node) error {
	x, gate := n.in[0], n.in[1]
	dx, dg := t.reuseSaved(n.saved[0]), t.buffer(gate.Rows)
	if t.err != nil {
		return t.err
	}
	router.GateBackward(t.dev, n.out.grad.mem, n.saved[0].mem, n.saved[1].mem, dx.mem, dg.mem, x.Cols)
	t.addGrad(x, dx)
	t.addGrad(gate, dg)
	return t.err
}
