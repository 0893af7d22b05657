package topk

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
)

func TestKeepsTheSmallestWhateverTheBlocks(t *testing.T) {
	const rows, columns = 7, 500
	r := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, rows*columns)
	for i := range x {
		x[i] = float32(r.IntN(60)) // many equal values
		if r.IntN(20) == 0 {
			x[i] = float32(math.NaN())
		}
	}
	for _, k := range []int{0, 1, 13, 499, 600} {
		for _, block := range []int{1, 7, 64, 500} {
			dev := cpu.New(2)
			b := NewBest(rows, k)
			for first := 0; first < columns; first += block {
				n := min(block, columns-first)
				part := make([]float32, 0, rows*n)
				for i := range rows {
					part = append(part, x[i*columns+first:i*columns+first+n]...)
				}
				b.Keep(dev, driver.FromHost(part), rows, n, first)
			}
			dev.Close()
			for i := range rows {
				if got, want := b.Row(i), sorted(x[i*columns:(i+1)*columns], k); !slices.Equal(got, want) {
					t.Fatalf("k %d, blocks of %d, row %d: %v, want %v", k, block, i, got, want)
				}
			}
		}
	}
}

// sorted returns the k smallest by a full stable sort.
func sorted(x []float32, k int) []Entry {
	var all []Entry
	for j, v := range x {
		if v == v {
			all = append(all, Entry{v, int32(j)})
		}
	}
	slices.SortStableFunc(all, func(a, b Entry) int {
		switch {
		case a.Value < b.Value:
			return -1
		case a.Value > b.Value:
			return 1
		}
		return 0
	})
	return all[:min(k, len(all))]
}

func BenchmarkKeep(b *testing.B) {
	const rows, columns, k = 64, 4096, 1000
	r := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, rows*columns)
	for i := range x {
		x[i] = r.Float32()
	}
	dev := cpu.New(0)
	defer dev.Close()
	b.SetBytes(4 * 4 * rows * columns)
	for b.Loop() {
		best := NewBest(rows, k)
		for first := range 4 {
			best.Keep(dev, driver.FromHost(x), rows, columns, first*columns)
		}
	}
}
