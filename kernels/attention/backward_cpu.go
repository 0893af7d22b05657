package attention

import (
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/simd"
)

// gradients are Backward's tensors.
type gradients struct {
	q, k, v, o, lse, do, dq, dk, dv []float32
}

// backwardCPU gives a task a whole (segment, key/value head): no other task adds to its rows
// of dk and dv, so the order of the additions is fixed. The parallelism is segments ×
// KVHeads: one long segment of a model with 2 key/value heads keeps 2 threads busy.
func backwardCPU(c *cpu.Device, p Params, g gradients, t int) {
	call := works.Take()
	p.parallel(c, call.segmentUnits(p), func(w *tile, u unit) {
		d, dv := p.HeadDim, p.valueDim()
		for j := u.lo; j < u.hi; j++ {
			at := j*p.KVHeads + u.head
			clear(g.dk[at*d : (at+1)*d])
			clear(g.dv[at*dv : (at+1)*dv])
		}
		n := p.queries()
		for q0 := u.lo; q0 < u.hi; q0 += n {
			p.backwardBlock(w, unit{u.lo, u.hi, u.head, q0}, min(u.hi, q0+n), g, t)
		}
	})
	works.Give(call)
}

// backwardBlock computes the block's dq and adds its part of dk and dv.
func (p Params) backwardBlock(w *tile, u unit, q1 int, g gradients, t int) {
	n, d, dv := q1-u.q0, p.HeadDim, p.valueDim()
	ld, ldv := p.KVHeads*d, p.KVHeads*dv
	rows := n * (p.Heads / p.KVHeads)
	p.gather(w.q, g.q, d, u.head, u.q0, q1)
	p.gather(w.do, g.do, dv, u.head, u.q0, q1)
	p.rowTerms(w, u, q1, g, t)
	clear(w.o[:rows*d]) // dq from here on
	first, last := p.keyRange(u.lo, u.q0, q1)
	for k0 := first; k0 < last; k0 += tileKeys {
		k1 := min(last, k0+tileKeys)
		at, atV, m := k0*ld+u.head*d, k0*ldv+u.head*dv, k1-k0
		p.scores(w, g.k, u.head, rows, k0, k1)
		for r := range rows {
			row, delta := w.ds[r*tileKeys:r*tileKeys+m], -float32(w.sum[r])
			for j := range row {
				row[j] = delta
			}
		}
		gemm.Host(gemm.NT, 1, gemm.OnHost(w.do, rows, dv, dv), gemm.OnHost(g.v[atV:], m, dv, ldv), 1, gemm.OnHost(w.ds, rows, m, tileKeys))
		for r := range rows {
			p.gradientRow(w, u, r, u.q0+r%n, k0, k1)
		}
		gemm.Host(gemm.TN, 1, gemm.OnHost(w.s, rows, m, tileKeys), gemm.OnHost(w.do, rows, dv, dv), 1, gemm.OnHost(g.dv[atV:], m, dv, ldv))
		gemm.Host(gemm.TN, p.Scale, gemm.OnHost(w.ds, rows, m, tileKeys), gemm.OnHost(w.q, rows, d, d), 1, gemm.OnHost(g.dk[at:], m, d, ld))
		gemm.Host(gemm.NN, p.Scale, gemm.OnHost(w.ds, rows, m, tileKeys), gemm.OnHost(g.k[at:], m, d, ld), 1, gemm.OnHost(w.o, rows, d, d))
	}
	p.scatter(g.dq, w.o, d, u.head, u.q0, q1)
}

// rowTerms computes the rows' lse, into w.max, and do·o, into w.sum; it uses w.o as scratch.
func (p Params) rowTerms(w *tile, u unit, q1 int, g gradients, t int) {
	group, n, d := p.Heads/p.KVHeads, q1-u.q0, p.valueDim()
	p.gather(w.o, g.o, d, u.head, u.q0, q1)
	for h := range group {
		for i := range n {
			r := h*n + i
			w.max[r] = g.lse[(u.head*group+h)*t+u.q0+i]
			w.sum[r] = float64(simd.Dot(w.do[r*d:(r+1)*d], w.o[r*d:(r+1)*d]))
		}
	}
}

// gradientRow turns row r of w.s from scores into probabilities and row r of w.ds
// from do·v − do·o into the gradient of the scaled scores.
func (p Params) gradientRow(w *tile, u unit, r, i, k0, k1 int) {
	m := k1 - k0
	row, ds := w.s[r*tileKeys:r*tileKeys+m], w.ds[r*tileKeys:r*tileKeys+m]
	lo, hi := p.visible(i, k0, k1)
	if lo >= hi {
		clear(row)
		clear(ds)
		return
	}
	clear(row[:lo])
	clear(ds[:lo])
	clear(row[hi:])
	clear(ds[hi:])
	row, ds = row[lo:hi], ds[lo:hi]
	p.capped(row)
	if p.SoftCap > 0 {
		inv := 1 / p.SoftCap
		for j, s := range row {
			ds[j] *= 1 - (s*inv)*(s*inv)
		}
	}
	simd.ExpSum(row, row, w.max[r])
	if (i == u.lo || p.Window == 1) && p.Sinks.IsNil() {
		clear(ds) // with one key p = 1 whatever the score, so the gradient is 0, not the rounding error of do·v − do·o
		return
	}
	simd.Mul(ds, ds, row)
}
