package attention

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/scratch"
	"dataflex.dev/dataflex/kernels/simd"
)

// unitGradients are BackwardBF16's tensors.
type unitGradients struct {
	q, k, v, do           []driver.BF16
	o, lse, dq, dk, dv    []float32
	t                     int
	heads, group, headDim int
}

// backwardUnits gives a task a whole (segment, key/value head), as backwardCPU does. Scores and
// their gradients are computed transposed, keys by queries: their rows are then the left factors
// of dv and dk, and what softmax needs of a query is a vector.
func backwardUnits(c *cpu.Device, p Params, g unitGradients) {
	g.heads, g.group, g.headDim = p.Heads, p.Heads/p.KVHeads, p.HeadDim
	call := works.Take()
	units := call.segmentUnits(p)
	c.Parallel(len(units), func(i int) {
		u, w := units[i], unitTiles.Take()
		for j := u.lo; j < u.hi; j++ {
			at := (j*p.KVHeads + u.head) * p.HeadDim
			clear(g.dk[at : at+p.HeadDim])
			clear(g.dv[at : at+p.HeadDim])
		}
		w.ds, w.tile = scratch.Sized(w.ds, unitKeysBack*unitQueries), [2]int{}
		for q0 := u.lo; q0 < u.hi; q0 += unitQueries {
			for h := u.head * g.group; h < (u.head+1)*g.group; h++ {
				p.backwardHead(w, unit{u.lo, u.hi, u.head, q0}, h, &g)
			}
		}
		unitTiles.Give(w)
	})
	works.Give(call)
}

// backwardHead computes dq of the queries from u.q0 on of head h, and adds their part of dk and
// dv.
func (p Params) backwardHead(w *unitTile, u unit, h int, g *unitGradients) {
	q1 := min(u.hi, u.q0+unitQueries)
	q, do := head(g.q, p.Heads, p.HeadDim, h, u.q0, q1), head(g.do, p.Heads, p.HeadDim, h, u.q0, q1)
	w.forS.Repack(gemm.NT, q)
	w.forK.Repack(gemm.NN, q)
	w.forDP.Repack(gemm.NT, do)
	w.forV.Repack(gemm.NN, do)
	p.rowTermsHalf(w, h, u.q0, q1, g)
	first, last := p.keyRange(u.lo, u.q0, q1)
	for k0 := first; k0 < last; k0 += unitKeysBack {
		k1 := min(last, k0+unitKeysBack)
		p.backwardKeys(w, u, h, q1, k0, k1, g)
		if tile := [2]int{k0, k1}; w.tile != tile { // those of short segments serve all heads
			w.keys.Repack(gemm.NN, head(g.k, p.KVHeads, p.HeadDim, u.head, k0, k1))
			w.tile = tile
		}
		p.backwardQueries(w, u, h, q1, k0, k1, k0 > first, g)
	}
}

// rowTermsHalf computes lse and do·o of a block's queries.
func (p Params) rowTermsHalf(w *unitTile, h, q0, q1 int, g *unitGradients) {
	w.lse, w.delta = scratch.Sized(w.lse, unitQueries), scratch.Sized(w.delta, unitQueries)
	w.row = scratch.Sized(w.row, p.HeadDim)
	clear(w.lse)
	clear(w.delta)
	copy(w.lse, g.lse[h*g.t+q0:h*g.t+q1])
	for i := q0; i < q1; i++ {
		at := (i*p.Heads + h) * p.HeadDim
		simd.Widen(w.row, g.do[at:at+p.HeadDim])
		w.delta[i-q0] = simd.Dot(w.row, p.rowOf(g.o, h, i))
	}
}

// backwardKeys adds the block's part to dk and dv of keys k0 to k1, and leaves the gradients of
// the scores in w.ds [keys, queries].
func (p Params) backwardKeys(w *unitTile, u unit, h, q1, k0, k1 int, g *unitGradients) {
	step, d, n := gemm.MultiplierRows(), p.HeadDim, q1-u.q0
	const ld = unitQueries
	w.s, w.dp, w.p = scratch.Sized(w.s, step*ld), scratch.Sized(w.dp, step*ld), scratch.Sized(w.p, step*ld)
	for j0 := k0; j0 < k1; j0 += step {
		j1 := min(k1, j0+step)
		ds := w.ds[(j0-k0)*ld : (j1-k0)*ld]
		from, _ := p.queriesOf(j0, u.q0, q1)
		_, to := p.queriesOf(j1-1, u.q0, q1)
		if from >= to {
			clear(ds)
			continue
		}
		from, to = from&^(maskedEdge-1), roundUp(to, ld)
		block := gemm.Block{I1: j1 - j0, J0: from, J1: min(to, n), K1: d}
		w.Multiply(gemm.NT, head(g.k, p.KVHeads, d, u.head, j0, j1), &w.forS, false, gemm.OnHost(w.s, j1-j0, ld, ld), block)
		w.Multiply(gemm.NT, head(g.v, p.KVHeads, d, u.head, j0, j1), &w.forDP, false, gemm.OnHost(w.dp, j1-j0, ld, ld), block)
		for j := j0; j < j1; j++ {
			r := (j - j0) * ld
			p.gradientKey(w, w.s[r:r+ld], w.dp[r:r+ld], w.p[r:r+ld], ds[r:r+ld], u, j, q1, from, to)
		}
		block = gemm.Block{I1: j1 - j0, J1: d, K0: from, K1: to}
		left := func(x []driver.BF16) gemm.BF16 { return gemm.Strided(driver.FromHost(x), j1-j0, ld, ld) }
		w.Multiply(gemm.NN, left(w.p), &w.forV, true, head(g.dv, p.KVHeads, d, u.head, j0, j1), block)
		w.Multiply(gemm.NN, left(ds), &w.forK, true, head(g.dk, p.KVHeads, d, u.head, j0, j1), block)
	}
}

// queriesOf is the range of a block's queries q0 to q1 that attend to key j, from 0.
func (p Params) queriesOf(j, q0, q1 int) (lo, hi int) {
	hi = q1
	if p.Window > 0 {
		hi = min(q1, j+p.Window)
	}
	return max(0, j-q0), hi - q0
}

// gradientKey makes of key j's scores and of the gradients of its probabilities those
// probabilities, in columns from to to of pr, and the gradients of the scores, scaled: a row of ds.
func (p Params) gradientKey(w *unitTile, s, dp []float32, pr, ds []driver.BF16, u unit, j, q1, from, to int) {
	const vector = 16
	lo, hi := p.queriesOf(j, u.q0, q1)
	if lo >= hi {
		clear(pr[from:to])
		clear(ds)
		return
	}
	a, b := lo&^(vector-1), (hi+vector-1)&^(vector-1)
	simd.SoftmaxGradients(pr[a:b], ds[a:b], s[a:b], dp[a:b], w.lse[a:b], w.delta[a:b], p.Scale)
	clear(pr[from:lo])
	clear(pr[hi:to])
	if p.Window == 1 {
		hi = lo // with one key p = 1 whatever the score
	} else if j == u.lo && u.q0 == u.lo {
		lo = 1 // likewise the segment's first query
	}
	clear(ds[:lo])
	clear(ds[hi:])
}

// backwardQueries writes or adds what keys k0 to k1 give to dq.
func (p Params) backwardQueries(w *unitTile, u unit, h, q1, k0, k1 int, add bool, g *unitGradients) {
	const ld = unitQueries
	ds := gemm.Strided(driver.FromHost(w.ds), k1-k0, q1-u.q0, ld)
	step := gemm.MultiplierRows()
	for i0 := u.q0; i0 < q1; i0 += step {
		i1 := min(q1, i0+step)
		from, to := p.visibleOf(i0, i1, k0, k1)
		if from >= to {
			if !add {
				p.clearHead(g.dq, h, i0, i1)
			}
			continue
		}
		block := gemm.Block{I0: i0 - u.q0, I1: i1 - u.q0, J1: p.HeadDim, K0: from &^ (maskedEdge - 1), K1: to}
		w.Multiply(gemm.TN, ds, &w.keys, add, head(g.dq, p.Heads, p.HeadDim, h, u.q0, q1), block)
	}
}
