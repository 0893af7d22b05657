package attention

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/dispatch"
	"dataflex.dev/dataflex/kernels/ptx"
)

// ForwardHalf is ForwardBF16 with o rounded to bf16 (nearest even) as well.
func ForwardHalf(dev driver.Device, p Params, x Inputs[driver.BF16], o bf16, lse driver.F32) {
	t := p.check()
	checkLengths(p, t, x, o.Len(), lse)
	p.checkBF16(x.Q.Addr() | x.K.Addr() | x.V.Addr() | o.Addr())
	dispatch.Run(dev, "attention.ForwardHalf", func(c *cpu.Device) {
		wide := driver.FromHost(make([]float32, o.Len()))
		ForwardBF16(c, p, x, wide, lse)
		cast.Narrow(c, wide, o)
	}, func(c driver.Launcher) {
		if p.SoftCap > 0 && p.HeadDim > 64 { // whose kernel writes float32
			wide := driver.View[float32](driver.DeviceMemory(ptx.On(c).Scratch(0, 4*o.Len()), 4*o.Len()))
			forwardBF16PTX(c, p, x, result{o: wide.Addr()}, lse, t)
			cast.Narrow(c, wide, o)
			return
		}
		forwardBF16PTX(c, p, x, result{o.Addr(), true}, lse, t)
	})
}

// BackwardHalf is BackwardBF16 with o, and the gradients, in bf16 as well.
func BackwardHalf(dev driver.Device, p Params, x Inputs[driver.BF16], o bf16, lse driver.F32, do bf16, d Inputs[driver.BF16]) {
	t := p.check()
	checkLengths(p, t, x, o.Len(), lse)
	checkGradients(x, o.Len(), do, d)
	p.checkBF16(x.Q.Addr() | x.K.Addr() | x.V.Addr() | o.Addr() | do.Addr() | d.Q.Addr() | d.K.Addr() | d.V.Addr())
	dispatch.Run(dev, "attention.BackwardHalf", func(c *cpu.Device) {
		zeros := func(n int) driver.F32 { return driver.FromHost(make([]float32, n)) }
		wide := Gradients{Q: zeros(d.Q.Len()), K: zeros(d.K.Len()), V: zeros(d.V.Len())}
		BackwardBF16(c, p, x, driver.FromHost(cast.Widened(c, o.Host(), nil)), lse, do, wide)
		cast.Narrow(c, wide.Q, d.Q)
		cast.Narrow(c, wide.K, d.K)
		cast.Narrow(c, wide.V, d.V)
	}, func(c driver.Launcher) {
		backwardBF16PTX(c, p, x, result{o.Addr(), true}, lse, do, [3]uintptr{d.Q.Addr(), d.K.Addr(), d.V.Addr()}, t)
	})
}

// result is o on a device, and whether it and the gradients are bf16.
type result struct {
	o    uintptr
	half bool
}
