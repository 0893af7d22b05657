package attention

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/dispatch"
	"dataflex.dev/dataflex/kernels/scratch"
)

// Programmer errors of the bf16 variants, in addition to those of Forward and Backward.
const (
	unalignedBF16 = "attention: HeadDim is not a multiple of 8, or a tensor is not 16-byte aligned"
	unscaledBF16  = "attention: Scale is not positive"
)

// ForwardBF16 is Forward with q, k and v in bf16. Products are exact and their sums float32;
// p is rounded to bf16 before it is multiplied by v. HeadDim is a multiple of 8, tensors are
// 16-byte aligned, Scale is positive. The host computes so with its unit for bf16 (simd.Unit);
// without one, and with SoftCap, it widens the inputs for Forward, which does not round.
func ForwardBF16(dev driver.Device, p Params, x Inputs[driver.BF16], o, lse driver.F32) {
	t := p.check()
	checkLengths(p, t, x, o.Len(), lse)
	p.checkBF16(x.Q.Addr() | x.K.Addr() | x.V.Addr() | o.Addr())
	dispatch.Run(dev, "attention.ForwardBF16", func(c *cpu.Device) {
		if p.onUnits() {
			forwardUnits(c, p, x.Q.Host(), x.K.Host(), x.V.Host(), o.Host(), lse.Host(), t)
			return
		}
		w := wides.Take()
		forwardCPU(c, p, w.input(c, 0, x.Q), w.input(c, 1, x.K), w.input(c, 2, x.V), o.Host(), lse.Host(), t)
		wides.Give(w)
	}, func(c driver.Launcher) {
		forwardBF16PTX(c, p, x, result{o: o.Addr()}, lse, t)
	})
}

// BackwardBF16 is Backward with q, k, v and do in bf16: p and ds are rounded to bf16 before
// they are multiplied by do, q and k. The gradients are float32.
func BackwardBF16(dev driver.Device, p Params, x Inputs[driver.BF16], o, lse driver.F32, do driver.Slice[driver.BF16], d Gradients) {
	t := p.check()
	checkLengths(p, t, x, o.Len(), lse)
	checkGradients(x, o.Len(), do, Inputs[float32]{d.Q, d.K, d.V})
	p.checkBF16(x.Q.Addr() | x.K.Addr() | x.V.Addr() | o.Addr() | do.Addr() | d.Q.Addr() | d.K.Addr() | d.V.Addr())
	dispatch.Run(dev, "attention.BackwardBF16", func(c *cpu.Device) {
		if p.onUnits() {
			backwardUnits(c, p, unitGradients{
				q: x.Q.Host(), k: x.K.Host(), v: x.V.Host(), do: do.Host(), o: o.Host(), lse: lse.Host(),
				dq: d.Q.Host(), dk: d.K.Host(), dv: d.V.Host(), t: t,
			})
			return
		}
		w := wides.Take()
		g := gradients{
			q: w.input(c, 0, x.Q), k: w.input(c, 1, x.K), v: w.input(c, 2, x.V), o: o.Host(), lse: lse.Host(),
			do: w.input(c, 3, do), dq: d.Q.Host(), dk: d.K.Host(), dv: d.V.Host(),
		}
		backwardCPU(c, p, g, t)
		wides.Give(w)
	}, func(c driver.Launcher) {
		backwardBF16PTX(c, p, x, result{o: o.Addr()}, lse, do, [3]uintptr{d.Q.Addr(), d.K.Addr(), d.V.Addr()}, t)
	})
}

// checkBF16 checks p and the bitwise or of the tensors' addresses.
func (p Params) checkBF16(addresses uintptr) {
	if p.HeadDim%8 != 0 || addresses%16 != 0 {
		panic(unalignedBF16)
	}
	if !(p.Scale > 0) {
		panic(unscaledBF16)
	}
	if !p.Sinks.IsNil() || p.valueDim() != p.HeadDim {
		panic("attention: no bf16 kernel for sinks, or for values of another width than keys")
	}
}

// widened is the memory of inputs in float32: q, k, v and do.
type widened [4][]float32

var wides = scratch.NewPool[widened](2)

// input returns x, the i-th input, in float32.
func (w *widened) input(c *cpu.Device, i int, x driver.Slice[driver.BF16]) []float32 {
	w[i] = cast.Widened(c, x.Host(), w[i])
	return w[i]
}
