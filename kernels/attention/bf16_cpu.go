package attention

import (
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/scratch"
	"dataflex.dev/dataflex/kernels/simd"
)

// On a processor with a unit for bf16, attention's seven products run on it, as on tensor cores:
// operands in bf16, p and ds among them, sums in float32. Queries, keys, values and
// gradients are read and results written where they lie: a head's rows are as far apart as the
// tensor is wide. Every product is cut into blocks of rows, which leave out the steps and columns
// that the mask hides.
//
// Segment, key/value head and queries decide the order of every sum, so that bits depend on
// neither batch nor threads.
//
// In a LoRA step (SmolLM2-135M's shape, 4 x 128 tokens, two cores of a Zen 4, pprof, 2026-11-30) it is
// 7 % of the processor time, 0.12 s of 1.70; in float32 on widened copies it was 11 %, 0.20 s. Its
// products alone would take 0.04 s at the unit's peak.

const (
	unitKeys     = tileKeys // keys of a tile, forward
	unitKeysBack = 128      // and backward
	unitQueries  = 128      // queries of a block, backward
	unitRows     = 256      // rows of a block, forward, over the heads that share the keys
	maskedEdge   = 32       // columns and steps that products compute beyond the mask, at most: a step of AMX
)

// onUnits reports whether the processor's unit for bf16 computes p. The others, and SoftCap, are
// computed in float32.
func (p Params) onUnits() bool {
	return simd.Unit() != "" && p.SoftCap == 0 && p.HeadDim <= gemm.MultiplierSteps
}

// unitTile is the memory of a task.
type unitTile struct {
	gemm.Multiplier
	s, dp       []float32     // [rows of a block, columns of a tile]
	p, ds       []driver.BF16 // likewise; backward ds [keys of a tile, unitQueries]
	keys        gemm.Panels   // forward K for S, backward K for dq
	tile        [2]int        // the first of keys, and the first after them; backward
	values      gemm.Panels
	forS, forK  gemm.Panels // backward: a head's queries, for the transposed S and for dk
	forDP, forV gemm.Panels // and the gradients of its outputs, for that of p and for dv
	rows        []unitRow   // [heads, queries of a block] forward
	lse, delta  []float32   // [unitQueries]
	row         []float32   // a row of do in float32
}

// unitRow is the softmax of a query so far: the largest score, and the sums of e^(score − top),
// exact and of what it was rounded to. o is divided by the latter, so that its weights sum to one;
// lse is exact.
type unitRow struct{ top, sum, rounded float32 }

var unitTiles = scratch.NewPool[unitTile](128)

// head is the rows lo to hi of a head of x [T, heads*d].
func head[T gemm.Element](x []T, heads, d, h, lo, hi int) gemm.Matrix[T] {
	return gemm.Strided(driver.FromHost(x[(lo*heads+h)*d:]), hi-lo, d, heads*d)
}

// roundUp is n filled up to a multiple of maskedEdge, at most most.
func roundUp(n, most int) int { return min((n+maskedEdge-1)&^(maskedEdge-1), most) }

// unitBlock is the number of queries of a forward block: their heads together are about unitRows.
func (p Params) unitBlock() int {
	n := unitRows * p.KVHeads / p.Heads
	return max(maskedEdge, n&^(maskedEdge-1))
}

// forwardUnits computes o and lse with the processor's unit for bf16.
func forwardUnits(c *cpu.Device, p Params, q, k, v []driver.BF16, o, lse []float32, t int) {
	call := works.Take()
	n := p.unitBlock()
	units := call.blocksOf(p, n)
	c.Parallel(len(units), func(i int) {
		u, w := units[i], unitTiles.Take()
		q1 := min(u.hi, u.q0+n)
		first, last := p.keyRange(u.lo, u.q0, q1)
		group := p.Heads / p.KVHeads
		w.rows = scratch.Sized(w.rows, group*n)
		for r := range w.rows {
			w.rows[r] = unitRow{top: float32(math.Inf(-1))}
		}
		for k0 := first; k0 < last; k0 += unitKeys {
			k1 := min(last, k0+unitKeys)
			w.keys.Repack(gemm.NT, head(k, p.KVHeads, p.HeadDim, u.head, k0, k1))
			w.values.Repack(gemm.NN, head(v, p.KVHeads, p.HeadDim, u.head, k0, k1))
			for h := range group {
				p.forwardHead(w, q, o, u, u.head*group+h, q1, k0, k1, k0 > first, w.rows[h*n:])
			}
		}
		for h := range group {
			p.normaliseHead(o, lse, u.head*group+h, u.q0, q1, t, w.rows[h*n:])
		}
		unitTiles.Give(w)
	})
	works.Give(call)
}

// forwardHead adds keys k0 to k1 to the unnormalised outputs of head h's queries u.q0 to q1.
func (p Params) forwardHead(w *unitTile, q []driver.BF16, o []float32, u unit, h, q1, k0, k1 int, add bool, rows []unitRow) {
	step, d, m := gemm.MultiplierRows(), p.HeadDim, k1-k0
	edge := (m + maskedEdge - 1) &^ (maskedEdge - 1)
	w.s, w.p = scratch.Sized(w.s, step*edge), scratch.Sized(w.p, step*edge)
	for i0 := u.q0; i0 < q1; i0 += step {
		i1 := min(q1, i0+step)
		from, to := p.visibleOf(i0, i1, k0, k1)
		if from >= to {
			if !add { // none of these keys: o begins with zeros
				p.clearHead(o, h, i0, i1)
			}
			continue
		}
		from, to = from&^(maskedEdge-1), roundUp(to, edge)
		block := gemm.Block{I1: i1 - i0, J0: from, J1: min(to, m), K1: d}
		scores := gemm.OnHost(w.s, i1-i0, edge, edge)
		w.Multiply(gemm.NT, head(q, p.Heads, d, h, i0, i1), &w.keys, false, scores, block)
		for i := i0; i < i1; i++ {
			r := (i - i0) * edge
			p.softmaxHalf(w.s[r:r+edge], w.p[r:r+edge], o, h, i, k0, k1, from, to, &rows[i-u.q0])
		}
		probabilities := gemm.Strided(driver.FromHost(w.p), i1-i0, edge, edge)
		w.Multiply(gemm.NN, probabilities, &w.values, add, head(o, p.Heads, d, h, i0, i1), gemm.Block{I1: i1 - i0, J1: d, K0: from, K1: to})
	}
}

// visibleOf is the columns of the tile of keys k0 to k1 to which any of queries i0 to i1 attends.
func (p Params) visibleOf(i0, i1, k0, k1 int) (lo, hi int) {
	lo, _ = p.visible(i0, k0, k1)
	return lo, min(k1, i1) - k0
}

func (p Params) clearHead(o []float32, h, i0, i1 int) {
	for i := i0; i < i1; i++ {
		clear(p.rowOf(o, h, i))
	}
}

// rowOf is query i's row of head h of o.
func (p Params) rowOf(o []float32, h, i int) []float32 {
	at := (i*p.Heads + h) * p.HeadDim
	return o[at : at+p.HeadDim]
}

// softmaxHalf makes of a query's scores s probabilities, relative to their largest so far, in
// columns from to to of pr, and scales the sums and o to a new largest.
func (p Params) softmaxHalf(s []float32, pr []driver.BF16, o []float32, h, i, k0, k1, from, to int, row *unitRow) {
	const vector = 16
	lo, hi := p.visible(i, k0, k1)
	if lo >= hi {
		clear(pr[from:to])
		return
	}
	a, b := lo&^(vector-1), (hi+vector-1)&^(vector-1)
	masked := float32(math.Inf(-1)) // whole vectors are computed; e^-Inf is 0
	for j := a; j < lo; j++ {
		s[j] = masked
	}
	for j := hi; j < b; j++ {
		s[j] = masked
	}
	if now := p.Scale * simd.Max(s[a:b]); now > row.top {
		if row.sum > 0 {
			shrink := float32(math.Exp(float64(row.top) - float64(now)))
			row.sum *= shrink
			row.rounded *= shrink
			simd.Scale(shrink, p.rowOf(o, h, i))
		}
		row.top = now
	}
	clear(pr[from:a])
	sum, rounded := simd.ExpSumHalf(pr[a:b], s[a:b], p.Scale, -row.top)
	row.sum += sum
	row.rounded += rounded
	if b < to {
		clear(pr[b:to])
	}
}

// normaliseHead divides the rows of o by their sums and stores lse.
func (p Params) normaliseHead(o, lse []float32, h, q0, q1, t int, rows []unitRow) {
	for i := q0; i < q1; i++ {
		row := rows[i-q0]
		simd.Scale(1/row.rounded, p.rowOf(o, h, i))
		lse[h*t+i] = float32(float64(row.top) + math.Log(float64(row.sum)))
	}
}
