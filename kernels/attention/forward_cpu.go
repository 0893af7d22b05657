package attention

import (
	"math"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/simd"
)

func forwardCPU(c *cpu.Device, p Params, q, k, v, o, lse []float32, t int) {
	call := works.Take()
	p.parallel(c, call.blockUnits(p), func(w *tile, u unit) {
		q1 := min(u.hi, u.q0+p.queries())
		p.forwardBlock(w, u, q1, q, k, v)
		p.normalise(w, u, q1, lse, t)
		p.scatter(o, w.o, p.valueDim(), u.head, u.q0, q1)
	})
	works.Give(call)
}

// forwardBlock computes the block's unnormalised output, into w.o, the rows' largest scores,
// into w.max, and Σ exp(s − max), into w.sum.
func (p Params) forwardBlock(w *tile, u unit, q1 int, q, k, v []float32) {
	n, dv, ld := q1-u.q0, p.valueDim(), p.KVHeads*p.valueDim()
	rows := n * (p.Heads / p.KVHeads)
	p.gather(w.q, q, p.HeadDim, u.head, u.q0, q1)
	for r := range rows {
		w.max[r], w.sum[r] = float32(math.Inf(-1)), 0
	}
	clear(w.o[:rows*dv])
	first, last := p.keyRange(u.lo, u.q0, q1)
	for k0 := first; k0 < last; k0 += tileKeys {
		k1 := min(last, k0+tileKeys)
		p.scores(w, k, u.head, rows, k0, k1)
		for r := range rows {
			p.softmaxRow(w, r, u.q0+r%n, k0, k1)
		}
		gemm.Host(gemm.NN, 1, gemm.OnHost(w.s, rows, k1-k0, tileKeys), gemm.OnHost(v[k0*ld+u.head*dv:], k1-k0, dv, ld), 1, gemm.OnHost(w.o, rows, dv, dv))
	}
}

// softmaxRow turns row r of scores into exp(s − max), 0 where query i does not attend to the
// key, after scaling the sums so far to the new maximum.
func (p Params) softmaxRow(w *tile, r, i, k0, k1 int) {
	row := w.s[r*tileKeys : r*tileKeys+k1-k0]
	lo, hi := p.visible(i, k0, k1)
	if lo >= hi {
		clear(row)
		return
	}
	clear(row[:lo])
	clear(row[hi:])
	p.capped(row[lo:hi])
	was := w.max[r]
	now := max(was, simd.Max(row[lo:hi]))
	if now != was {
		shrink := float32(math.Exp(float64(was) - float64(now)))
		w.sum[r] *= float64(shrink)
		simd.Scale(shrink, w.o[r*p.valueDim():(r+1)*p.valueDim()])
		w.max[r] = now
	}
	w.sum[r] += float64(simd.ExpSum(row[lo:hi], row[lo:hi], now))
}

// normalise divides w.o by the rows' sums and stores lse.
func (p Params) normalise(w *tile, u unit, q1 int, lse []float32, t int) {
	group, n, d := p.Heads/p.KVHeads, q1-u.q0, p.valueDim()
	for h := range group {
		for i := range n {
			r := h*n + i
			simd.Scale(float32(1/w.sum[r]), w.o[r*d:(r+1)*d])
			lse[(u.head*group+h)*t+u.q0+i] = float32(float64(w.max[r]) + math.Log(w.sum[r]))
		}
	}
}
