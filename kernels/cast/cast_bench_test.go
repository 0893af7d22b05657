package cast_test

import (
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/optest"
)

func BenchmarkNarrow(b *testing.B) {
	const n = 1 << 22
	dev, x, y := optest.CPU(b, 1), optest.Normal(optest.Rand(1), n, 1), make([]driver.BF16, n)
	for b.Loop() {
		cast.Narrow(dev, optest.Dev(x), driver.FromHost(y))
	}
	optest.GBs(b, 6*n)
}
