package peak

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/gemm"
)

// share is the number of floats per task.
const share = 1 << 16

func parallel(d *cpu.Device, n int, f func(lo, hi int)) {
	d.Parallel((n+share-1)/share, func(i int) { f(i*share, min(n, (i+1)*share)) })
}

func copyCPU(d *cpu.Device, src, dst []float32) {
	parallel(d, len(src), func(lo, hi int) { copy(dst[lo:hi], src[lo:hi]) })
}

// The halving is exact, so that the sum is
// rounded once, as the GPU's fused operation rounds it.
func multiplyCPU(d *cpu.Device, x, y []float32, steps int) {
	parallel(d, len(x), func(lo, hi int) {
		for i, v := range x[lo:hi] {
			s := y[lo+i]
			for range steps {
				s = s*0.5 + v
			}
			y[lo+i] = s
		}
	})
}

func productsCPU(d *cpu.Device, a, b []driver.BF16, c []float32, steps int) {
	x, y := cast.Widened(d, a, nil), cast.Widened(d, b, nil)
	d.Parallel(len(c)/(M*N), func(i int) {
		tile := c[i*M*N : (i+1)*M*N]
		clear(tile)
		for range steps {
			gemm.Host(gemm.NT, 1, gemm.OnHost(x, M, K, K), gemm.OnHost(y, N, K, K), 1, gemm.OnHost(tile, M, N, N))
		}
	})
}
