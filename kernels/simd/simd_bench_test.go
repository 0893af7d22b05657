package simd

import (
	"fmt"
	"testing"
)

func BenchmarkLevels(b *testing.B) {
	const n = 4096
	x, y := make([]float32, n), make([]float32, n)
	for i := range x {
		x[i] = float32(i%13) - 6
	}
	now := Level()
	defer Force(now)
	for _, l := range Levels() {
		Force(l)
		for _, o := range []struct {
			name string
			run  func()
		}{
			{"Axpy", func() { Axpy(1e-9, x, y) }},
			{"Dot", func() { Dot(x, y) }},
			{"Add", func() { Add(y, x, x) }},
			{"SumSquares", func() { SumSquares(x) }},
			{"Max", func() { Max(x) }},
			{"Exp", func() { Exp(y, x) }},
			{"ExpSum", func() { ExpSum(y, x, 6) }},
			{"Silu", func() { Silu(y, x) }},
		} {
			b.Run(fmt.Sprintf("%s/%s", o.name, l), func(b *testing.B) {
				for b.Loop() {
					o.run()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/float")
			})
		}
	}
}
