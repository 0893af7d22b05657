package gemm

import "dataflex.dev/dataflex/kernels/scratch"

const (
	maxKC = 320  // steps of k per block: a panel of B (20 KiB) and a tile of A fit the first-level cache
	maxNC = 1024 // columns per block: a packed block of B fits the third-level cache

	directA   = 4  // panels below which packing A does not pay
	directB   = 4  // tiles of rows below which packing B does not pay
	rowsFirst = 64 // steps of k up to which C, not B, decides the order of the tiles
)

// problem is one multiplication.
type problem struct {
	tiles   tileSet
	m, n, k int
	alpha   float32
	add     bool // beta is 1
	a, b    operand
	c       []float32
	ldc     int
}

func newProblem(tr Transpose, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c F32) problem {
	p := problem{
		tiles: tiles(), m: c.Rows, n: c.Cols, k: k, alpha: alpha, add: beta == 1,
		a: operand{data: a, outer: lda, step: 1}, b: operand{data: b, outer: 1, step: ldb}, c: c.Data.Host(), ldc: c.Ld,
	}
	switch tr {
	case NT:
		p.b.outer, p.b.step = ldb, 1
	case TN:
		p.a.outer, p.a.step = 1, lda
	}
	return p
}

var workspaces = scratch.NewPool[workspace](128)

// workspace is what one thread packs into.
type workspace struct {
	a, b    []float32
	strip   []float32        // of a B that is read in tiles
	edge    [14 * 32]float32 // a tile that reaches over C's last column
	problem problem
	block   block
}

// multiply computes the rectangle [i0, i1) x [j0, j1) of C on the calling
// goroutine; j0 is a multiple of the panel width.
func (p *problem) multiply(i0, i1, j0, j1 int) {
	if p.k == 0 {
		p.multiplyNothing(i0, i1, j0, j1)
		return
	}
	w := workspaces.Take()
	w.problem = *p
	size := stepsPerBlock(p.k)
	for jc := j0; jc < j1; jc += maxNC {
		for k0 := 0; k0 < p.k; k0 += size {
			w.newBlock(i0, i1, jc, min(jc+maxNC, j1), k0, min(size, p.k-k0)).multiply()
		}
	}
	w.problem, w.block = problem{}, block{}
	workspaces.Give(w)
}

// multiplyNothing is multiply for k = 0.
func (p *problem) multiplyNothing(i0, i1, j0, j1 int) {
	if p.add {
		return
	}
	for i := i0; i < i1; i++ {
		clear(p.c[i*p.ldc+j0 : i*p.ldc+j1])
	}
}

// stepsPerBlock cuts k evenly. It depends on k alone: the order of the sum does.
func stepsPerBlock(k int) int {
	blocks := (k + maxKC - 1) / maxKC
	return ((k+blocks-1)/blocks + 7) &^ 7
}

// block is the part of a problem that is packed at once: rows [i0, i1), columns
// [j0, j1), steps [k0, k0+kc).
type block struct {
	*problem
	w              *workspace
	i0, i1, j0, j1 int
	k0, kc         int
	width          int  // of a panel
	panels         int  // panels of columns
	rowBlocks      int  // blocks of rows
	add            bool // C holds earlier steps or is accumulated to
	packsA         bool
	readsB         bool // B is read where it lies
	byRows         bool // the tiles of a row follow each other, not those of a column
}

// rowsPerBlock is how many rows of A, over kc steps, the second-level cache holds beside a
// panel of B: processors with AVX-512 have 1 MiB of it and more.
func (s tileSet) rowsPerBlock(kc int) int {
	floats := 60 << 10
	if s.width() >= 32 {
		floats = 160 << 10
	}
	return max(floats/kc, s.rows())
}

// cutsRows is what the rows of tasks come in: a tile of AVX-512 is as fast with a row less.
func (s tileSet) cutsRows() int {
	if s.width() >= 32 {
		return 2
	}
	return s.rows()
}

// readsRows says that A's rows are read where they lie. The tiles of AVX-512 gain 3 to 6 % by
// it, unless rows lie whole pages apart: then all of a tile share one set of the first-level
// cache. (AVX2's tiles gained 5 % by the copy, see the package.)
func (s tileSet) readsRows(a operand) bool {
	const page = 1024 // floats
	return s.width() >= 32 && a.step == 1 && a.outer%page != 0
}

func (w *workspace) newBlock(i0, i1, j0, j1, k0, kc int) *block {
	p, b := &w.problem, &w.block
	*b = block{problem: p, w: w, i0: i0, i1: i1, j0: j0, j1: j1, k0: k0, kc: kc, add: p.add || k0 > 0}
	b.width = p.tiles.width()
	b.panels = (j1 - j0 + b.width - 1) / b.width
	most := p.tiles.rowsPerBlock(kc)
	b.rowBlocks = (i1 - i0 + most - 1) / most
	b.packsA = b.panels > directA && !p.tiles.readsRows(p.a)
	b.readsB = p.b.tiles == nil && p.b.outer == 1 && i1-i0 <= directB*p.tiles.rows()
	b.byRows = kc <= rowsFirst
	if b.packsA {
		w.a = scratch.Sized(w.a, (min(most, i1-i0)+p.tiles.rows())*kc+16) // a vector more, which packA may write
	}
	w.b = scratch.Sized(w.b, b.panels*b.width*kc)
	if p.b.tiles != nil && p.b.rows {
		w.strip = scratch.Sized(w.strip, b.width*kc)
	}
	return b
}

func (b *block) multiply() {
	for r := range b.rowBlocks {
		lo, hi := share(b.i1-b.i0, b.tiles.rows(), b.rowBlocks, r)
		b.rows(b.i0+lo, b.i0+hi, r == 0)
	}
}

// rows multiplies rows [lo, hi) with all panels, and packs these the first time.
func (b *block) rows(lo, hi int, first bool) {
	h := b.tiles.rows()
	if b.panels == 1 {
		h = len(b.tiles.fit(b.j1 - b.j0).kernels)
	}
	tiles := (hi - lo + h - 1) / h
	bounds := func(t int) (int, int) { return lo + (hi-lo)*t/tiles, lo + (hi-lo)*(t+1)/tiles }
	if b.packsA {
		for t := range tiles {
			t0, t1 := bounds(t)
			packA(b.w.a[(t0-lo)*b.kc:], b.a, t0, t1, b.k0, b.kc)
		}
	}
	if b.byRows {
		for q := 0; first && q < b.panels; q++ {
			b.pack(q)
		}
		for t := range tiles {
			t0, t1 := bounds(t)
			for q := range b.panels {
				b.tile(lo, t0, t1, q)
			}
		}
		return
	}
	for q := range b.panels {
		if first {
			b.pack(q)
		}
		for t := range tiles {
			t0, t1 := bounds(t)
			b.tile(lo, t0, t1, q)
		}
	}
}

// columns are panel q's.
func (b *block) columns(q int) (lo, hi int) {
	lo = b.j0 + q*b.width
	return lo, min(lo+b.width, b.j1)
}

// panel is where panel q is packed. Where it is used for one block of rows only
// all panels take turns in the same memory, which stays in the cache.
func (b *block) panel(q int) []float32 {
	if b.rowBlocks == 1 && !b.byRows {
		q = 0
	}
	return b.w.b[q*b.width*b.kc:]
}

// pack packs panel q, unless its columns can be read where they are.
func (b *block) pack(q int) {
	lo, hi := b.columns(q)
	t := b.problem.tiles.fit(hi - lo)
	if b.problem.b.tiles != nil {
		decodeB(b.panel(q), t.width, b.problem.b, b.w.strip, lo, hi, b.k0, b.kc)
		return
	}
	if !b.readsB || hi-lo < t.width {
		packB(b.panel(q), t.width, b.problem.b, lo, hi, b.k0, b.kc)
	}
}

// tile computes rows [t0, t1) of panel q; lo is the first row of w.a.
func (b *block) tile(lo, t0, t1, q int) {
	j0, j1 := b.columns(q)
	t := b.tiles.fit(j1 - j0)
	height := t1 - t0
	left, rsa, csa := &b.a.data[t0*b.a.outer+b.k0*b.a.step], b.a.outer, b.a.step
	if b.packsA {
		left = &b.w.a[(t0-lo)*b.kc]
		if rsa, csa = b.kc, 1; b.a.step != 1 {
			rsa, csa = 1, height
		}
	}
	right, rsb := &b.panel(q)[0], t.width
	if b.readsB && j1-j0 == t.width {
		right, rsb = &b.problem.b.data[b.k0*b.problem.b.step+j0], b.problem.b.step
	}
	b.store(&b.w.edge, t, b.kc, factor{left, rsa, csa}, factor{right, rsb, 1}, t0, t1, j0, j1, b.add, right)
}

// factor is where a tile reads A or B: its first element, and how many floats lie between
// the rows and the steps of A, or the steps and the columns of B.
type factor struct {
	at          *float32
	outer, step int
}

// below is f from that row on.
func (f factor) below(row int) factor {
	f.at = at(f.at, 4*uintptr(row*f.outer))
	return f
}

// store computes rows [i0, i1) and columns [j0, j1) of C, which are one tile t, over kc steps;
// what lies from ahead on is read next.
func (p *problem) store(edge *[14 * 32]float32, t *tile, kc int, a, b factor, i0, i1, j0, j1 int, add bool, ahead *float32) {
	run := t.kernels[i1-i0-1]
	rsa, csa, rsb := 4*uintptr(a.outer), 4*uintptr(a.step), 4*uintptr(b.outer)
	if j1-j0 == t.width {
		run(kc, a.at, rsa, csa, b.at, rsb, &p.c[i0*p.ldc+j0], 4*uintptr(p.ldc), p.alpha, add, ahead)
		return
	}
	if add {
		for i := i0; i < i1; i++ {
			copy(edge[(i-i0)*t.width:], p.c[i*p.ldc+j0:i*p.ldc+j1])
		}
	}
	run(kc, a.at, rsa, csa, b.at, rsb, &edge[0], 4*uintptr(t.width), p.alpha, add, ahead)
	for i := i0; i < i1; i++ {
		copy(p.c[i*p.ldc+j0:i*p.ldc+j1], edge[(i-i0)*t.width:])
	}
}
