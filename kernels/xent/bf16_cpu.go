package xent

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/scratch"
)

// halfWork is a block's rows of h in bf16, beside the memory of work.
type halfWork struct{ h []driver.BF16 }

var halfWorks = scratch.NewPool[halfWork](1)

// workspaceBF16CPU is Workspace of RunBF16 on the host.
func (p Params) workspaceBF16CPU(labelled int) int {
	return min(labelled, p.blockRows(false)) * (4*(p.logitRow()+p.Hidden) + 2*p.Hidden)
}

func runBF16CPU(c *cpu.Device, p Params, h []driver.BF16, w driver.Slice[driver.BF16], targets []int32, weight, loss []float32, dh, dw driver.F32) {
	half := halfWorks.Take()
	defer halfWorks.Give(half)
	p.inBlocks(targets, loss, dh, dw, func(s *work, rows []int) {
		s.blockBF16(c, half, p, rows, h, w, targets, weight, loss, dh, dw)
	})
}

// blockBF16 is block with the products in bf16: logits, losses and their gradients are
// float32; the gradients are rounded, in place, before they are multiplied by w and h.
func (s *work) blockBF16(c *cpu.Device, half *halfWork, p Params, rows []int, h []driver.BF16, w driver.Slice[driver.BF16], targets []int32, weight, loss []float32, dh, dw driver.F32) {
	n, hid, voc, ld := len(rows), p.Hidden, p.Vocab, p.logitRow()
	s.z, half.h = scratch.Sized(s.z, n*ld), scratch.Sized(half.h, n*hid)
	for i, t := range rows {
		copy(half.h[i*hid:(i+1)*hid], h[t*hid:(t+1)*hid])
	}
	hs, ws := gemm.Dense(driver.FromHost(half.h), n, hid), gemm.Dense(w, voc, hid)
	gemm.RunBF16(c, gemm.NT, p.scale(), hs, ws, 0, gemm.OnHost(s.z, n, voc, ld))
	rounded := driver.View[driver.BF16](driver.FromHost(s.z).Memory()) // row i lies where it did, in the first half
	c.Parallel(n, func(i int) {
		t, z, g := rows[i], s.z[i*ld:i*ld+voc], p.scale()
		if len(weight) > 0 {
			g *= weight[t]
		}
		loss[t] = p.row(z, int(targets[t]), g, !dh.IsNil())
		if !dh.IsNil() {
			cast.NarrowHost(z, rounded.Host()[2*i*ld:])
		}
	})
	if dh.IsNil() {
		return
	}
	e := gemm.Strided(rounded, n, voc, 2*ld)
	s.dh = scratch.Sized(s.dh, n*hid)
	gemm.RunBF16(c, gemm.NN, 1, e, ws, 0, gemm.Dense(driver.FromHost(s.dh), n, hid))
	out := dh.Host()
	for i, t := range rows {
		copy(out[t*hid:(t+1)*hid], s.dh[i*hid:(i+1)*hid])
	}
	if !dw.IsNil() {
		gemm.RunBF16(c, gemm.TN, 1, e, hs, 1, gemm.Dense(dw, voc, hid))
	}
}

func logitsBF16CPU(c *cpu.Device, p Params, h, w driver.Slice[driver.BF16], z driver.F32) {
	gemm.RunBF16(c, gemm.NT, p.scale(), gemm.Dense(h, p.Rows, p.Hidden), gemm.Dense(w, p.Vocab, p.Hidden), 0, gemm.Dense(z, p.Rows, p.Vocab))
	p.capCPU(c, z)
}
