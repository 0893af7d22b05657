// Package lora is the low-rank branch of a linear layer.
//
//	u = x·Aᵀ,  y += scale·u·Bᵀ
//
// All tensors are float32 and row-major: x, dx [t, in]; y, dy [t, out];
// A, dA [r, in]; B, dB [out, r]; u, v [t, r]. u and v are overwritten, everything
// else written to is added to.
//
// Source: Hu et al. 2021, arXiv:2106.09685.
package lora

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
)

// Forward overwrites u = x·Aᵀ, which Backward needs, and adds scale·u·Bᵀ to y.
func Forward(dev driver.Device, x, a, b driver.F32, scale float32, u, y driver.F32, t, in, out, r int) {
	check(t, in, out, r)
	if x.Len() != t*in || a.Len() != r*in || b.Len() != out*r || u.Len() != t*r || y.Len() != t*out {
		panic("lora: a tensor's length is not its shape's")
	}
	switch c := dev.(type) {
	case *cpu.Device:
		forwardCPU(c, x, a, b, scale, u, y, t, in, out, r)
	case driver.Launcher:
		forwardPTX(c, x, a, b, scale, u, y, t, in, out, r)
	default:
		panic("lora.Forward: no kernel for " + dev.Kind().String())
	}
}

// Backward overwrites v and adds to those of dx, dA and dB that are not nil
// (dA and dB are both nil or neither):
//
//	v = scale·dy·B,  dx += v·A,  dA += vᵀ·x,  dB += scale·dyᵀ·u
func Backward(dev driver.Device, dy, x, a, b, u driver.F32, scale float32, v, dx, dA, dB driver.F32, t, in, out, r int) {
	check(t, in, out, r)
	if dy.Len() != t*out || a.Len() != r*in || b.Len() != out*r || v.Len() != t*r {
		panic("lora: a tensor's length is not its shape's")
	}
	if !dx.IsNil() && dx.Len() != t*in {
		panic("lora: dx is not [t, in]")
	}
	if dA.IsNil() != dB.IsNil() {
		panic("lora: one of dA and dB is nil")
	}
	if !dA.IsNil() && (x.Len() != t*in || u.Len() != t*r || dA.Len() != r*in || dB.Len() != out*r) {
		panic("lora: x, u, dA or dB is not of its shape")
	}
	switch c := dev.(type) {
	case *cpu.Device:
		backwardCPU(c, dy, x, a, b, u, scale, v, dx, dA, dB, t, in, out, r)
	case driver.Launcher:
		backwardPTX(c, dy, x, a, b, u, scale, v, dx, dA, dB, t, in, out, r)
	default:
		panic("lora.Backward: no kernel for " + dev.Kind().String())
	}
}

func check(t, in, out, r int) {
	if t < 0 || in < 1 || out < 1 || r < 1 {
		panic("lora: t < 0, or in, out or r < 1")
	}
}
