package lora

import (
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/scratch"
)

// skinny is the rank up to which dB is formed transposed: u then fills the rows of
// a product instead of half of its 16 columns. Measured on one core of an AVX2
// EPYC at t=1024, out=4864 (best of six, alternating), straight and transposed:
// rank 8 6.7 and 3.6 ms, rank 16 3.6 and 4.3, rank 32 6.3 and 7.9.
const skinny = 8

func gradientCPU(c *cpu.Device, w Branch, dy, x, u, v gemm.F32) {
	r, out := w.A.Rows, w.B.Rows
	gemm.Run(c, gemm.TN, 1, v, x, 1, w.DA)
	if r > skinny {
		gemm.Run(c, gemm.TN, w.Scale, dy, u, 1, w.DB)
		return
	}
	memory := works.Take()
	memory.dbT = scratch.Sized(memory.dbT, r*out)
	dbT := memory.dbT
	gemm.Run(c, gemm.TN, w.Scale, u, dy, 0, gemm.OnHost(dbT, r, out, out))
	addTransposed(w.DB.Data.Host(), dbT, out, r)
	works.Give(memory)
}

// work is a call's memory: dB transposed.
type work struct{ dbT []float32 }

var works = scratch.NewPool[work](4)

// addTransposed adds xT [r, out] to dst [out, r].
func addTransposed(dst, xT []float32, out, r int) {
	for o := range out {
		row := dst[o*r : (o+1)*r]
		for j := range row {
			row[j] += xT[j*out+o]
		}
	}
}
