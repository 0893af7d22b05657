package quant

import (
	"math"
	"slices"
)

// nf4Table and fp4Table are bitsandbytes' (functional.get_4bit_type).
var (
	nf4Table = [tableSize]float32{
		-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0,
		0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
	}
	fp4Table = func() (t [tableSize]float32) {
		for i, x := range []float32{0, 0.0625, 8, 12, 4, 6, 2, 3} {
			t[i] = x / 12
			t[i+8] = 0 - t[i]
		}
		return t
	}()
)

// table is the values of k's codes.
func (k Kind) table() *[tableSize]float32 {
	if k == FP4 {
		return &fp4Table
	}
	return &nf4Table
}

// dynamicMap is the values of 8-bit codes of absmaxes (functional.create_dynamic_map):
// fractions whose number of bits grows with the power of ten, and 0 and 1.
var dynamicMap = func() (m [mapSize]float32) {
	const exponents = 7
	at := 0
	for i := range exponents {
		items := 1<<i + 1
		scale := [exponents]float32{1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1}[i]
		bounds := linspace(0.1, 1, items)
		for j := range items - 1 {
			mean := (bounds[j] + bounds[j+1]) / 2
			m[at], m[at+1] = scale*mean, -scale*mean
			at += 2
		}
	}
	m[at], m[at+1] = 0, 1
	slices.Sort(m[:])
	return m
}()

// linspace is torch's in float32: the second half counts down from the end, and products are
// fused with their sums.
func linspace(from, to float32, n int) []float32 {
	step := float64((to - from) / float32(n-1))
	x := make([]float32, n)
	for i := range x {
		if i < n/2 {
			x[i] = float32(math.FMA(step, float64(i), float64(from)))
		} else {
			x[i] = float32(math.FMA(-step, float64(n-1-i), float64(to)))
		}
	}
	return x
}

// ladder finds the code of a number in [-1, 1]: that of the last step whose lower bound is
// below it. Bounds are the means of adjacent values; a number equal to one gets the lower
// code. Buckets are narrow enough to contain at most one bound.
type ladder struct {
	codes  [tableSize]uint8 // in the order of their values
	bounds [tableSize]float32
	below  [buckets + 1]uint8 // number of bounds in the buckets before
}

const buckets = 4096

func bucket(x float32) int { return int((x + 1) * (buckets / 2)) }

func newLadder(table *[tableSize]float32) *ladder {
	l := &ladder{}
	for i := range l.codes {
		l.codes[i] = uint8(i)
	}
	slices.SortStableFunc(l.codes[:], func(a, b uint8) int {
		switch x, y := table[a], table[b]; {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	for i := range tableSize - 1 {
		l.bounds[i] = (table[l.codes[i]] + table[l.codes[i+1]]) / 2
		for b := bucket(l.bounds[i]) + 1; b <= buckets; b++ {
			l.below[b]++
		}
	}
	l.bounds[tableSize-1] = 2 // above every number
	return l
}

func (l *ladder) code(x float32) uint8 {
	i := l.below[bucket(x)]
	if x > l.bounds[i] {
		i++
	}
	return l.codes[i]
}

var ladders = [...]*ladder{NF4: newLadder(&nf4Table), FP4: newLadder(&fp4Table)}
