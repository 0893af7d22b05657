package chart

import (
	"fmt"
	"math"
	"strconv"

	"gonum.org/v1/plot"
)

// ticker puts ticks at round numbers, each with the label that reads back as its
// very value: a label of fewer digits than its tick would show two ticks as one.
type ticker struct {
	at  []float64 // where they stand; nil = at round numbers
	log bool
}

// Ticks are between low and high.
func (t ticker) Ticks(low, high float64) []plot.Tick {
	values := t.at
	switch {
	case values != nil:
	case t.log:
		values = decades(low, high)
	default:
		values = round(low, high)
	}
	out := make([]plot.Tick, len(values))
	for i, v := range values {
		out[i] = plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'g', -1, 64)}
		if a := math.Abs(v); a >= 1e-4 && a < 1e7 {
			out[i].Label = strconv.FormatFloat(v, 'f', -1, 64)
		}
	}
	return out
}

// round are the multiples of 1, 2 or 5 times a power of ten between low and high, of
// the finest such step that gives no more than seven.
func round(low, high float64) []float64 {
	const most = 7
	if !(high-low > 1e-12*max(math.Abs(low), math.Abs(high))) { // a curve of one value, which plot widens by one bit: k++ below would not move
		return []float64{low}
	}
	for e := int(math.Floor(math.Log10(high-low))) - 2; ; e++ {
		for _, m := range []float64{1, 2, 5} {
			step := m * math.Pow10(e)
			first, last := math.Ceil(low/step), math.Floor(high/step)
			if last-first >= most {
				continue
			}
			var out []float64
			for k := first; k <= last; k++ {
				out = append(out, decimal(k*m, e))
			}
			return out
		}
	}
}

// decimal is n·10^e, rounded once: k steps of 0.1 added up would carry digits of
// binary fractions into the labels.
func decimal(n float64, e int) float64 {
	v, err := strconv.ParseFloat(fmt.Sprintf("%.0fe%d", n, e), 64)
	if err != nil {
		panic(err) // of a number that was just written
	}
	return v + 0 // no negative zero
}

// decades are the powers of ten between low and high; where there are fewer than
// three, their double and fivefold too.
func decades(low, high float64) []float64 {
	for _, factors := range [][]float64{{1}, {1, 2, 5}} {
		var out []float64
		for e := int(math.Floor(math.Log10(low))); float64(e) <= math.Log10(high); e++ {
			for _, m := range factors {
				if v := decimal(m, e); v >= low && v <= high {
					out = append(out, v)
				}
			}
		}
		if len(out) >= 3 {
			return out
		}
	}
	return round(low, high)
}
