// Package shortconv is a causal convolution of every channel separately, a few tokens wide,
// inside each segment of a packed batch:
//
//	z[t,c]   = bias[c] + Σ_j w[c,j]·x[t−K+1+j, c],  j = 0 … K−1, rows before the segment are 0
//	out[t,c] = z, or silu(z) = z·σ(z)
//
// All tensors are float32 and row-major: x, out, dout, dx [T, C]; w, dw [C, K], as in
// PyTorch's Conv1d with groups = C; bias, db [C]. A row's result only depends on its
// segment, and dw and db are summed over rows in order, so the bits do not depend on the
// number of threads.
//
// Source: Poli et al. 2023, arXiv:2302.10866, section 3; transformers 5.24
// models/lfm2/modeling_lfm2.py and models/qwen3_next/modeling_qwen3_next.py.
package shortconv

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Conv has the segments of a batch and the variant.
type Conv struct {
	Segments []int32 // cu_seqlens: sequence i is [Segments[i], Segments[i+1])
	Width    int     // K
	SiLU     bool
}

// Forward overwrites out, which must not be x. bias may be nil: nothing is added.
func (c Conv) Forward(dev driver.Device, x, w, bias, out driver.F32) {
	channels := c.check(x, w, bias)
	if out.Len() != x.Len() {
		panic("shortconv: out is not shaped like x")
	}
	dispatch.Run(dev, "shortconv.Forward", func(d *cpu.Device) {
		c.forwardCPU(d, x.Host(), w.Host(), bias.Host(), out.Host(), channels)
	}, func(d driver.Launcher) {
		c.forwardPTX(d, x, w, bias, out, channels)
	})
}

// Backward overwrites dx, which must be neither dout nor x, and adds to dw and db unless
// they are nil:
//
//	dz[t,c]  = dout[t,c], or times σ(z)·(1 + z·(1 − σ(z)))
//	dx[t,c]  = Σ_j w[c,j]·dz[t+K−1−j, c], rows behind the segment are 0
//	dw[c,j] += Σ_t dz[t,c]·x[t−K+1+j, c]
//	db[c]   += Σ_t dz[t,c]
func (c Conv) Backward(dev driver.Device, dout, x, w, bias, dx, dw, db driver.F32) {
	channels := c.check(x, w, bias)
	if dout.Len() != x.Len() || dx.Len() != x.Len() {
		panic("shortconv: dout or dx is not shaped like x")
	}
	if !dw.IsNil() && dw.Len() != w.Len() || !db.IsNil() && db.Len() != channels {
		panic("shortconv: dw is not [C, K], or db not [C]")
	}
	dispatch.Run(dev, "shortconv.Backward", func(d *cpu.Device) {
		c.backwardCPU(d, dout.Host(), x.Host(), w.Host(), bias.Host(), dx.Host(), dw.Host(), db.Host(), channels)
	}, func(d driver.Launcher) {
		c.backwardPTX(d, dout, x, w, bias, dx, dw, db, channels)
	})
}

// Keep copies the last K−1 rows of every segment i of x, preceded by zeros if it has fewer,
// to tails [Slots, K−1, C] at slots[i], from which Step continues.
func (c Conv) Keep(dev driver.Device, x driver.F32, slots []int32, tails driver.F32) {
	if len(c.Segments)-1 != len(slots) {
		panic(badTails)
	}
	channels := c.checkTails(x, int(c.Segments[len(slots)]), slots, tails)
	dispatch.Run(dev, "shortconv.Keep", func(d *cpu.Device) {
		c.keepCPU(d, x.Host(), slots, tails.Host(), channels)
	}, func(d driver.Launcher) {
		c.keepPTX(d, x, slots, tails, channels)
	})
}

// Step is Forward of one new row per sequence, x [len(slots), C], after the rows in tails,
// which it replaces by the last K−1 rows. Segments is not read. The bits are Forward's.
func (c Conv) Step(dev driver.Device, x driver.F32, slots []int32, tails, w, bias, out driver.F32) {
	channels := c.checkTails(x, len(slots), slots, tails)
	if w.Len() != channels*c.Width || !bias.IsNil() && bias.Len() != channels || out.Len() != x.Len() {
		panic("shortconv: w is not [C, K], bias not [C] or out not shaped like x")
	}
	dispatch.Run(dev, "shortconv.Step", func(d *cpu.Device) {
		c.stepCPU(d, x.Host(), slots, tails.Host(), w.Host(), bias.Host(), out.Host(), channels)
	}, func(d driver.Launcher) {
		c.stepPTX(d, x, slots, tails, w, bias, out, channels)
	})
}

// check returns C.
func (c Conv) check(x, w, bias driver.F32) int {
	if c.Width < 1 || w.Len()%c.Width != 0 || w.Len() == 0 {
		panic("shortconv: w is not [C, K]")
	}
	channels := w.Len() / c.Width
	if !bias.IsNil() && bias.Len() != channels {
		panic("shortconv: bias is not [C]")
	}
	if len(c.Segments) < 2 || x.Len() != int(c.Segments[len(c.Segments)-1])*channels {
		panic("shortconv: x is not [T, C] of T tokens in Segments")
	}
	return channels
}

// badTails is the panic of Keep and Step for x and slots that do not match.
const badTails = "shortconv: x is not [T, C], or the slots are not one a sequence"

// checkTails returns C for that many rows of x.
func (c Conv) checkTails(x driver.F32, rows int, slots []int32, tails driver.F32) int {
	if c.Width < 1 || rows < 1 || x.Len()%rows != 0 {
		panic(badTails)
	}
	channels := x.Len() / rows
	for _, s := range slots {
		if s < 0 || (int(s)+1)*(c.Width-1)*channels > tails.Len() {
			panic("shortconv: a sequence outside the tails")
		}
	}
	return channels
}
