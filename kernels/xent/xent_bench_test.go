package xent_test

import (
	"fmt"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/xent"
)

func BenchmarkXent(b *testing.B) {
	for _, c := range []struct{ rows, hidden, vocab int }{{512, 576, 49152}, {128, 896, 32000}, {512, 64, 8192}} {
		x := newProblem(1, xent.Params{Rows: c.rows, Hidden: c.hidden, Vocab: c.vocab}, 0.05)
		for t := range x.targets {
			x.targets[t] = int32(t)
		}
		loss, dh, dw := make([]float32, c.rows), make([]float32, len(x.h)), make([]float32, len(x.w))
		f, none := optest.Dev, driver.F32{}
		product := 2 * float64(c.rows) * float64(c.hidden) * float64(c.vocab)
		dev := optest.CPU(b, 2)
		name := fmt.Sprintf("%dx%dx%d", c.rows, c.hidden, c.vocab)
		b.Run("losses/"+name, func(b *testing.B) {
			for b.Loop() {
				xent.Run(dev, x.p, f(x.h), f(x.w), x.targets, none, f(loss), none, none)
			}
			optest.GFLOPS(b, product)
		})
		b.Run("dh/"+name, func(b *testing.B) {
			for b.Loop() {
				xent.Run(dev, x.p, f(x.h), f(x.w), x.targets, f(x.weight), f(loss), f(dh), none)
			}
			optest.GFLOPS(b, 2*product)
		})
		b.Run("dh+dw/"+name, func(b *testing.B) {
			for b.Loop() {
				xent.Run(dev, x.p, f(x.h), f(x.w), x.targets, f(x.weight), f(loss), f(dh), f(dw))
			}
			optest.GFLOPS(b, 3*product)
		})
	}
}
