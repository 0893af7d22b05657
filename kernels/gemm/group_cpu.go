package gemm

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/scratch"
	"dataflex.dev/dataflex/kernels/simd"
)

// groupRows is the memory of a result in float32 before it is rounded.
type groupRows struct{ c []float32 }

var groupResults = scratch.NewPool[groupRows](2)

func (s *Sum) runCPU(d *cpu.Device, tr Transpose) {
	m, n := s.shape()
	c, add := s.F32, s.Add
	if !s.Half.IsNil() {
		w := groupResults.Take()
		defer groupResults.Give(w)
		w.c = scratch.Sized(w.c, m*n)
		c = Dense(driver.FromHost(w.c), m, n)
	}
	for _, p := range s.Pairs {
		k := depth(tr, p.A, p.B, 0, c)
		var beta float32
		if add {
			beta = 1
		}
		runBF16CPU(d, tr, s.Alpha, k, 0, p.A, p.B, BF16{}, BF16{}, nil, beta, c)
		add = true
	}
	data := c.Data.Host()
	for i := range m {
		row := data[i*c.Ld : i*c.Ld+n]
		if !s.Bias.IsNil() {
			simd.Axpy(1, s.Bias.Host(), row)
		}
		if !s.Half.IsNil() {
			cast.NarrowHost(row, s.Half.Data.Host()[i*s.Half.Ld:i*s.Half.Ld+n])
		}
	}
}
