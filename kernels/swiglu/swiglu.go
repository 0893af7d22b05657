// Package swiglu is the gate of a llama MLP, elementwise over float32 tensors of
// any one shape:
//
//	out = silu(gate)·up,  silu(z) = z·σ(z),  σ(z) = 1/(1+exp(−z))
//
// Results depend on the element alone (and, within rounding, on nothing else):
// the bits are the same for every number of threads.
//
// Source: Shazeer 2020, arXiv:2002.05202.
package swiglu

import (
	"dataflex/driver"
	"dataflex/driver/cpu"
)

// Forward overwrites out, which may be gate or up.
func Forward(dev driver.Device, gate, up, out driver.F32) {
	if up.Len() != gate.Len() || out.Len() != gate.Len() {
		panic("swiglu: gate, up and out differ in length")
	}
	switch c := dev.(type) {
	case *cpu.Device:
		forwardCPU(c, gate.Host(), up.Host(), out.Host())
	default:
		panic("swiglu.Forward: no kernel for " + dev.Kind().String())
	}
}

// Backward overwrites dgate, which may be gate or dout, and dup, which may be up
// or dout, but not both the same:
//
//	dgate = dout·up·σ(gate)·(1 + gate·(1 − σ(gate)))
//	dup   = dout·silu(gate)
func Backward(dev driver.Device, dout, gate, up, dgate, dup driver.F32) {
	n := gate.Len()
	if dout.Len() != n || up.Len() != n || dgate.Len() != n || dup.Len() != n {
		panic("swiglu: dout, gate, up, dgate and dup differ in length")
	}
	switch c := dev.(type) {
	case *cpu.Device:
		backwardCPU(c, dout.Host(), gate.Host(), up.Host(), dgate.Host(), dup.Host())
	default:
		panic("swiglu.Backward: no kernel for " + dev.Kind().String())
	}
}
