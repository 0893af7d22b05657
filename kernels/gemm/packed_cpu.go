package gemm

import (
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/scratch"
)

const (
	packedFloats = 128 << 10 // floats of A per block: half of a second-level cache of 1 MiB
	packedRows   = 112       // the fewest rows of A per block: with fewer, fetching a panel of B takes longer than using it
)

// packedProblem is C = alpha A B (+ C) with a packed B. With a low-rank branch (up.k > 0) it also
// computes U = A Down, unless down.k = 0 says that U is computed already, and C += U Up.
type packedProblem struct {
	problem
	b        *Packed
	down, up problem
}

var packedWorkspaces = scratch.NewPool[packedWorkspace](128)

// packedWorkspace is what one thread packs into.
type packedWorkspace struct {
	a, down, up []float32
	edge        [14 * 32]float32
	problem     packedProblem
	rows        packedRowsOf
}

// run computes p on dev's threads. Tasks are rows rather than columns of C: the packed B is shared
// by all of them, and a task computes U for its own rows.
func (p *packedProblem) run(dev *cpu.Device) {
	by := cut{p.tiles.cutsRows(), p.tiles.width(), grain, 32, 2}
	rows, columns := cutGrid(p.m, p.n, p.k, by, dev.Threads())
	if columns > 1 && p.down.k > 0 {
		p.down.run(dev)
		p.down.k = 0
	}
	if rows*columns > 1 {
		runGrid(dev, packedCalls, *p, p.m, p.n, by, rows, columns)
		return
	}
	p.multiply(0, p.m, 0, p.n)
}

// multiply computes the rectangle [i0, i1) x [j0, j1) of C, and rows [i0, i1) of U; j0 is a
// multiple of the panel width.
func (p *packedProblem) multiply(i0, i1, j0, j1 int) {
	if p.k == 0 {
		p.multiplyNothing(i0, i1, j0, j1)
		return
	}
	w := packedWorkspaces.Take()
	w.problem = *p
	if p.down.k > 0 {
		w.packDown()
	}
	size := stepsPerBlock(p.k)
	span := max(1, packedFloats/(packedRows*size)) * size
	most := packedFloats / min(span, (p.k+size-1)/size*size)
	blocks := (i1 - i0 + most - 1) / most
	for r := range blocks {
		lo, hi := share(i1-i0, p.tiles.rows(), blocks, r)
		w.rows = packedRowsOf{packedProblem: &w.problem, w: w, lo: i0 + lo, hi: i0 + hi, size: size}
		w.rows.multiply(span, j0, j1)
	}
	w.problem, w.rows = packedProblem{}, packedRowsOf{}
	packedWorkspaces.Give(w)
}

// packDown packs Down, the first factor of the branch, panel by panel, over all steps.
func (w *packedWorkspace) packDown() {
	d := &w.problem.down
	width := d.tiles.width()
	w.down = scratch.Sized(w.down, (d.n+width-1)/width*width*d.k)
	for j := 0; j < d.n; j += width {
		last := min(j+width, d.n)
		packB(w.down[j*d.k:], d.tiles.fit(last-j).width, d.b, j, last, 0, d.k)
	}
}

// packedRowsOf computes rows [lo, hi) of a packedProblem.
type packedRowsOf struct {
	*packedProblem
	w      *packedWorkspace
	lo, hi int
	size   int // steps of a block
	from   int // the first step of those that are packed
}

// multiply computes columns [j0, j1), span steps at a time.
func (r *packedRowsOf) multiply(span, j0, j1 int) {
	width := r.tiles.width()
	for r.from = 0; r.from < r.k; r.from += span {
		to := min(r.k, r.from+span)
		r.packA(to)
		for j := 0; j < r.down.n && r.down.k > 0; j += width {
			r.panel(&r.down, r.w.down[j*r.k:], j, min(j+width, r.down.n), to)
		}
		for j := j0; j < j1; j += width {
			last := min(j+width, j1)
			r.panel(&r.problem, r.b.data[j*r.k:], j, last, to)
			if to == r.k && r.up.k > 0 {
				r.addUp(j, last)
			}
		}
	}
}

// tileRows returns the rows of the t-th of n tiles.
func (r *packedRowsOf) tileRows(t, n int) (i0, i1 int) {
	return r.lo + (r.hi-r.lo)*t/n, r.lo + (r.hi-r.lo)*(t+1)/n
}

func (r *packedRowsOf) tilesOf() int { return (r.hi - r.lo + r.tiles.rows() - 1) / r.tiles.rows() }

// packA packs the steps from r.from to to, block by block, unless the kernels read A unpacked.
func (r *packedRowsOf) packA(to int) {
	if r.tiles.readsRows(r.a) {
		return
	}
	n := r.hi - r.lo
	r.w.a = scratch.Sized(r.w.a, n*(to-r.from))
	for k0 := r.from; k0 < to; k0 += r.size {
		packA(r.w.a[n*(k0-r.from):], r.a, r.lo, r.hi, k0, min(r.size, to-k0))
	}
}

// panel computes columns [j0, j1) of p, over steps r.from to to, from the panel b.
func (r *packedRowsOf) panel(p *problem, b []float32, j0, j1, to int) {
	t, tiles := p.tiles.fit(j1-j0), r.tilesOf()
	for k0 := r.from; k0 < to; k0 += r.size {
		kc := min(r.size, to-k0)
		left := factor{&r.a.data[r.lo*r.a.outer+k0], r.a.outer, 1}
		if !r.tiles.readsRows(r.a) {
			left = factor{&r.w.a[(r.hi-r.lo)*(k0-r.from)], kc, 1}
		}
		right := factor{&b[k0*t.width], t.width, 1}
		next := b[min(k0+kc, len(b)/t.width-1)*t.width:]
		for x := range tiles {
			i0, i1 := r.tileRows(x, tiles)
			ahead := &next[min(kc*t.width*x/tiles, len(next)-1)]
			p.store(&r.w.edge, t, kc, left.below(i0-r.lo), right, i0, i1, j0, j1, p.add || k0 > 0, ahead)
		}
	}
}

// addUp adds U Up to columns [j0, j1) of C while they are in the cache.
func (r *packedRowsOf) addUp(j0, j1 int) {
	p := &r.up
	t, tiles, size := p.tiles.fit(j1-j0), r.tilesOf(), stepsPerBlock(p.k)
	r.w.up = scratch.Sized(r.w.up, t.width*p.k)
	packB(r.w.up, t.width, p.b, j0, j1, 0, p.k)
	for k0 := 0; k0 < p.k; k0 += size {
		kc := min(size, p.k-k0)
		for x := range tiles {
			i0, i1 := r.tileRows(x, tiles)
			p.store(&r.w.edge, t, kc, factor{&p.a.data[i0*p.a.outer+k0], p.a.outer, 1}, factor{&r.w.up[k0*t.width], t.width, 1}, i0, i1, j0, j1, true, &r.w.up[0])
		}
	}
}
