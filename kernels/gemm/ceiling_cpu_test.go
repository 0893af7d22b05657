package gemm

import (
	"testing"

	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/simd"
)

// TestCeiling: there is one for float32, beside the peak of vectors, and for bf16 where the processor has a unit.
func TestCeiling(t *testing.T) {
	dev := optest.CPU(t, 2)
	if Ceiling(dev, false) <= 0 {
		t.Error("no operations in float32")
	}
	if got := Peak(dev); (got > 0) != (vectorTiles(simd.Level()) != nil) {
		t.Errorf("a peak of %g operations at level %s", got, simd.Level())
	}
	if got := Ceiling(dev, true); (got > 0) != (simd.Unit() != "") {
		t.Errorf("%g operations in bf16 with the unit %q", got, simd.Unit())
	}
}
