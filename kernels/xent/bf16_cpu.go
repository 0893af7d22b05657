package xent

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/scratch"
)

// halfWork is a call's memory beside that of work: a block's rows of h and of the logits'
// gradients, in bf16.
type halfWork struct{ h, e []driver.BF16 }

var halfWorks = scratch.NewPool[halfWork](1)

// logitRow is the distance between rows of e: they begin on 16 bytes.
func (p Params) logitRow() int { return (p.Vocab + 7) &^ 7 }

// workspaceBF16CPU is Workspace of RunBF16 on the host.
func (p Params) workspaceBF16CPU(labelled int) int {
	return min(labelled, p.blockRows()) * (4*(p.Vocab+p.Hidden) + 2*(p.logitRow()+p.Hidden))
}

func runBF16CPU(c *cpu.Device, p Params, h []driver.BF16, w driver.Slice[driver.BF16], targets []int32, weight, loss []float32, dh, dw driver.F32) {
	half := halfWorks.Take()
	defer halfWorks.Give(half)
	p.inBlocks(targets, loss, dh, func(s *work, rows []int) {
		s.blockBF16(c, half, p, rows, h, w, targets, weight, loss, dh, dw)
	})
}

// blockBF16 is block with the products in bf16: logits, losses and their gradients are
// float32, the gradients are rounded before they are multiplied by w and h.
func (s *work) blockBF16(c *cpu.Device, half *halfWork, p Params, rows []int, h []driver.BF16, w driver.Slice[driver.BF16], targets []int32, weight, loss []float32, dh, dw driver.F32) {
	n, hid, voc, ld := len(rows), p.Hidden, p.Vocab, p.logitRow()
	s.z, half.h = scratch.Sized(s.z, n*voc), scratch.Sized(half.h, n*hid)
	for i, t := range rows {
		copy(half.h[i*hid:(i+1)*hid], h[t*hid:(t+1)*hid])
	}
	hs, ws := gemm.Dense(driver.FromHost(half.h), n, hid), gemm.Dense(w, voc, hid)
	gemm.RunBF16(c, gemm.NT, p.scale(), hs, ws, 0, gemm.Dense(driver.FromHost(s.z), n, voc))
	if !dh.IsNil() {
		half.e = scratch.Sized(half.e, n*ld)
	}
	c.Parallel(n, func(i int) {
		t, z, g := rows[i], s.z[i*voc:(i+1)*voc], p.scale()
		if len(weight) > 0 {
			g *= weight[t]
		}
		loss[t] = p.row(z, int(targets[t]), g, !dh.IsNil())
		if !dh.IsNil() {
			cast.NarrowHost(z, half.e[i*ld:i*ld+voc])
		}
	})
	if dh.IsNil() {
		return
	}
	e := gemm.Strided(driver.FromHost(half.e), n, voc, ld)
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
