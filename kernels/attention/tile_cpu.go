package attention

import (
	"cmp"
	"math"
	"slices"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/scratch"
)

const (
	tileRows = 128 // query rows of a tile, over the query heads of one key/value head
	tileKeys = 256 // keys of a tile
)

// unit is what one task computes: query block q0 of a segment (forward), or all
// of its blocks (backward), for one key/value head.
type unit struct {
	lo, hi, head, q0 int
}

// tile is the memory of a task. Its rows are the queries of one block, head by head: row
// h·n+i is query q0+i of the group's h-th head.
type tile struct {
	q, o, do []float32 // [rows, HeadDim] or, o and do, [rows, ValueDim]
	s, ds    []float32 // [rows, tileKeys]
	max      []float32 // [rows]; the row's lse in backward
	sum      []float64 // [rows]; do·o in backward
}

// work is the memory of a call.
type work struct{ units []unit }

var (
	tiles = scratch.NewPool[tile](128)
	works = scratch.NewPool[work](4)
)

// queries is the number of query positions in a block: fewer when several query
// heads share the keys, since they are stacked into one tile.
func (p Params) queries() int { return max(1, tileRows/(p.Heads/p.KVHeads)) }

// grow makes room for a block of p.
func (w *tile) grow(p Params) {
	rows := p.queries() * (p.Heads / p.KVHeads)
	w.q = scratch.Sized(w.q, rows*p.HeadDim)
	w.o = scratch.Sized(w.o, rows*max(p.HeadDim, p.valueDim())) // dq in backward
	w.do = scratch.Sized(w.do, rows*p.valueDim())
	w.s = scratch.Sized(w.s, rows*tileKeys)
	w.ds = scratch.Sized(w.ds, rows*tileKeys)
	w.max = scratch.Sized(w.max, rows)
	w.sum = scratch.Sized(w.sum, rows)
}

// segmentUnits lists (segment, key/value head) pairs, long segments first so that
// the threads finish together.
func (w *work) segmentUnits(p Params) []unit {
	w.units = w.units[:0]
	for s, lo := range p.Segments[:len(p.Segments)-1] {
		if hi := p.Segments[s+1]; hi > lo {
			for g := range p.KVHeads {
				w.units = append(w.units, unit{lo: int(lo), hi: int(hi), head: g})
			}
		}
	}
	slices.SortStableFunc(w.units, func(a, b unit) int { return cmp.Compare(b.hi-b.lo, a.hi-a.lo) })
	return w.units
}

// blockUnits lists the query blocks of every pair, those with most keys first
// within a pair.
func (w *work) blockUnits(p Params) []unit { return w.blocksOf(p, p.queries()) }

// blocksOf is blockUnits with blocks of n queries.
func (w *work) blocksOf(p Params, n int) []unit {
	pairs := len(w.segmentUnits(p))
	for _, u := range w.units[:pairs] {
		for q0 := (u.hi - u.lo - 1) / n * n; q0 >= 0; q0 -= n {
			w.units = append(w.units, unit{u.lo, u.hi, u.head, u.lo + q0})
		}
	}
	return w.units[pairs:]
}

// keyRange returns the half-open range of keys to which queries q0 … q1-1 attend, starting
// at a tile boundary counted from the segment's start.
func (p Params) keyRange(lo, q0, q1 int) (k0, k1 int) {
	k0 = lo
	if p.Window > 0 {
		k0 += max(0, q0-p.Window+1-lo) / tileKeys * tileKeys
	}
	return k0, q1
}

// visible returns the columns of the tile of keys k0 … k1-1 to which query i attends.
func (p Params) visible(i, k0, k1 int) (lo, hi int) {
	hi = min(k1, i+1) - k0
	if p.Window > 0 {
		lo = max(0, i-p.Window+1-k0)
	}
	return lo, max(lo, hi)
}

// gather copies the heads of one group, d wide, queries q0 … q1-1 of src, into rows.
func (p Params) gather(rows, src []float32, d, head, q0, q1 int) {
	group, n := p.Heads/p.KVHeads, q1-q0
	for h := range group {
		for i := range n {
			at := ((q0+i)*p.Heads + head*group + h) * d
			copy(rows[(h*n+i)*d:(h*n+i+1)*d], src[at:at+d])
		}
	}
}

// scatter is the inverse of gather.
func (p Params) scatter(dst, rows []float32, d, head, q0, q1 int) {
	group, n := p.Heads/p.KVHeads, q1-q0
	for h := range group {
		for i := range n {
			at := ((q0+i)*p.Heads + head*group + h) * d
			copy(dst[at:at+d], rows[(h*n+i)*d:(h*n+i+1)*d])
		}
	}
}

// scores fills w.s with the scores of rows × keys k0 … k1-1 before masking.
func (p Params) scores(w *tile, k []float32, head, rows, k0, k1 int) {
	d, ld := p.HeadDim, p.KVHeads*p.HeadDim
	gemm.Host(gemm.NT, p.Scale, gemm.OnHost(w.q, rows, d, d), gemm.OnHost(k[k0*ld+head*d:], k1-k0, d, ld), 0, gemm.OnHost(w.s, rows, k1-k0, tileKeys))
}

// capped applies SoftCap to a row of scores.
func (p Params) capped(s []float32) {
	if p.SoftCap == 0 {
		return
	}
	c := float64(p.SoftCap)
	for j, x := range s {
		s[j] = float32(c * math.Tanh(float64(x)/c))
	}
}

// parallel runs f on every unit with a tile of memory.
func (p Params) parallel(c *cpu.Device, units []unit, f func(w *tile, u unit)) {
	c.Parallel(len(units), func(i int) {
		w := tiles.Take()
		w.grow(p)
		f(w, units[i])
		tiles.Give(w)
	})
}
