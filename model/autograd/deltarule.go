package autograd

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/deltanet"
	"dataflex.dev/dataflex/model/tensor"
)

// DeltaInputs are the inputs of the gated delta rule (Yang et al. 2024, arXiv:2412.06464);
// package deltanet has their shapes.
type DeltaInputs struct {
	Q, K, V, A, B *Value
	ALog, DtBias  *tensor.Param
}

func (in DeltaInputs) values() [5]*Value { return [5]*Value{in.Q, in.K, in.V, in.A, in.B} }

func (in DeltaInputs) data() deltanet.Inputs {
	return deltanet.Inputs{Q: in.Q.Data(), K: in.K.Data(), V: in.V.Data(), A: in.A.Data(), B: in.B.Data(), ALog: in.ALog.Data, DtBias: in.DtBias.Data}
}

// DeltaRule records the gated delta rule within each segment of p.
func (t *Tape) DeltaRule(p deltanet.Params, in DeltaInputs) *Value {
	if t.err != nil {
		return nil
	}
	needsGrad := in.ALog.Trainable() || in.DtBias.Trainable()
	for _, v := range in.values() {
		needsGrad = needsGrad || v.needsGrad
	}
	out := t.value(in.V.Rows, in.V.Cols, needsGrad)
	if out == nil {
		return nil
	}
	p.Forward(t.dev, in.data(), out.Data())
	if n := t.record(opDeltaRule, out, in.Q, in.K, in.V, in.A, in.B); n != nil {
		n.delta, n.weight, n.bias = p, in.ALog, in.DtBias
		n.save(in.Q.data, in.K.data, in.V.data, in.A.data, in.B.data)
	}
	return out
}

func deltaRuleVJP(t *Tape, n *node) error {
	var d [5]*buffer
	for i, v := range n.in {
		if d[i] = t.buffer(v.Rows * v.Cols); d[i] == nil {
			return t.err
		}
	}
	s := &n.saved
	n.delta.Backward(t.dev, deltanet.Inputs{Q: s[0].mem, K: s[1].mem, V: s[2].mem, A: s[3].mem, B: s[4].mem, ALog: n.weight.Data, DtBias: n.bias.Data}, n.out.grad.mem,
		deltanet.Gradients{Q: d[0].mem, K: d[1].mem, V: d[2].mem, A: d[3].mem, B: d[4].mem, ALog: n.weight.Grad, DtBias: n.bias.Grad})
	for i, v := range n.in {
		t.addGrad(v, d[i])
	}
	return t.err
}

// DeltaPrefill is DeltaRule for passes that record nothing. It also writes each sequence's
// final state to its slot of states, from which DeltaStep continues.
func (t *Tape) DeltaPrefill(p deltanet.Params, in DeltaInputs, slots []int32, states driver.F32) *Value {
	return t.stateful(in, func(x deltanet.Inputs, out driver.F32) { p.Prefill(t.dev, x, out, slots, states) })
}

// DeltaStep processes one new row per sequence, starting from its slot of states, which it
// updates. It is for passes that record nothing; see package deltanet.
func (t *Tape) DeltaStep(p deltanet.Params, in DeltaInputs, slots []int32, states driver.F32) *Value {
	return t.stateful(in, func(x deltanet.Inputs, out driver.F32) { p.Step(t.dev, x, out, slots, states) })
}

func (t *Tape) stateful(in DeltaInputs, run func(x deltanet.Inputs, out driver.F32)) *Value {
	if t.err != nil {
		return nil
	}
	out := t.value(in.V.Rows, in.V.Cols, false)
	if out != nil {
		run(in.data(), out.Data())
	}
	return out
}
