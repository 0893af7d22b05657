package swiglu

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/dispatch"
	"dataflex.dev/dataflex/kernels/ptx"
)

type bf16 = driver.Slice[driver.BF16]

// HalfActivation reports whether ForwardBF16 and BackwardBF16 compute a: SiLU and GELUTanh.
func HalfActivation(a Activation) bool { return a == SiLU || a == GELUTanh }

// ForwardBF16 is Forward of values in bf16, which are widened; out is rounded to nearest even.
func ForwardBF16(dev driver.Device, act Activation, gate, up, out bf16) {
	act.checkHalf()
	if up.Len() != gate.Len() || out.Len() != gate.Len() {
		panic("swiglu: gate, up and out differ in length")
	}
	dispatch.Run(dev, "swiglu.ForwardBF16", func(c *cpu.Device) {
		x := cast.Widened(c, gate.Host(), nil)
		forwardCPU(c, act, x, cast.Widened(c, up.Host(), nil), x)
		cast.NarrowHost(x, out.Host())
	}, func(c driver.Launcher) {
		k := &kernelsOf[act]
		k.forward.Launch(ptx.On(c), k.name+"_half_forward"+k.suffix, ptx.Grid(ptx.Blocks(gate.Len(), 1024), 256), &forwardParameters{
			gate: gate.Addr(), up: up.Addr(), out: out.Addr(), n: uint64(gate.Len()),
		})
	})
}

// BackwardBF16 is Backward of values and gradients in bf16.
func BackwardBF16(dev driver.Device, act Activation, dout, gate, up, dgate, dup bf16) {
	act.checkHalf()
	n := gate.Len()
	if dout.Len() != n || up.Len() != n || dgate.Len() != n || dup.Len() != n {
		panic("swiglu: dout, gate, up, dgate and dup differ in length")
	}
	dispatch.Run(dev, "swiglu.BackwardBF16", func(c *cpu.Device) {
		d, g, u := cast.Widened(c, dout.Host(), nil), cast.Widened(c, gate.Host(), nil), cast.Widened(c, up.Host(), nil)
		backwardCPU(c, act, d, g, u, g, u)
		cast.NarrowHost(g, dgate.Host())
		cast.NarrowHost(u, dup.Host())
	}, func(c driver.Launcher) {
		k := &kernelsOf[act]
		k.backward.Launch(ptx.On(c), k.name+"_half_backward"+k.suffix, ptx.Grid(ptx.Blocks(n, 1024), 256), &backwardParameters{
			dout: dout.Addr(), gate: gate.Addr(), up: up.Addr(), dgate: dgate.Addr(), dup: dup.Addr(), n: uint64(n),
		})
	})
}

func (a Activation) checkHalf() {
	if !HalfActivation(a) {
		panic("swiglu: no bf16 kernel for this activation")
	}
}
