package curriculum

import (
	"math"
	"testing"
)

func TestSameScore(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		score []float64
		n     int
	}{{nil, 0}, {[]float64{0, 0, 0}, 3}, {[]float64{nan, 2, nan, 2}, 2}, {[]float64{0, 0, 1e-300}, 0}, {[]float64{1, 2, 1, 1}, 0}, {[]float64{nan}, 0}} {
		if _, n := sameScore(c.score); n != c.n {
			t.Errorf("%v: %d rows, want %d", c.score, n, c.n)
		}
	}
}
