package gemm

import (
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/scratch"
)

// A TN product with few columns, as dB of an adapter, is computed as Cᵀ = Bᵀ A: the long side of C
// fills whole tiles then, and A, the larger factor, is read by rows. The bits are the same. A task
// copies its rows of C to a transposed C and back. In float32 six layers' LoRA step (SmolLM2-135M's
// shape, vocabulary 4096, two cores of a Zen 4, 2026-12-01, fastest steps) went from 0.281 to 0.264 and 0.276 s.

const (
	swapColumns     = 16 // columns of C up to which it pays in float32: half a tile of AVX-512
	swapHalfColumns = 32 // and in bf16
)

// transposedProblem is the problem of Cᵀ, but that c and ldc are those of C.
type transposedProblem struct{ problem }

// transposedHalf is transposedProblem in bf16.
type transposedHalf struct{ halfProblem }

// transposedWorkspace is the memory of a task.
type transposedWorkspace struct {
	c    []float32 // Cᵀ
	wide problem
	half halfProblem
}

var (
	transposes          = scratch.NewPool[transposedWorkspace](128)
	transposedCalls     = scratch.NewPool[call[transposedProblem, *transposedProblem]](16)
	transposedHalfCalls = scratch.NewPool[call[transposedHalf, *transposedHalf]](16)
)

// swaps reports whether p, a TN product, is computed as its transpose.
func (p *problem) swaps() bool {
	return p.a.outer == 1 && p.a.step != 1 && p.b.outer == 1 && p.b.tiles == nil && p.n <= swapColumns && p.n < p.m && p.tiles.width() >= 32
}

// runTransposed computes p as its transpose.
func (p *problem) runTransposed(d *cpu.Device) {
	q := transposedProblem{*p}
	q.m, q.n, q.a, q.b = p.n, p.m, p.b, p.a
	runTransposed(d, transposedCalls, q, p.m, p.n, p.k, grain)
}

// runTransposed computes p as its transpose.
func (p *halfProblem) runTransposed(d *cpu.Device) {
	q := transposedHalf{*p}
	q.m, q.n = p.n, p.m
	t := &q.terms[0]
	t.a, t.b = t.b, t.a
	runTransposed(d, transposedHalfCalls, q, p.m, p.n, t.k, halfGrain)
}

// runTransposed computes p, whose C is m x n, in tasks of whole rows.
func runTransposed[P any, M multiplier[P]](d *cpu.Device, pool scratch.Pool[call[P, M]], p P, m, n, k, grain int) {
	by := cut{h: 2 * panelColumns, w: n, grain: grain, b: 64}
	rows, _ := cutGrid(m, n, k, by, d.Threads())
	runGrid(d, pool, p, m, n, by, rows, 1)
}

// multiply computes rows [i0, i1) of C.
func (p *transposedProblem) multiply(i0, i1, _, _ int) {
	w := transposes.Take()
	w.wide, w.c = p.problem, scratch.Sized(w.c, p.m*(i1-i0))
	q := &w.wide
	q.n, q.c, q.ldc, q.b.data = i1-i0, w.c, i1-i0, q.b.data[i0:]
	c := rowsOfC{p.c[i0*p.ldc:], p.ldc, i1 - i0, p.m}
	if p.add {
		c.to(w.c)
	}
	q.multiply(0, q.m, 0, q.n)
	c.from(w.c)
	w.wide = problem{}
	transposes.Give(w)
}

// multiply computes rows [i0, i1) of C.
func (p *transposedHalf) multiply(i0, i1, _, _ int) {
	w := transposes.Take()
	w.half, w.c = p.halfProblem, scratch.Sized(w.c, p.m*(i1-i0))
	q := &w.half
	b := &q.terms[0].b
	q.n, q.c, q.ldc, b.data = i1-i0, w.c, i1-i0, b.data[i0:]
	c := rowsOfC{p.c[i0*p.ldc:], p.ldc, i1 - i0, p.m}
	if p.add {
		c.to(w.c)
	}
	q.multiply(0, q.m, 0, q.n)
	c.from(w.c)
	w.half = halfProblem{}
	transposes.Give(w)
}

// rowsOfC are rows of C.
type rowsOfC struct {
	data           []float32
	ld, rows, cols int
}

// to copies c to t [cols, rows], its transpose.
func (c rowsOfC) to(t []float32) { c.exchange(t, false) }

// from copies the transpose t to c.
func (c rowsOfC) from(t []float32) { c.exchange(t, true) }

// exchange copies squares by vectors, what is left of them one by one.
func (c rowsOfC) exchange(t []float32, back bool) {
	const side = 8 // of the squares that vectors transpose
	rows, cols := c.rows&^(side-1), c.cols&^(side-1)
	if !vectors() || rows == 0 || cols == 0 {
		c.oneByOne(t, 0, 0, back)
		return
	}
	if back {
		for j := 0; j < cols; j += side {
			transpose8(rows/side, &t[j*c.rows], 4*uintptr(c.rows), &c.data[j], 4*uintptr(c.ld))
		}
	} else {
		for i := 0; i < rows; i += side {
			transpose8(cols/side, &c.data[i*c.ld], 4*uintptr(c.ld), &t[i], 4*uintptr(c.rows))
		}
	}
	c.oneByOne(t, rows, cols, back)
}

// oneByOne is exchange of the elements below row rows or right of column cols.
func (c rowsOfC) oneByOne(t []float32, rows, cols int, back bool) {
	for i := range c.rows {
		j := 0
		if i < rows {
			j = cols
		}
		for ; j < c.cols; j++ {
			if back {
				c.data[i*c.ld+j] = t[j*c.rows+i]
			} else {
				t[j*c.rows+i] = c.data[i*c.ld+j]
			}
		}
	}
}
