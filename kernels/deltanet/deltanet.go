// Package deltanet is the gated delta rule: linear attention whose state is a matrix per
// head, inside each segment of a packed batch. With k̂ and q̂ the normalised key and query
// of token t, and S [KeyDim, ValueDim] the state, 0 before a segment:
//
//	k̂ = k/√(Σk² + 1e-6),  q̂ = q/√(Σq² + 1e-6)/√KeyDim
//	g = −exp(ALog)·softplus(a + DtBias),  β = σ(b)
//	S ← exp(g)·S
//	S ← S + k̂·uᵀ,  u = β·(v − Sᵀk̂)
//	o = Sᵀq̂
//
// A query and key head is used by ValueHeads/KeyHeads consecutive value heads. The rule is
// computed for chunks of tokens at a time: with b the sum of a chunk's g up to a token, the
// u of a chunk solve a triangular system in k̂ᵢ·k̂ⱼ·exp(bᵢ−bⱼ).
//
// All tensors are float32 and row-major: q, k [T, KeyHeads·KeyDim], v, out [T,
// ValueHeads·ValueDim], a, b [T, ValueHeads], ALog and DtBias [ValueHeads]. A row's result
// only depends on its segment, and sums over rows are in order, so the bits do not depend on
// the number of threads.
//
// Source: Yang, Kautz and Hatamizadeh 2024, arXiv:2412.06464 (the gated rule), and Yang et
// al. 2024, arXiv:2406.06484 (the chunked form); transformers 5.24
// models/qwen3_next/modeling_qwen3_next.py.
package deltanet

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Params has the segments of a batch, and the shape of the heads.
type Params struct {
	Segments             []int32 // cu_seqlens: sequence i is [Segments[i], Segments[i+1])
	KeyHeads, ValueHeads int     // KeyHeads divides ValueHeads
	KeyDim, ValueDim     int
}

// Inputs are the tensors that the rule reads.
type Inputs struct{ Q, K, V, A, B, ALog, DtBias driver.F32 }

// Gradients are those of Inputs. All except ALog and DtBias are overwritten; these two are
// added to unless they are nil.
type Gradients struct{ Q, K, V, A, B, ALog, DtBias driver.F32 }

// Forward overwrites out.
func (p Params) Forward(dev driver.Device, in Inputs, out driver.F32) {
	p.check(in, p.tokens(), out)
	dispatch.Run(dev, "deltanet.Forward", func(d *cpu.Device) {
		p.forwardCPU(d, hosted(in), out.Host(), nil, nil)
	}, func(d driver.Launcher) {
		p.forwardPTX(d, in, out, nil, driver.F32{})
	})
}

// Prefill is Forward, and stores the state after each segment i in states [Slots,
// ValueHeads, KeyDim, ValueDim] at slots[i].
func (p Params) Prefill(dev driver.Device, in Inputs, out driver.F32, slots []int32, states driver.F32) {
	p.check(in, p.tokens(), out)
	if len(slots) != len(p.Segments)-1 {
		panic("deltanet: the slots are not one a segment")
	}
	p.checkStates(slots, states)
	dispatch.Run(dev, "deltanet.Prefill", func(d *cpu.Device) {
		p.forwardCPU(d, hosted(in), out.Host(), slots, states.Host())
	}, func(d driver.Launcher) {
		p.forwardPTX(d, in, out, slots, states)
	})
}

// Step is Forward of one new row per sequence, continuing from its state, which it replaces.
// Segments is not read. A row's result differs from Forward's by rounding.
func (p Params) Step(dev driver.Device, in Inputs, out driver.F32, slots []int32, states driver.F32) {
	p.check(in, len(slots), out)
	p.checkStates(slots, states)
	dispatch.Run(dev, "deltanet.Step", func(d *cpu.Device) {
		p.stepCPU(d, hosted(in), out.Host(), slots, states.Host())
	}, func(d driver.Launcher) {
		p.stepPTX(d, in, out, slots, states)
	})
}

// Backward computes the gradients of in from dout. No gradient may be an input.
func (p Params) Backward(dev driver.Device, in Inputs, dout driver.F32, grad Gradients) {
	p.check(in, p.tokens(), dout)
	for _, g := range [][2]driver.F32{{grad.Q, in.Q}, {grad.K, in.K}, {grad.V, in.V}, {grad.A, in.A}, {grad.B, in.B}} {
		if g[0].Len() != g[1].Len() {
			panic("deltanet: a gradient is not shaped like its input")
		}
	}
	for _, g := range []driver.F32{grad.ALog, grad.DtBias} {
		if !g.IsNil() && g.Len() != p.ValueHeads {
			panic("deltanet: the gradient of ALog or DtBias is not [ValueHeads]")
		}
	}
	dispatch.Run(dev, "deltanet.Backward", func(d *cpu.Device) {
		p.backwardCPU(d, hosted(in), dout.Host(), hosted(Inputs(grad)))
	}, func(d driver.Launcher) {
		p.backwardPTX(d, in, dout, grad)
	})
}

// tokens is T.
func (p Params) tokens() int {
	if len(p.Segments) < 2 {
		panic("deltanet: no segments")
	}
	return int(p.Segments[len(p.Segments)-1])
}

func (p Params) check(in Inputs, rows int, out driver.F32) {
	if p.KeyHeads < 1 || p.ValueHeads < 1 || p.ValueHeads%p.KeyHeads != 0 || p.KeyDim < 1 || p.ValueDim < 1 {
		panic("deltanet: KeyDim, ValueDim, KeyHeads or ValueHeads < 1, or ValueHeads not a multiple of KeyHeads")
	}
	keys, values := rows*p.KeyHeads*p.KeyDim, rows*p.ValueHeads*p.ValueDim
	if in.Q.Len() != keys || in.K.Len() != keys || in.V.Len() != values || out.Len() != values {
		panic("deltanet: q or k is not [T, KeyHeads*KeyDim], or v or out not [T, ValueHeads*ValueDim]")
	}
	if in.A.Len() != rows*p.ValueHeads || in.B.Len() != in.A.Len() || in.ALog.Len() != p.ValueHeads || in.DtBias.Len() != p.ValueHeads {
		panic("deltanet: a or b is not [T, ValueHeads], or ALog or DtBias not [ValueHeads]")
	}
}

// State is the number of floats of a sequence's state.
func (p Params) State() int { return p.ValueHeads * p.KeyDim * p.ValueDim }

func (p Params) checkStates(slots []int32, states driver.F32) {
	for _, s := range slots {
		if s < 0 || (int(s)+1)*p.State() > states.Len() {
			panic("deltanet: a sequence outside the states")
		}
	}
}
