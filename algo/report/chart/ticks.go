package chart

import (
	"fmt"
	"math"
	"strconv"

	"gonum.org/v1/plot"
)

// ticker puts ticks at round numbers, each with a label that reads back as exactly its value:
// with fewer digits two ticks could have the same label.
type ticker struct {
	at  []float64 // positions; nil = at round numbers
	log bool
}

// Ticks returns the ticks between low and high.
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

// round are the multiples of 1, 2 or 5 times a power of ten between low and high, of the
// smallest such step that gives at most seven.
func round(low, high float64) []float64 {
	const most = 7
	if !(high-low > 1e-12*max(math.Abs(low), math.Abs(high))) { // a curve of a single value, which plot widens by one bit: k++ below would not advance
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

// decimal is n·10^e, rounded once: adding 0.1 repeatedly would accumulate binary rounding
// errors in the labels.
func decimal(n float64, e int) float64 {
	v, err := strconv.ParseFloat(fmt.Sprintf("%.0fe%d", n, e), 64)
	if err != nil {
		panic(err) // of a number that was just formatted
	}
	return v + 0 // no negative zero
}

// decades are the powers of ten between low and high; if there are fewer than three, also their
// multiples by two and five.
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
