package gemm

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
)

// peak measures the floor of this machine and level: GFLOP/s of the tallest tile
// on operands that stay in the first-level cache. The machine is shared, so it
// is the best of a few tries.
func peak() float64 {
	s := tiles()
	rows, width := s.rows(), s.width()
	const k, times = 256, 2000
	a, b, c := make([]float32, rows*k), make([]float32, width*(k+16)), make([]float32, rows*width)
	run := s[0].kernels[rows-1]
	best := 0.0
	for range 3 {
		start := time.Now()
		for range times {
			run(k, &a[0], 4, 4*uintptr(rows), &b[0], 4*uintptr(width), &c[0], 4*uintptr(width), 1, false, &b[0])
		}
		best = max(best, 2*float64(rows*width*k*times)/time.Since(start).Seconds()/1e9)
	}
	return best
}

var benchmarks = []struct {
	tr      Transpose
	m, n, k int
}{
	{NT, 512, 1536, 576},
	{NN, 512, 576, 1536},
	{NT, 512, 576, 576},
	{NT, 512, 192, 576},
	{NT, 128, 1536, 576},
	{NN, 1024, 1024, 1024},
	{TN, 576, 1536, 512},
	{NT, 512, 8192, 576}, // dW, a chunk of the head
	{NT, 512, 8, 576},
	{NT, 512, 16, 576},
	{NT, 512, 64, 576},
	{NT, 512, 16, 1536}, // LoRA: x A^T
	{NT, 512, 576, 8},
	{NT, 512, 1536, 16},
	{NN, 512, 576, 16},
	{NN, 512, 576, 64}, // u B^T, v A
	{NN, 512, 16, 576}, // dy B
	{TN, 8, 576, 512},
	{TN, 16, 576, 512},
	{TN, 16, 1536, 512},
	{TN, 1536, 16, 512},
	{TN, 576, 8, 512}, // dA, dB
	{NT, 1, 1536, 576},
	{NT, 4, 1536, 576},
	{NN, 1, 1536, 576},
	{NN, 4, 576, 1536},
	{NT, 64, 64, 64},
	{NN, 64, 64, 64},
}

func BenchmarkRun(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, s := range benchmarks {
		x := randomMatrices(r, s.tr, s.m, s.n, s.k)
		_, colsA, _, colsB := x.stored()
		x.lda, x.ldb, x.ldc = colsA, colsB, s.n
		fa, fb := x.factors()
		fc := x.product(driver.FromHost(x.c))
		for _, threads := range []int{1, 2} {
			b.Run(fmt.Sprintf("%v_%dx%dx%d/threads=%d", s.tr, s.m, s.n, s.k, threads), func(b *testing.B) {
				dev := cpu.New(threads)
				defer dev.Close()
				floor := peak() // now: the machine is shared
				best := time.Duration(1 << 62)
				for b.Loop() {
					start := time.Now()
					Run(dev, x.tr, 1, fa, fb, 0, fc)
					best = min(best, time.Since(start))
				}
				floor = max(floor, peak())
				rate := 2 * float64(s.m*s.n*s.k) / best.Seconds() / 1e9
				b.ReportMetric(rate, "GFLOP/s(best)")
				b.ReportMetric(100*rate/floor/float64(threads), "%peak")
			})
		}
	}
}
