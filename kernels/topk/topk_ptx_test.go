package topk

import (
	"math"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/optest"
)

// TestPTX compares with a full sort, over blocks of any width, with many equal values, NaN,
// infinities and zeros of both signs.
func TestPTX(t *testing.T) {
	const rows = 4
	dev, r := optest.Device(t, 80), optest.Rand(3)
	for _, c := range []struct{ columns, block, k int }{
		{700, 700, 13}, {700, 300, 1}, {700, 300, 699}, {700, 256, 900}, {5, 5, 0}, {9000, 9000, 70}, {1, 1, 1}, {3000, 1000, 300},
	} {
		x := optest.Normal(r, rows*c.columns, 1)
		for i := range x {
			switch r.IntN(8) {
			case 0:
				x[i] = float32(r.IntN(5) - 2)
			case 1:
				x[i] = float32(math.Copysign(0, float64(x[i])))
			case 2:
				x[i] = []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), 1e-42}[r.IntN(4)]
			}
		}
		for i := range c.columns { // a row without a number, and one of a single value
			x[i], x[c.columns+i] = float32(math.NaN()), -3
		}
		b := NewBest(rows, c.k)
		for first := 0; first < c.columns; first += c.block {
			n := min(c.block, c.columns-first)
			var part []float32
			for i := range rows {
				part = append(part, x[i*c.columns+first:][:n]...)
			}
			b.Keep(dev, optest.In(t, dev, part, 0), rows, n, first)
		}
		for i := range rows {
			if got, want := b.Row(i), sorted(x[i*c.columns:(i+1)*c.columns], c.k); !slices.Equal(got, want) {
				t.Fatalf("%+v, row %d: %v, want %v", c, i, got, want)
			}
		}
	}
}

// TestPTXBlock: exactly a block's own k smallest are returned, in any order of the warps.
func TestPTXBlock(t *testing.T) {
	const rows, columns, k = 2, 1000, 50
	x := optest.Normal(optest.Rand(4), rows*columns, 1)
	for seed := range uint64(3) {
		dev := sim.New(sim.Options{Unwritten: true, GlobalRaces: true, Seed: seed})
		b := NewBest(rows, k)
		values, places, counts := b.smallest(dev, optest.In(t, dev, x, 0).Addr(), rows, columns, columns)
		for i := range rows {
			row := x[i*columns : (i+1)*columns]
			if counts[i] != k || !slices.IsSorted(places[i*k:(i+1)*k]) {
				t.Fatalf("%d entries in columns %v", counts[i], places[i*k:(i+1)*k])
			}
			for _, e := range sorted(row, k) {
				if j := slices.Index(places[i*k:(i+1)*k], e.Column); j < 0 || values[i*k+j] != e.Value {
					t.Fatalf("%v is missing", e)
				}
			}
		}
		dev.Close()
	}
}

func TestPTXTraffic(t *testing.T) {
	const rows, columns, k = 4, 4096, 64
	dev := optest.Sim(t)
	x := optest.Normal(optest.Rand(5), rows*columns, 1)
	NewBest(rows, k).Keep(dev, optest.In(t, dev, x, 0), rows, columns, 0)
	c := dev.Last()
	// The row, and what is kept: its value is read again, and both are written, in separate
	// sectors.
	if least, n := uint64(4*rows*columns), 32*c.Global.Units; n < least || n > least+rows*(3*32*k+64) {
		t.Errorf("%d bytes moved, a row's floor is %d", n, least)
	}
}
