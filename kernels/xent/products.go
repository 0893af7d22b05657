package xent

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/columns"
	"dataflex.dev/dataflex/kernels/dispatch"
	"dataflex.dev/dataflex/kernels/ptx"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/kernels/simd"
)

// Products is the middle part of Run, for a head whose products h·w are computed elsewhere,
// including an adapter's: z [len(rows), Vocab] has them, for these rows of the batch, which
// all have targets. It overwrites loss[rows[i]] and, with gradient, z with the gradients of
// the products, times weight[rows[i]] (nil = 1). Hidden is not read.
func Products(dev driver.Device, p Params, z driver.F32, rows, targets []int32, weight, loss driver.F32, gradient bool) {
	switch {
	case z.Len() != len(rows)*p.Vocab || len(targets) != len(rows):
		panic("xent: z is not [rows, Vocab], or there is not a target for each row")
	case loss.Len() != p.Rows || (!weight.IsNil() && weight.Len() != p.Rows):
		panic("xent: loss or weight is not [Rows]")
	}
	for i, y := range targets {
		if y < 0 || int(y) >= p.Vocab || rows[i] < 0 || int(rows[i]) >= p.Rows {
			panic(fmt.Sprintf("xent: row %d has the target %d, the batch has %d rows and the vocabulary %d entries", rows[i], y, p.Rows, p.Vocab))
		}
	}
	if len(rows) == 0 {
		return
	}
	dispatch.Run(dev, "xent.Products", func(c *cpu.Device) {
		p.productsCPU(c, z.Host(), rows, targets, weight.Host(), loss.Host(), gradient)
	}, func(c driver.Launcher) {
		p.productsPTX(c, z, rows, targets, weight, loss, gradient)
	})
}

func (p Params) productsCPU(c *cpu.Device, z []float32, rows, targets []int32, weight, loss []float32, gradient bool) {
	scale := p.scale()
	c.Parallel(len(rows), func(i int) {
		row, g := z[i*p.Vocab:(i+1)*p.Vocab], scale
		if scale != 1 {
			simd.Scale(scale, row)
		}
		if len(weight) > 0 {
			g *= weight[rows[i]]
		}
		loss[rows[i]] = p.row(row, int(targets[i]), g, gradient)
	})
}

func (p Params) productsPTX(dev driver.Launcher, z driver.F32, rows, targets []int32, weight, loss driver.F32, gradient bool) {
	q := ptx.On(dev)
	n, ld := len(rows), (p.Vocab+3)&^3 // rows of logits are 16-byte aligned
	wide := q.Floats(logitSlot, n*ld)
	clears.Launch(q, "xent_clear", elementwise(wide.Len()), &clearParameters{wide.Addr(), uint64(wide.Len())})
	columns.Add(dev, z, p.Vocab, wide, ld, 0)
	if s := p.scale(); s != 1 {
		reduce.Scale(dev, s, wide)
	}
	kernel := "xent_rows"
	if p.SoftCap > 0 {
		kernel += "_capped"
	}
	rowKernels.Launch(q, kernel, ptx.Grid(n, 256), &ptx.One[rowArguments]{P: rowArguments{
		z: wide.Addr(), row: ptx.Upload(q, rows), target: ptx.Upload(q, targets), weight: weight.Addr(), loss: loss.Addr(), ld: int64(ld), vocab: int32(p.Vocab),
		gradient: ptx.Flag(gradient), scale: p.scale(), smoothing: p.Smoothing, softCap: p.SoftCap,
	}})
	if gradient {
		columns.Take(dev, wide, ld, 0, z, p.Vocab)
	}
}

// Finish turns products z [Rows, Vocab] into logits in place: scaled and capped.
func Finish(dev driver.Device, p Params, z driver.F32) {
	if z.Len() != p.Rows*p.Vocab {
		panic("xent: z is not [Rows, Vocab]")
	}
	if s := p.scale(); s != 1 {
		reduce.Scale(dev, s, z)
	}
	if p.SoftCap == 0 {
		return
	}
	dispatch.Run(dev, "xent.Finish", func(c *cpu.Device) { p.capCPU(c, z) }, func(c driver.Launcher) { p.capPTX(c, z) })
}
