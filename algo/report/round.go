package report

import (
	"math"
	"strconv"
)

// Round is Python's round(x, digits) for digits >= 0: correctly rounded decimal,
// ties to even of the exact binary value.
func Round(x float64, digits int) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return x
	}
	r, err := strconv.ParseFloat(strconv.FormatFloat(x, 'f', digits, 64), 64)
	if err != nil {
		panic(err) // FormatFloat's output always parses
	}
	return r
}
