package gemm

import (
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/scratch"
)

// The smallest task that is worth a thread, in multiply-adds.
const (
	grain     = 1 << 17 // float32
	halfGrain = 1 << 19 // bf16
)

// multiplier computes a product one rectangle of C at a time: *problem in float32,
// *packedProblem with a packed B, *halfProblem in bf16, *transposedProblem and *transposedHalf
// as the transpose.
type multiplier[P any] interface {
	*P
	multiply(i0, i1, j0, j1 int) // rows [i0, i1) and columns [j0, j1) of C
}

// call is a product divided into a grid of tasks. Calls are pooled, so that run, the method value
// of task, is allocated once.
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
	if p.swaps() {
		p.runTransposed(dev)
		return
	}
	by := cut{p.tiles.cutsRows(), p.tiles.width(), grain, 96, 64} // a step of full fine-tuning is slower with 8 and 8
	if p.tiles.readsRows(p.a) {
		by.a = 1
	}
	if rows, columns := cutGrid(p.m, p.n, p.k, by, dev.Threads()); rows*columns > 1 {
		runGrid(dev, calls, *p, p.m, p.n, by, rows, columns)
		return
	}
	p.multiply(0, p.m, 0, p.n)
}

// runGrid computes p, whose C is m x n, as rows x columns tasks on dev's threads.
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

// task computes the i-th rectangle of the grid. Rectangles are numbered by rows first, so that a
// thread gets the rows that it also has in other loops and finds them in its cache.
func (c *call[P, M]) task(i int) {
	i0, i1 := share(c.m, c.by.h, c.rows, i/c.columns)
	j0, j1 := share(c.n, c.by.w, c.columns, i%c.columns)
	if i0 < i1 && j0 < j1 {
		M(&c.of).multiply(i0, i1, j0, j1)
	}
}

// share returns the i-th of parts ranges that cover [0, n); they begin at multiples of unit.
func share(n, unit, parts, i int) (lo, hi int) {
	units := (n + unit - 1) / unit
	return min(n, units*i/parts*unit), min(n, units*(i+1)/parts*unit)
}

// cut says how a kind of product may be divided into tasks.
type cut struct {
	h, w  int // tasks begin at multiples of h rows and of w columns
	grain int // the smallest task that is worth a thread, in multiply-adds
	a, b  int // the cost of packing and fetching an element of A, and of B, in multiply-adds
}

// cutGrid returns into how many parts the rows and the columns of C are divided: the grid that
// minimises the work of the busiest thread, where every task packs and fetches its own operands.
func cutGrid(m, n, k int, by cut, threads int) (rows, columns int) {
	worth := min(m*n*k/by.grain, 4*threads)
	if min(worth, threads) <= 1 {
		return 1, 1
	}
	rows, columns, best := 1, 1, 0
	heights, widths := (m+by.h-1)/by.h, (n+by.w-1)/by.w
	for r := 1; r <= min(worth, heights); r++ {
		for c := 1; c <= min(worth/r, widths); c++ {
			h, w := (heights+r-1)/r*by.h, (widths+c-1)/c*by.w
			task := h*w + by.a*h + by.b*w
			// A part of a task is added for threads that start late or lose their core.
			if cost := task*((r*c+threads-1)/threads) + task/8; best == 0 || cost < best {
				best, rows, columns = cost, r, c
			}
		}
	}
	return rows, columns
}
