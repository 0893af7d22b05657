package rope_test

import (
	"fmt"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/rope"
)

// TestHalf: the results are those of the float32 kernel on the same numbers, rounded, forth
// and back, for halves of heads and neighbours, and for heads that keep a tail.
func TestHalf(t *testing.T) {
	for _, dev := range []driver.Device{optest.CPU(t, 2), optest.Device(t, 80)} {
		r := optest.Rand(4)
		for _, c := range []struct {
			dim, headDim int
			interleaved  bool
		}{{64, 64, false}, {128, 128, false}, {12, 16, false}, {64, 64, true}} {
			table, err := rope.NewTable(c.dim, 1e4, rope.Scaling{}, 64)
			if err != nil {
				t.Fatal(err)
			}
			table.Interleaved = c.interleaved
			const tokens, heads = 5, 9
			pos := []int32{0, 7, 3, 40, 1}
			x := optest.Nearests(optest.Normal(r, tokens*heads*c.headDim, 1))
			for _, inverse := range []bool{false, true} {
				wide := append([]float32(nil), x...)
				host := optest.CPU(t, 1)
				rope.Apply(host, optest.Dev(wide), pos, table, heads, c.headDim, inverse)
				got := optest.InBF16(t, dev, x, 0)
				rope.ApplyBF16(dev, got, pos, table, heads, c.headDim, inverse)
				optest.Same(t, fmt.Sprint(dev.Kind(), c, inverse), optest.OutBF16(t, dev, got), optest.Nearests(wide))
			}
		}
	}
	odd, err := rope.NewTable(6, 1e4, rope.Scaling{}, 64)
	if err != nil {
		t.Fatal(err)
	}
	if odd.Half(6) {
		t.Error("planes of three elements turn in pairs")
	}
}

// TestHalfTraffic: every element is read and written once, in full sectors; and the eight
// warps of a block read its token's cosines and sines.
func TestHalfTraffic(t *testing.T) {
	dev := optest.Sim(t)
	table, err := rope.NewTable(128, 1e4, rope.Scaling{}, 64)
	if err != nil {
		t.Fatal(err)
	}
	const heads, tokens = 32, 4
	n := tokens * heads * 128
	rope.ApplyBF16(dev, optest.InBF16(t, dev, make([]float32, n), 0), make([]int32, tokens), table, heads, 128, false)
	optest.Frugal(t, dev, "rope_apply_half", uint64(2*2*n+8*tokens*2*64*4))
}
