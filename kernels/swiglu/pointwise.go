package swiglu

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Pointwise is an elementwise function, over float32 tensors of any one
// shape: for MLPs without a gate and for what some families do to queries, keys and
// values.
//
//	SquaredReLU    f(z) = max(z, 0)²             f'(z) = 2·max(z, 0)
//	Clamp          f(z) = min(max(z, −b), b)     f'(z) = 1 where |z| ≤ b, else 0
//	ExactGELU      f(z) = z·Φ(z)                 f'(z) = Φ(z) + z·exp(−z²/2)/√(2π)
//	ApproximateGELU  the activation GELUTanh
//
// Φ is the normal distribution's, ½(1 + erf(z/√2)). Results depend on the element alone.
//
// Source: So et al. 2021, arXiv:2109.08668 (relu2); transformers' clip_qkv; Hendrycks and
// Gimpel 2016, arXiv:1606.08415 (transformers' gelu; gelu_new and gelu_pytorch_tanh).
type Pointwise struct {
	Function Function
	Bound    float32 // b of Clamp
}

// Function names what Pointwise computes.
type Function uint8

const (
	SquaredReLU Function = iota
	Clamp
	ExactGELU
	ApproximateGELU
	functions // how many there are
)

// Forward overwrites out, which may be x.
func (p Pointwise) Forward(dev driver.Device, x, out driver.F32) {
	p.check()
	if out.Len() != x.Len() {
		panic("swiglu: x and out differ in length")
	}
	dispatch.Run(dev, "swiglu.Pointwise", func(c *cpu.Device) {
		p.forwardCPU(c, x.Host(), out.Host())
	}, func(c driver.Launcher) {
		p.forwardPTX(c, x, out)
	})
}

// Backward overwrites dx, which may be x or dout: dx = dout·f'(x).
func (p Pointwise) Backward(dev driver.Device, dout, x, dx driver.F32) {
	p.check()
	if dout.Len() != x.Len() || dx.Len() != x.Len() {
		panic("swiglu: dout, x and dx differ in length")
	}
	dispatch.Run(dev, "swiglu.Pointwise", func(c *cpu.Device) {
		p.backwardCPU(c, dout.Host(), x.Host(), dx.Host())
	}, func(c driver.Launcher) {
		p.backwardPTX(c, dout, x, dx)
	})
}

func (p Pointwise) check() {
	if p.Function >= functions || p.Function == Clamp && !(p.Bound > 0) {
		panic("swiglu: unknown function, or a bound that is not above 0")
	}
}
