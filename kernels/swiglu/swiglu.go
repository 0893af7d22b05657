// Package swiglu is the gate of a gated MLP, elementwise over float32 tensors of any
// one shape:
//
//	out = act(gate)·up
//	SiLU      act(z) = z·σ(z),  σ(z) = 1/(1+exp(−z))
//	GELUTanh  act(z) = z·½(1+tanh(√(2/π)·(z+0.044715z³)))
//	Sigmoid   act(z) = σ(z)
//	Linear    act(z) = z
//
// The first two are z·σ(a(z)): a(z) = z, and a(z) = 2√(2/π)·(z+0.044715z³) since
// ½(1+tanh u) = σ(2u). Results depend on the element alone (and, within rounding,
// on nothing else): the bits are the same for every number of threads.
//
// Source: Shazeer 2020, arXiv:2002.05202; Hendrycks and Gimpel 2016, arXiv:1606.08415
// (transformers' gelu_pytorch_tanh).
package swiglu

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Activation is the function that is applied to the gate.
type Activation uint8

const (
	SiLU     Activation = iota // llama and most others
	GELUTanh                   // gemma
	Sigmoid                    // an attention's output through a gate: qwen3_next
	Linear                     // a product: lfm2
)

// Forward overwrites out, which may be gate or up.
func Forward(dev driver.Device, act Activation, gate, up, out driver.F32) {
	act.check()
	if up.Len() != gate.Len() || out.Len() != gate.Len() {
		panic("swiglu: gate, up and out differ in length")
	}
	dispatch.Run(dev, "swiglu.Forward", func(c *cpu.Device) {
		forwardCPU(c, act, gate.Host(), up.Host(), out.Host())
	}, func(c driver.Launcher) {
		forwardPTX(c, act, gate, up, out)
	})
}

// Backward overwrites dgate, which may be gate or dout, and dup, which may be up
// or dout, but not both the same; σ and a as above:
//
//	dgate = dout·up·σ(a)·(1 + gate·a'(gate)·(1 − σ(a)))
//	dup   = dout·act(gate)
//
// of the first two; dgate = dout·up·act'(gate) of any.
func Backward(dev driver.Device, act Activation, dout, gate, up, dgate, dup driver.F32) {
	act.check()
	n := gate.Len()
	if dout.Len() != n || up.Len() != n || dgate.Len() != n || dup.Len() != n {
		panic("swiglu: dout, gate, up, dgate and dup differ in length")
	}
	dispatch.Run(dev, "swiglu.Backward", func(c *cpu.Device) {
		backwardCPU(c, act, dout.Host(), gate.Host(), up.Host(), dgate.Host(), dup.Host())
	}, func(c driver.Launcher) {
		backwardPTX(c, act, dout, gate, up, dgate, dup)
	})
}

func (a Activation) check() {
	if a > Linear {
		panic("swiglu: unknown activation")
	}
}
