// Package xent is the language model's head with its cross entropy, so that the T × V logits
// never exist at once.
//
//	z[t,j]  = LogitScale·h[t]·w[j] + Bias[j];  with SoftCap c > 0: z = c·tanh(z/c)
//	lse[t]  = ln Σ_j exp(z[t,j])
//	loss[t] = lse[t] − (1−ε)·z[t,target] − ε·mean_j z[t,j],  ε = Smoothing
//	dz[t,j] = weight[t]·(exp(z[t,j] − lse[t]) − (1−ε)·[j = target] − ε/V)
//
// All tensors are float32 and row-major: h, dh [Rows, Hidden]; w, dw [Vocab, Hidden]; Bias
// [Vocab]; weight, loss [Rows]. targets [Rows] are on the host. A row with a negative target
// has loss 0 and dh 0 and costs nothing.
//
// The logits of as many labelled rows as fit into 64 MiB are computed once and turned into
// their gradients in place: 2·N·H·V operations for the losses of N labelled rows, 4 with dh,
// 6 with dw. A row's loss and dh only depend on that row, bit for bit; dw is added to in the
// order of the rows. The bits are the same for every number of threads.
package xent

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
	"dataflex.dev/dataflex/kernels/ptx"
)

// Params has the shape and the variant.
type Params struct {
	Rows, Hidden, Vocab int
	Smoothing           float32    // label smoothing ε in [0, 1)
	SoftCap             float32    // 0 = none
	LogitScale          float32    // 0 = 1
	Bias                driver.F32 // nil = none; not with LogitScale, nor in bf16
	DBias               driver.F32 // Run adds the gradient of Bias to it; nil = Bias is frozen
}

// Run overwrites loss, and dh unless it is nil (losses only), and adds to dw
// unless it is nil (frozen head). weight multiplies a row's gradient, not its
// loss; nil = 1.
func Run(dev driver.Device, p Params, h, w driver.F32, targets []int32, weight, loss, dh, dw driver.F32) {
	p.check(h.Len(), w.Len(), targets, weight, loss, dh, dw)
	dispatch.Run(dev, "xent.Run", func(c *cpu.Device) {
		runCPU(c, p, h.Host(), w, targets, weight.Host(), loss.Host(), dh, dw)
	}, func(c driver.Launcher) {
		runPTX(c, p, h, w, targets, weight, loss, dh, dw)
	})
}

// Logits overwrites z [Rows, Vocab] with the scaled and capped logits of h: for
// generation, which needs them all.
func Logits(dev driver.Device, p Params, h, w, z driver.F32) {
	p.checkLogits(h.Len(), w.Len(), z)
	dispatch.Run(dev, "xent.Logits", func(c *cpu.Device) {
		logitsCPU(c, p, h, w, z)
	}, func(c driver.Launcher) {
		logitsPTX(c, p, h, w, z)
	})
}

func (p Params) checkLogits(lenH, lenW int, z driver.F32) {
	switch {
	case p.Rows < 0 || p.Hidden < 1 || p.Vocab < 1 || p.SoftCap < 0:
		panic("xent: Rows < 0, Hidden or Vocab < 1, or negative SoftCap")
	case lenH != p.Rows*p.Hidden || lenW != p.Vocab*p.Hidden || z.Len() != p.Rows*p.Vocab:
		panic("xent: h, w or z is not of its shape")
	}
	p.checkBias()
}

func (p Params) checkBias() {
	switch {
	case p.Bias.IsNil() && p.DBias.IsNil():
	case p.Bias.Len() != p.Vocab || !p.DBias.IsNil() && p.DBias.Len() != p.Vocab:
		panic("xent: Bias or DBias is not [Vocab]")
	case p.scale() != 1:
		panic("xent: a Bias with a LogitScale")
	}
}

// Workspace is the number of bytes that Run, or RunBF16, needs on dev in addition to its
// arguments for that many labelled rows, up to a few hundred.
func (p Params) Workspace(dev driver.Device, bf16 bool, labelled int) int {
	switch {
	case dev.Kind() == driver.CPU && bf16:
		return p.workspaceBF16CPU(labelled)
	case dev.Kind() == driver.CPU:
		return 4 * min(labelled, p.blockRows(false)) * (p.logitRow() + 2*p.Hidden)
	case bf16:
		rows := min(labelled, p.bf16Rows())
		return rows*(2*(p.Vocab+p.Hidden)+4*p.Hidden+20) + 12*rows*ptx.Blocks(p.Vocab, bf16Tile(dev))
	}
	return 4 * min(labelled, p.deviceRows()) * (p.Vocab + 2*p.Hidden)
}

func (p Params) check(lenH, lenW int, targets []int32, weight, loss, dh, dw driver.F32) {
	switch {
	case p.Rows < 0 || p.Hidden < 1 || p.Vocab < 1:
		panic("xent: Rows < 0, or Hidden or Vocab < 1")
	case p.Smoothing < 0 || p.Smoothing >= 1 || p.SoftCap < 0:
		panic("xent: Smoothing outside [0, 1), or negative SoftCap")
	case lenH != p.Rows*p.Hidden:
		panic("xent: h is not [Rows, Hidden]")
	case lenW != p.Vocab*p.Hidden:
		panic("xent: w is not [Vocab, Hidden]")
	case len(targets) != p.Rows || loss.Len() != p.Rows:
		panic("xent: targets or loss is not [Rows]")
	case !weight.IsNil() && weight.Len() != p.Rows:
		panic("xent: weight is not [Rows]")
	case !dh.IsNil() && dh.Len() != lenH:
		panic("xent: dh is not shaped like h")
	case !dw.IsNil() && (dh.IsNil() || dw.Len() != lenW):
		panic("xent: dw is not shaped like w, or is requested without dh")
	}
	p.checkBias()
	for t, y := range targets {
		if int(y) >= p.Vocab {
			panic(fmt.Sprintf("xent: targets[%d] = %d, the vocabulary has %d", t, y, p.Vocab))
		}
	}
}
