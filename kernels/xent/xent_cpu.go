package xent

import (
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/scratch"
	"dataflex.dev/dataflex/kernels/simd"
)

// With one block instead of two for 508 tokens, and rows that keep out of each other's way, a layer with
// SmolLM2-135M's head went from 0.331 to 0.321 s in float32 and from 0.187 to 0.164 in bf16 (two
// cores of a Zen 4, 2026-12-01, fastest steps of two binaries in turn).
const (
	logitFloats = 24 << 20 // 96 MiB of logits at a time: every block packs all of w twice
	sumFloats   = 16 << 20 // where dw is wanted: its sums are in the order of the blocks
	maxRows     = 512      // rows per block: more do not make the products faster
	sumChunk    = 1024     // logits whose exponentials are summed in float32
)

// work is the memory of a call. One is kept between calls: it is too large to leave to the
// garbage collector and allocate again.
type work struct {
	labelled []int     // rows with a target
	h, z, dh []float32 // a block's [rows, Hidden], [rows, logitRow], [rows, Hidden]
}

var works = scratch.NewPool[work](1)

// blockRows is the number of rows whose logits are stored at a time, sums if dw is wanted.
func (p Params) blockRows(sums bool) int {
	floats := logitFloats
	if sums {
		floats = sumFloats
	}
	return min(max(floats/p.Vocab, 1), maxRows)
}

// logitRow is the distance between rows of logits: whole vectors, but not whole pages, because
// the rows of a tile would share a set of the first-level cache.
func (p Params) logitRow() int {
	const vector, page = 16, 1024 // floats
	row := (p.Vocab + vector - 1) &^ (vector - 1)
	if row%page == 0 {
		row += vector
	}
	return row
}

func runCPU(c *cpu.Device, p Params, h []float32, w driver.F32, targets []int32, weight, loss []float32, dh, dw driver.F32) {
	p.inBlocks(targets, loss, dh, dw, func(s *work, rows []int) {
		s.block(c, p, rows, h, w, targets, weight, loss, dh, dw)
	})
}

// inBlocks clears the results of rows without a target, and calls f with the others, as many
// at a time as have their logits stored.
func (p Params) inBlocks(targets []int32, loss []float32, dh, dw driver.F32, f func(s *work, rows []int)) {
	s := works.Take()
	defer works.Give(s)
	s.gatherLabelled(targets)
	clear(loss)
	if !dh.IsNil() {
		clear(dh.Host())
	}
	block := p.blockRows(!dw.IsNil())
	for lo := 0; lo < len(s.labelled); lo += block {
		f(s, s.labelled[lo:min(len(s.labelled), lo+block)])
	}
}

func (s *work) gatherLabelled(targets []int32) {
	s.labelled = s.labelled[:0]
	for t, y := range targets {
		if y >= 0 {
			s.labelled = append(s.labelled, t)
		}
	}
}

// block processes the given rows of h.
func (s *work) block(c *cpu.Device, p Params, rows []int, h []float32, w driver.F32, targets []int32, weight, loss []float32, dh, dw driver.F32) {
	n, hid, voc, ld := len(rows), p.Hidden, p.Vocab, p.logitRow()
	s.h, s.z, s.dh = scratch.Sized(s.h, n*hid), scratch.Sized(s.z, n*ld), scratch.Sized(s.dh, n*hid)
	for i, t := range rows {
		copy(s.h[i*hid:(i+1)*hid], h[t*hid:(t+1)*hid])
	}
	z, hs, scale := gemm.OnHost(s.z, n, voc, ld), gemm.OnHost(s.h, n, hid, hid), p.scale()
	gemm.Run(c, gemm.NT, scale, hs, gemm.Dense(w, voc, hid), p.startCPU(s.z, ld), z)
	c.Parallel(n, func(i int) {
		t := rows[i]
		g := scale
		if len(weight) > 0 {
			g *= weight[t]
		}
		loss[t] = p.row(s.z[i*ld:i*ld+voc], int(targets[t]), g, !dh.IsNil())
	})
	if dh.IsNil() {
		return
	}
	gemm.Run(c, gemm.NN, 1, z, gemm.Dense(w, voc, hid), 0, gemm.OnHost(s.dh, n, hid, hid))
	out := dh.Host()
	for i, t := range rows {
		copy(out[t*hid:(t+1)*hid], s.dh[i*hid:(i+1)*hid])
	}
	if !dw.IsNil() {
		gemm.Run(c, gemm.TN, 1, z, hs, 1, gemm.Dense(dw, voc, hid))
	}
	if db := p.DBias.Host(); db != nil {
		for i := range n {
			simd.Add(db, db, s.z[i*ld:i*ld+voc])
		}
	}
}

// startCPU sets every row of logits, ld apart, to the bias, if there is one, and returns the beta with
// which the product is added to them.
func (p Params) startCPU(z []float32, ld int) (beta float32) {
	b := p.Bias.Host()
	if b == nil {
		return 0
	}
	for lo := 0; lo < len(z); lo += ld {
		copy(z[lo:lo+p.Vocab], b)
	}
	return 1
}

func logitsCPU(c *cpu.Device, p Params, h, w, z driver.F32) {
	gemm.Run(c, gemm.NT, p.scale(), gemm.Dense(h, p.Rows, p.Hidden), gemm.Dense(w, p.Vocab, p.Hidden), p.startCPU(z.Host(), p.Vocab), gemm.Dense(z, p.Rows, p.Vocab))
	p.capCPU(c, z)
}

// capCPU caps rows of scaled logits.
func (p Params) capCPU(c *cpu.Device, z driver.F32) {
	if p.SoftCap == 0 {
		return
	}
	all := z.Host()
	c.Parallel(p.Rows, func(i int) { softCap(all[i*p.Vocab:(i+1)*p.Vocab], float64(p.SoftCap)) })
}

func (p Params) scale() float32 {
	if p.LogitScale == 0 {
		return 1
	}
	return p.LogitScale
}

// row returns the loss of a row of scaled logits and, if gradient is set, turns them into g
// times their gradient.
func (p Params) row(z []float32, target int, g float32, gradient bool) float32 {
	if p.SoftCap > 0 {
		softCap(z, float64(p.SoftCap))
	}
	top := simd.Max(z)
	at, eps := float64(z[target]), float64(p.Smoothing)
	var sum, all float64
	if eps > 0 {
		for _, v := range z {
			all += float64(v)
		}
	}
	lse := func() float64 { return float64(top) + math.Log(sum) }
	if p.SoftCap > 0 && gradient {
		// exp in place would overwrite z, which the cap's derivative needs.
		var e [sumChunk]float32
		for lo := 0; lo < len(z); lo += sumChunk {
			part := z[lo:min(len(z), lo+sumChunk)]
			sum += float64(simd.ExpSum(e[:len(part)], part, top))
		}
		p.cappedGradient(z, target, g, lse())
		return float32(lse() - (1-eps)*at - eps*all/float64(len(z)))
	}
	for lo := 0; lo < len(z); lo += sumChunk {
		part := z[lo:min(len(z), lo+sumChunk)]
		sum += float64(simd.ExpSum(part, part, top))
	}
	if gradient {
		simd.Scale(float32(float64(g)/sum), z)
		if eps > 0 {
			even := float32(float64(g) * eps / float64(len(z)))
			for j := range z {
				z[j] -= even
			}
		}
		z[target] -= float32(float64(g) * (1 - eps))
	}
	return float32(lse() - (1-eps)*at - eps*all/float64(len(z)))
}

// softCap is z = c·tanh(z/c).
func softCap(z []float32, c float64) {
	for j, v := range z {
		z[j] = float32(c * math.Tanh(float64(v)/c))
	}
}

// cappedGradient turns capped logits into g times the gradient before the cap.
func (p Params) cappedGradient(z []float32, target int, g float32, lse float64) {
	var e [sumChunk]float32
	eps, inv := float64(p.Smoothing), 1/p.SoftCap
	even := float32(eps / float64(len(z)))
	top := float32(lse)
	for lo := 0; lo < len(z); lo += sumChunk {
		part := z[lo:min(len(z), lo+sumChunk)]
		simd.ExpSum(e[:len(part)], part, top)
		for j, v := range part {
			dz := e[j] - even
			if lo+j == target {
				dz -= float32(1 - eps)
			}
			part[j] = g * dz * (1 - (v*inv)*(v*inv))
		}
	}
}
