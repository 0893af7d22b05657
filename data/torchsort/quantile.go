package torchsort

import (
	"fmt"
	"math"
	"sort"
)

// Quantile is torch.quantile(values, q) with linear interpolation, in float32 as torch
// computes it; NaN when any value is NaN. It panics on no values or q outside [0, 1].
func Quantile(values []float32, q float64) float32 {
	if len(values) == 0 || !(q >= 0 && q <= 1) {
		panic(fmt.Sprintf("torchsort: Quantile: q %v of %d values", q, len(values)))
	}
	for _, v := range values {
		if v != v {
			return v
		}
	}
	sorted := append([]float32(nil), values...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i] < sorted[j] })
	rank := float32(q) * float32(len(values)-1)
	below := int(rank)
	weight := rank - float32(below)
	lo, hi := sorted[below], sorted[int(math.Ceil(float64(rank)))]
	return lerp(lo, hi, weight)
}

// lerp is torch's interpolation: from the nearer end, with one rounding for product and sum
// together.
func lerp(lo, hi, weight float32) float32 {
	diff := hi - lo
	if weight < 0.5 {
		return fma(weight, diff, lo)
	}
	return fma(weight-1, diff, hi)
}

// fma rounds x*y+z once. The product is exact in float64; rounding the sum to odd there
// keeps the second rounding, to float32, from being a rounding of a rounding.
func fma(x, y, z float32) float32 {
	p := float64(x) * float64(y)
	s := p + float64(z)
	back := s - p
	lost := (p - (s - back)) + (float64(z) - back)
	if b := math.Float64bits(s); lost != 0 && b&1 == 0 && !math.IsInf(s, 0) {
		if (lost > 0) == (s > 0) {
			s = math.Float64frombits(b + 1)
		} else {
			s = math.Float64frombits(b - 1)
		}
	}
	return float32(s)
}
