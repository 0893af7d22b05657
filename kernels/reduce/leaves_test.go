package reduce_test

import (
	"fmt"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/reduce"
)

// TestLeaves: vectors that are cut at blocks of 4096 have, put together again, the sums of
// whole ones to the bit.
func TestLeaves(t *testing.T) {
	r := optest.Rand(17)
	sizes := []int{0, 1, 4096, 4097, 100003, 1<<20 + 5001}
	for name, dev := range map[string]driver.Device{"host": optest.CPU(t, 2), "ptx": optest.Device(t, 80)} {
		var vectors []driver.F32
		var parts [][]float64
		for _, n := range sizes {
			v := optest.In(t, dev, optest.Normal(r, n, 1), 0)
			vectors = append(vectors, v)
			var leaves []float64
			for lo := 0; lo < n; {
				hi := min(n, lo+4096*(1+r.IntN(40)))
				leaves = append(leaves, reduce.Leaves(dev, v.Sub(lo, hi))[0]...)
				lo = hi
			}
			parts = append(parts, leaves)
		}
		together := reduce.Leaves(dev, vectors...)
		if fmt.Sprint(together) != fmt.Sprint(parts) {
			t.Errorf("%s: a part's leaves are not the vector's", name)
		}
		if got, want := reduce.SumOfLeaves(dev, parts...), reduce.SumsOfSquares(dev, vectors...); !slices.Equal(got, want) || len(got) != len(sizes) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
