package gemm

import (
	"dataflex.dev/dataflex/kernels/simd"
)

var (
	tileUnit = &halfUnit{rows: 16, steps: pairStep, multiply: (*halfProblem).multiplyTiles}
	dotUnit  = &halfUnit{rows: 1, steps: 2, joins: true, multiply: (*halfProblem).multiplyDots}
)

// halfUnitInUse is nil where the processor has none.
func halfUnitInUse() *halfUnit {
	switch simd.Unit() {
	case "amx":
		return tileUnit
	case "avx512_bf16":
		return dotUnit
	}
	return nil
}

// tileConfig describes AMX's eight tiles: palette 1, each of 16 rows of 64 bytes.
var tileConfig = func() (c [64]byte) {
	c[0] = 1
	for i := range 8 {
		c[16+2*i], c[48+i] = 64, 16
	}
	return c
}()

type tileKernel func(config *byte, blocks, steps int, a *uint16, lda uintptr, b *uint32, panel uintptr, c *float32, ldc uintptr, add bool)

// tileKernels by rows and columns, in sixteens.
var tileKernels = [2][2]tileKernel{{amx16x16, amx16x32}, {amx32x16, amx32x32}}

// multiplyTiles is the AMX unit. Whole tiles are summed onto C where it lies; where alpha
// is not 1, or C ends within a tile, on a copy.
func (p *halfProblem) multiplyTiles(w *halfWorkspace, part halfPart, i0, j0, j1, kc int, b *uint32, panel uintptr, add bool) {
	steps, wide := padded(kc)/pairStep, 0
	if j1-j0 > panelColumns {
		wide = 1
	}
	rows := part.rows + part.padded
	direct := 0
	if p.alpha == 1 && (j1-j0)%panelColumns == 0 {
		direct = part.rows &^ 15
	}
	if n := direct &^ 31; n > 0 {
		tileKernels[1][wide](&tileConfig[0], n/32, steps, (*uint16)(part.a), part.lda, b, panel, &p.c[i0*p.ldc+j0], 4*uintptr(p.ldc), add)
	}
	if direct%32 > 0 {
		i := direct &^ 31
		tileKernels[0][wide](&tileConfig[0], 1, steps, (*uint16)(below(part.a, uintptr(i)*part.lda)), part.lda, b, panel, &p.c[(i0+i)*p.ldc+j0], 4*uintptr(p.ldc), add)
	}
	for i := direct; i < rows; i += 32 {
		tall := min(2, (rows-i)/16) - 1
		n := min(16*(tall+1), part.rows-i)
		load := add && p.alpha == 1
		if load {
			for r := range n {
				copy(w.edge[r*32:], p.c[(i0+i+r)*p.ldc+j0:(i0+i+r)*p.ldc+j1])
			}
		}
		tileKernels[tall][wide](&tileConfig[0], 1, steps, (*uint16)(below(part.a, uintptr(i)*part.lda)), part.lda, b, panel, &w.edge[0], 4*32, load)
		for r := range n {
			p.takeEdge(p.c[(i0+i+r)*p.ldc+j0:(i0+i+r)*p.ldc+j1], w.edge[r*32:], add)
		}
	}
}

// takeEdge moves a row of sums to C.
func (p *halfProblem) takeEdge(c, sums []float32, add bool) {
	switch {
	case p.alpha == 1:
		copy(c, sums)
	case add:
		for j := range c {
			c[j] += p.alpha * sums[j]
		}
	default:
		for j := range c {
			c[j] = p.alpha * sums[j]
		}
	}
}

type dotKernel func(pairs int, a *uint16, rsa uintptr, b *uint32, panel uintptr, more int, a2 *uint16, rsa2 uintptr, b2 *uint32, panel2 uintptr, c *float32, ldc uintptr, alpha float32, add bool, ahead *uint32)

// dotKernels by panels and rows.
var dotKernels = [2][]dotKernel{
	{d16r1, d16r2, d16r3, d16r4, d16r5, d16r6, d16r7, d16r8, d16r9, d16r10, d16r11, d16r12, d16r13, d16r14},
	{d32r1, d32r2, d32r3, d32r4, d32r5, d32r6, d32r7, d32r8, d32r9, d32r10, d32r11, d32r12, d32r13, d32r14},
}

// multiplyDots is the AVX512-BF16 unit. Every tile fetches its share of the next panels.
func (p *halfProblem) multiplyDots(w *halfWorkspace, part halfPart, i0, j0, j1, kc int, b *uint32, panel uintptr, add bool) {
	pairs, wide := (kc+1)/2, 0
	if j1-j0 > panelColumns {
		wide = 1
	}
	kernels := dotKernels[wide]
	tiles := (part.rows + len(kernels) - 1) / len(kernels)
	for t := range tiles {
		lo, hi := part.rows*t/tiles, part.rows*(t+1)/tiles
		run, a := kernels[hi-lo-1], (*uint16)(below(part.a, uintptr(lo)*part.lda))
		x := &w.second
		var a2 *uint16
		if x.pairs > 0 {
			a2 = (*uint16)(below(x.a, uintptr(i0+lo-w.rows.first)*x.lda))
		}
		ahead := &w.next[min((wide+1)*pairs*panelColumns*t/tiles, len(w.next)-1)]
		if (j1-j0)%panelColumns == 0 {
			run(pairs, a, part.lda, b, panel, x.pairs, a2, x.lda, x.b, x.panel, &p.c[(i0+lo)*p.ldc+j0], 4*uintptr(p.ldc), p.alpha, add, ahead)
			continue
		}
		for i := lo; add && i < hi; i++ {
			copy(w.edge[(i-lo)*32:], p.c[(i0+i)*p.ldc+j0:(i0+i)*p.ldc+j1])
		}
		run(pairs, a, part.lda, b, panel, x.pairs, a2, x.lda, x.b, x.panel, &w.edge[0], 4*32, p.alpha, add, ahead)
		for i := lo; i < hi; i++ {
			copy(p.c[(i0+i)*p.ldc+j0:(i0+i)*p.ldc+j1], w.edge[(i-lo)*32:])
		}
	}
}
