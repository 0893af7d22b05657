package gemm

import (
	"time"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/simd"
)

// ceilingK is the steps of a tile that Ceiling repeats: its operands stay in the first-level
// cache.
const ceilingK = 256

// Peak measures how many floating-point operations a second d's threads reach together in
// float32 multiply-adds that wait for nothing, or 0 at a level without vectors: the best of
// a few short tries.
func Peak(d *cpu.Device) float64 {
	flops, run := vectorPeak(simd.Level())
	if run == nil {
		return 0
	}
	return fastest(d, flops, 1<<20, run)
}

// Ceiling measures how many floating-point operations a second d's threads reach together in
// the largest tile, on operands that stay in the first-level cache: what a product is held
// against. With half it is that of the processor's unit for bf16, or 0 where there is none.
// It is the best of a few short tries: neighbours only slow a machine down.
func Ceiling(d *cpu.Device, half bool) float64 {
	flops, run := floatCeiling()
	if half {
		if halfUnitInUse() == nil {
			return 0
		}
		flops, run = halfCeiling()
	}
	return fastest(d, flops, 400, run)
}

// fastest is the operations a second of the best of a few tries of run on all threads, each
// of them repeats times as many as flops.
func fastest(d *cpu.Device, flops float64, repeats int, run func(n int)) float64 {
	const tries = 8
	best := 0.0
	for range tries {
		start := time.Now()
		d.Parallel(d.Threads(), func(int) { run(repeats) })
		best = max(best, float64(d.Threads()*repeats)*flops/time.Since(start).Seconds())
	}
	return best
}

// floatCeiling is the operations of the tallest float32 tile, and what runs it n times.
func floatCeiling() (flops float64, run func(n int)) {
	s := tiles()
	rows, width := s.rows(), s.width()
	kernel := s[0].kernels[rows-1]
	return 2 * float64(rows*width*ceilingK), func(n int) {
		a, b, c := make([]float32, rows*ceilingK), make([]float32, width*(ceilingK+16)), make([]float32, rows*width)
		for range n {
			kernel(ceilingK, &a[0], 4, 4*uintptr(rows), &b[0], 4*uintptr(width), &c[0], 4*uintptr(width), 1, false, &b[0])
		}
	}
}

func halfCeiling() (flops float64, run func(n int)) {
	unit := halfUnitInUse()
	rows, width := 32, 2*panelColumns
	return 2 * float64(rows*width*ceilingK), func(n int) {
		w := &halfWorkspace{b: make([]uint32, ceilingK/2*width)}
		w.next = w.b
		a := make([]driver.BF16, rows*ceilingK)
		p := halfProblem{unit: unit, m: rows, n: width, alpha: 1, c: make([]float32, rows*width), ldc: width}
		part := halfPart{rows: rows, a: &a[0], lda: 2 * ceilingK}
		for range n {
			unit.multiply(&p, w, part, 0, 0, width, ceilingK, &w.b[0], 4*ceilingK/2*panelColumns, false)
		}
	}
}
