package rope_test

import (
	"testing"

	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/rope"
)

func BenchmarkApply(b *testing.B) {
	const t, heads, d = 2048, 14, 64
	x := optest.Normal(optest.Rand(1), t*heads*d, 1)
	pos := make([]int32, t)
	for i := range pos {
		pos[i] = int32(i)
	}
	table, err := rope.NewTable(d, 10000, rope.Scaling{}, t)
	if err != nil {
		b.Fatal(err)
	}
	dev := optest.CPU(b, 2)
	for b.Loop() {
		rope.Apply(dev, optest.Dev(x), pos, table, heads, d, false)
	}
	optest.GBs(b, 2*4*t*heads*d)
}
