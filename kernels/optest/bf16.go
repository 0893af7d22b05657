package optest

import (
	"encoding/binary"
	"math"
	"testing"

	"dataflex.dev/dataflex/driver"
)

// Nearest is x rounded to bf16, ties to even; x is finite.
func Nearest(x float32) float32 {
	b := math.Float32bits(x)
	return math.Float32frombits((b + 0x7fff + b>>16&1) &^ 0xffff)
}

// Nearests rounds every element, in a new slice.
func Nearests(x []float32) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = Nearest(v)
	}
	return y
}

// InBF16 copies x, rounded to bf16, to the device, `shift` elements after a 64-byte boundary.
func InBF16(t testing.TB, dev driver.Device, x []float32, shift int) driver.Slice[driver.BF16] {
	t.Helper()
	m, err := dev.Alloc(2 * (len(x) + shift))
	if err != nil {
		t.Fatal(err)
	}
	s := driver.View[driver.BF16](m).Sub(shift, shift+len(x))
	b := make([]byte, 0, 2*len(x))
	for _, v := range x {
		b = binary.LittleEndian.AppendUint16(b, uint16(math.Float32bits(Nearest(v))>>16))
	}
	if len(x) > 0 {
		if err := dev.CopyIn(s.Memory(), b); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// OutBF16 copies a tensor from the device, in float32.
func OutBF16(t testing.TB, dev driver.Device, s driver.Slice[driver.BF16]) []float32 {
	t.Helper()
	half, err := driver.Read(dev, s)
	if err != nil {
		t.Fatal(err)
	}
	x := make([]float32, len(half))
	for i, v := range half {
		x[i] = math.Float32frombits(uint32(v) << 16)
	}
	return x
}

// Rounded checks results in bf16: each may differ from the float64 reference by half a unit
// in the last of bf16's 8 bits, and by what float32 sums add to that: 2^-18 of the largest
// value.
func Rounded(t testing.TB, what string, got []float32, ref []float64) {
	t.Helper()
	if len(got) != len(ref) {
		t.Fatalf("%s: lengths %d and %d", what, len(got), len(ref))
	}
	var top float64
	for _, v := range ref {
		top = max(top, math.Abs(v))
	}
	for i, v := range ref {
		// Written so that a NaN fails.
		if d := math.Abs(float64(got[i]) - v); !(d <= math.Abs(v)*0x1p-8+top*0x1p-18) {
			t.Errorf("%s: element %d is %g, want %g (largest value %.3g)", what, i, got[i], v, top)
			return
		}
	}
}
