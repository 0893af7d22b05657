package swiglu

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/dispatch"
	"dataflex.dev/dataflex/kernels/ptx"
)

// ForwardNarrowed is Forward with out rounded to bf16 (nearest even): what a product in bf16
// reads. On the host no float32 of it reaches memory.
func ForwardNarrowed(dev driver.Device, act Activation, gate, up driver.F32, out bf16) {
	act.check()
	n := gate.Len()
	if up.Len() != n || out.Len() != n {
		panic("swiglu: gate, up and out differ in length")
	}
	dispatch.Run(dev, "swiglu.ForwardNarrowed", func(c *cpu.Device) {
		g, u, y := gate.Host(), up.Host(), out.Host()
		c.Parallel(blocks(n), func(b int) {
			w := workspaces.Take()
			for lo, hi := range piecesOf(b, n) {
				part := w.out[:hi-lo]
				forwardPiece(act, g[lo:hi], u[lo:hi], part, &w.sigmoid)
				cast.NarrowHost(part, y[lo:hi])
			}
			workspaces.Give(w)
		})
	}, func(c driver.Launcher) {
		wide := floatsOf(c, 0, n)
		forwardPTX(c, act, gate, up, wide)
		cast.Narrow(c, wide, out)
	})
}

// BackwardNarrowed is Backward with dgate and dup rounded to bf16.
func BackwardNarrowed(dev driver.Device, act Activation, dout, gate, up driver.F32, dgate, dup bf16) {
	act.check()
	n := gate.Len()
	if dout.Len() != n || up.Len() != n || dgate.Len() != n || dup.Len() != n {
		panic("swiglu: dout, gate, up, dgate and dup differ in length")
	}
	dispatch.Run(dev, "swiglu.BackwardNarrowed", func(c *cpu.Device) {
		d, g, u, dg, du := dout.Host(), gate.Host(), up.Host(), dgate.Host(), dup.Host()
		c.Parallel(blocks(n), func(b int) {
			w := workspaces.Take()
			for lo, hi := range piecesOf(b, n) {
				one, other := w.out[:hi-lo], w.other[:hi-lo]
				backwardPiece(act, d[lo:hi], g[lo:hi], u[lo:hi], one, other, w)
				cast.NarrowHost(one, dg[lo:hi])
				cast.NarrowHost(other, du[lo:hi])
			}
			workspaces.Give(w)
		})
	}, func(c driver.Launcher) {
		one, other := floatsOf(c, 0, n), floatsOf(c, 1, n)
		backwardPTX(c, act, dout, gate, up, one, other)
		cast.Narrow(c, one, dgate)
		cast.Narrow(c, other, dup)
	})
}

// floatsOf is n floats of a device's scratch memory.
func floatsOf(c driver.Launcher, slot, n int) driver.F32 {
	return driver.View[float32](driver.DeviceMemory(ptx.On(c).Scratch(slot, 4*n), 4*n))
}
