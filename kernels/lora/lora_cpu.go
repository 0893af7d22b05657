package lora

import (
	"sync"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/gemm"
)

// skinny is the rank up to which dB is formed transposed: u then fills the rows of
// a product instead of half of its 16 columns. Measured on one core of an AVX2
// EPYC at t=1024, out=4864 (best of six, alternating), straight and transposed:
// rank 8 6.7 and 3.6 ms, rank 16 3.6 and 4.3, rank 32 6.3 and 7.9.
const skinny = 8

func forwardCPU(c *cpu.Device, x, a, b driver.F32, scale float32, u, y driver.F32, t, in, out, r int) {
	gemm.Run(c, gemm.NT, t, r, in, 1, x, in, a, in, 0, u, r)
	gemm.Run(c, gemm.NT, t, out, r, scale, u, r, b, r, 1, y, out)
}

func backwardCPU(c *cpu.Device, dy, x, a, b, u driver.F32, scale float32, v, dx, dA, dB driver.F32, t, in, out, r int) {
	gemm.Run(c, gemm.NN, t, r, out, scale, dy, out, b, r, 0, v, r)
	if !dx.IsNil() {
		gemm.Run(c, gemm.NN, t, in, r, 1, v, r, a, in, 1, dx, in)
	}
	if dA.IsNil() {
		return
	}
	gemm.Run(c, gemm.TN, r, in, t, 1, v, r, x, in, 1, dA, in)
	if r > skinny {
		gemm.Run(c, gemm.TN, out, r, t, scale, dy, out, u, r, 1, dB, r)
		return
	}
	w := works.Get().(*work)
	if cap(w.dbT) < r*out {
		w.dbT = make([]float32, r*out)
	}
	dbT := w.dbT[:r*out]
	gemm.Run(c, gemm.TN, r, out, t, scale, u, r, dy, out, 0, driver.FromHost(dbT), out)
	addTransposed(dB.Host(), dbT, out, r)
	works.Put(w)
}

// work is a call's memory: dB transposed.
type work struct{ dbT []float32 }

var works = sync.Pool{New: func() any { return new(work) }}

// addTransposed adds xT [r, out] to dst [out, r].
func addTransposed(dst, xT []float32, out, r int) {
	for o := range out {
		row := dst[o*r : (o+1)*r]
		for j := range row {
			row[j] += xT[j*out+o]
		}
	}
}
