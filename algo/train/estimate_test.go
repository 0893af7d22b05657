package train

import (
	"math"
	"testing"
)

func TestSpan(t *testing.T) {
	for seconds, want := range map[float64]string{
		0.0123: "0.012 s", 40: "40 s", 119: "119 s", 120: "2 min", 7199: "120 min", 7200: "2 h", 172799: "48 h", 412 * 86400: "412 days", 86400 * 3.5: "3.5 days",
	} {
		if got := span(seconds); got != want {
			t.Errorf("%v s is %q, want %q", seconds, got, want)
		}
	}
	if round(0) != 0 || round(85.4) != 85 || math.Abs(round(0.01234)-0.012) > 1e-12 || round(1234) != 1200 {
		t.Error(round(85.4), round(0.01234), round(1234))
	}
}
