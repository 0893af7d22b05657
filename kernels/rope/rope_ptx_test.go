package rope_test

import (
	"testing"

	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/rope"
)

// TestPTX: the host twin's bits, forward and back, halves and neighbours, with a tail.
func TestPTX(t *testing.T) {
	dev, host := optest.Device(t, 80), optest.CPU(t, 1)
	for _, c := range []struct{ heads, headDim, dim, offset int }{{3, 20, 16, 0}, {2, 64, 64, 0}, {9, 128, 128, 0}, {1, 2, 2, 0}, {3, 20, 8, 12}, {2, 24, 8, 10}} {
		table, err := rope.NewTable(c.dim, 10000, rope.Scaling{Type: "yarn", Factor: 4}, 32)
		if err != nil {
			t.Fatal(err)
		}
		table.Offset = c.offset
		pos := []int32{0, 1, 100, 5, 1023, 17}
		x := optest.Normal(optest.Rand(4), len(pos)*c.heads*c.headDim, 1)
		for _, interleaved := range []bool{false, true} {
			table.Interleaved = interleaved
			for _, inverse := range []bool{false, true} {
				want := append([]float32(nil), x...)
				rope.Apply(host, optest.Dev(want), pos, table, c.heads, c.headDim, inverse)
				got := optest.In(t, dev, x, 1)
				rope.Apply(dev, got, pos, table, c.heads, c.headDim, inverse)
				optest.Same(t, "turned", optest.Out(t, dev, got), want)
			}
		}
	}
}
