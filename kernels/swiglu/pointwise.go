package swiglu

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Pointwise is a function of every element by itself, for MLPs without a gate and for
// what some families do to queries, keys and values. It has a host twin alone: who
// builds a model refuses other devices.
//
//	SquaredReLU  f(z) = max(z, 0)²             f'(z) = 2·max(z, 0)
//	Clamp        f(z) = min(max(z, −b), b)     f'(z) = 1 where |z| ≤ b, else 0
//
// Source: So et al. 2021, arXiv:2109.08668 (relu2); transformers' clip_qkv.
type Pointwise struct {
	Function Function
	Bound    float32 // b of Clamp
}

// Function names what Pointwise computes.
type Function uint8

const (
	SquaredReLU Function = iota
	Clamp
)

// Forward overwrites out, which may be x.
func (p Pointwise) Forward(dev driver.Device, x, out driver.F32) {
	p.check()
	if out.Len() != x.Len() {
		panic("swiglu: x and out differ in length")
	}
	dispatch.Run(dev, "swiglu.Pointwise", func(c *cpu.Device) {
		p.forwardCPU(c, x.Host(), out.Host())
	}, func(driver.Launcher) { none(dev) })
}

// Backward overwrites dx, which may be x or dout: dx = dout·f'(x).
func (p Pointwise) Backward(dev driver.Device, dout, x, dx driver.F32) {
	p.check()
	if dout.Len() != x.Len() || dx.Len() != x.Len() {
		panic("swiglu: dout, x and dx differ in length")
	}
	dispatch.Run(dev, "swiglu.Pointwise", func(c *cpu.Device) {
		p.backwardCPU(c, dout.Host(), x.Host(), dx.Host())
	}, func(driver.Launcher) { none(dev) })
}

func none(dev driver.Device) {
	panic(fmt.Sprintf("swiglu.Pointwise: no kernel for a %v device", dev.Kind()))
}

func (p Pointwise) check() {
	if p.Function > Clamp || p.Function == Clamp && !(p.Bound > 0) {
		panic("swiglu: unknown function, or a bound that is not above 0")
	}
}

func (p Pointwise) forwardCPU(c *cpu.Device, x, out []float32) {
	n := len(x)
	c.Parallel((n+block-1)/block, func(b int) {
		for i := b * block; i < min(n, (b+1)*block); i++ {
			switch z := x[i]; p.Function {
			case SquaredReLU:
				z = max(z, 0)
				out[i] = z * z
			case Clamp:
				out[i] = min(max(z, -p.Bound), p.Bound)
			}
		}
	})
}

func (p Pointwise) backwardCPU(c *cpu.Device, dout, x, dx []float32) {
	n := len(x)
	c.Parallel((n+block-1)/block, func(b int) {
		for i := b * block; i < min(n, (b+1)*block); i++ {
			slope := float32(0)
			switch z := x[i]; p.Function {
			case SquaredReLU:
				slope = 2 * max(z, 0)
			case Clamp:
				if -p.Bound <= z && z <= p.Bound {
					slope = 1
				}
			}
			dx[i] = dout[i] * slope
		}
	})
}
