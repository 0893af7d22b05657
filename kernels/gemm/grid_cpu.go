package gemm

import (
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/scratch"
)

// Multiply-adds below which a task is not worth a thread.
const (
	grain     = 1 << 17 // of float32
	halfGrain = 1 << 19 // of bf16
)

// multiplier is C = A B in rectangles of C: *problem, *packedProblem with a
// packed B, or *halfProblem of bf16.
type multiplier[P any] interface {
	*P
	multiply(i0, i1, j0, j1 int) // [i0, i1) x [j0, j1) of C
}

// call is a product cut into a grid of tasks. Calls are used again: run is the method value
// of task, made once.
type call[P any, M multiplier[P]] struct {
	of            P
	m, n          int
	by            cut
	rows, columns int // of the grid
	run           func(i int)
}

var (
	calls       = scratch.NewPool[call[problem, *problem]](16)
	halfCalls   = scratch.NewPool[call[halfProblem, *halfProblem]](16)
	packedCalls = scratch.NewPool[call[packedProblem, *packedProblem]](16)
)

// run computes p on dev's threads.
func (p *problem) run(dev *cpu.Device) {
	by := cut{p.tiles.rows(), p.tiles.width(), grain, 1, 1}
	if rows, columns := cutGrid(p.m, p.n, p.k, by, dev.Threads()); rows*columns > 1 {
		runGrid(dev, calls, *p, p.m, p.n, by, rows, columns)
		return
	}
	p.multiply(0, p.m, 0, p.n)
}

// runGrid computes p, of m x n elements, as rows x columns tasks on dev's threads.
func runGrid[P any, M multiplier[P]](dev *cpu.Device, pool scratch.Pool[call[P, M]], p P, m, n int, by cut, rows, columns int) {
	c := pool.Take()
	if c.run == nil {
		c.run = c.task
	}
	c.of, c.m, c.n, c.by, c.rows, c.columns = p, m, n, by, rows, columns
	dev.Parallel(rows*columns, c.run)
	c.of = *new(P)
	pool.Give(c)
}

// task computes the i-th rectangle of the grid.
func (c *call[P, M]) task(i int) {
	i0, i1 := share(c.m, c.by.h, c.rows, i%c.rows)
	j0, j1 := share(c.n, c.by.w, c.columns, i/c.rows)
	if i0 < i1 && j0 < j1 {
		M(&c.of).multiply(i0, i1, j0, j1)
	}
}

// share cuts n into parts whose ends are multiples of unit.
func share(n, unit, parts, i int) (lo, hi int) {
	units := (n + unit - 1) / unit
	return min(n, units*i/parts*unit), min(n, units*(i+1)/parts*unit)
}

// cut is how a kind of product may be cut into tasks.
type cut struct {
	h, w  int // of a tile of C
	grain int // multiply-adds that are worth a thread
	a, b  int // what packing an element of A costs, and one of B, relative to each other
}

// cutGrid decides in how many parts the rows and the columns of C are cut. Every task packs
// for itself: a cut of the rows packs B once more, a cut of the columns A.
func cutGrid(m, n, k int, by cut, threads int) (rows, columns int) {
	work, h, w := m*n*k, by.h, by.w
	parts := min(threads, work/by.grain)
	if parts <= 1 {
		return 1, 1
	}
	if work/by.grain >= 16*threads {
		parts = 2 * threads // so that a thread that lost its core costs less
	}
	best := 0
	for r := 1; r <= parts; r++ {
		c := (parts + r - 1) / r
		if r > (m+h-1)/h || c > (n+w-1)/w {
			continue
		}
		if cost := by.a*m*c + by.b*n*r; best == 0 || cost < best {
			best, rows, columns = cost, r, c
		}
	}
	if best == 0 { // too small to fill them all
		return min(parts, (m+h-1)/h), min(parts, (n+w-1)/w)
	}
	return rows, columns
}
