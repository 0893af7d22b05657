// Package optest is shared by the tests of the kernels: devices, random tensors, the
// tolerance rule, finite differences, and a plain implementation of each operation.
//
// The plain operations are generic over the float type. In float64 they are the reference;
// in float32 they are the straightforward implementation whose error sets the tolerance.
// They share nothing with the kernels.
package optest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
)

// Float is the precision of a plain operation.
type Float interface{ float32 | float64 }

// Threads are the thread counts under which bits must agree.
var Threads = []int{1, 2, 5}

// CPU returns a host device that is closed when the test ends.
func CPU(t testing.TB, threads int) *cpu.Device {
	d := cpu.New(threads)
	t.Cleanup(func() { d.Close() })
	return d
}

// Rand is a stream of random numbers that is the same in every run.
func Rand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// Normal returns n normal numbers of standard deviation std.
func Normal(r *rand.Rand, n int, std float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(std * r.NormFloat64())
	}
	return x
}

// Segments divides up to maxLen·n tokens into n segments, the first of length 1, and returns
// their starts, and the total.
func Segments(r *rand.Rand, n, maxLen int) []int32 {
	cu := []int32{0, 1}
	for range n - 1 {
		cu = append(cu, cu[len(cu)-1]+1+int32(r.IntN(maxLen)))
	}
	return cu
}

// To converts between precisions.
func To[F, G Float](x []G) []F {
	y := make([]F, len(x))
	for i, v := range x {
		y[i] = F(v)
	}
	return y
}

// Dev wraps a tensor for a kernel's argument.
func Dev(x []float32) driver.F32 { return driver.FromHost(x) }

// Within applies the tolerance rule: the kernel's largest and root mean square errors
// against the float64 reference are at most twice those of the plain float32 implementation,
// with half a unit in the last place of the largest value allowed for both.
func Within(t testing.TB, what string, got, plain []float32, ref []float64) {
	t.Helper()
	if len(got) != len(ref) || len(plain) != len(ref) {
		t.Fatalf("%s: lengths %d, %d, %d", what, len(got), len(plain), len(ref))
	}
	gotMax, gotRMS := Errors(got, ref)
	plainMax, plainRMS := Errors(plain, ref)
	var top float64
	for _, v := range ref {
		top = max(top, math.Abs(v))
	}
	ulp := top * 0x1p-24
	// Written so that a NaN fails both comparisons.
	if !(gotMax <= 2*(plainMax+ulp)) || !(gotRMS <= 2*(plainRMS+ulp)) {
		t.Errorf("%s: error max %.3g rms %.3g, plain float32 has %.3g and %.3g (largest value %.3g)",
			what, gotMax, gotRMS, plainMax, plainRMS, top)
	}
}

// Errors are the largest and the root mean square difference.
func Errors(got []float32, ref []float64) (largest, rms float64) {
	for i, v := range ref {
		d := math.Abs(float64(got[i]) - v)
		if math.IsNaN(d) {
			return d, d
		}
		largest = max(largest, d)
		rms += d * d
	}
	return largest, math.Sqrt(rms / float64(max(1, len(ref))))
}

// Same checks that two tensors have the same bits.
func Same(t testing.TB, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: lengths %d and %d", what, len(got), len(want))
	}
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Errorf("%s: element %d is %v, not %v", what, i, got[i], want[i])
			return
		}
	}
}

// FiniteDifference checks the gradient of f at x, both in float64, by central differences. f
// reads x, which is changed in place and restored.
func FiniteDifference(t testing.TB, what string, f func() float64, x, gradient []float64) {
	t.Helper()
	var top float64
	for _, g := range gradient {
		top = max(top, math.Abs(g))
	}
	for i, v := range x {
		h := 1e-5 * max(1, math.Abs(v))
		x[i] = v + h
		up := f()
		x[i] = v - h
		down := f()
		x[i] = v
		if d := (up - down) / (2 * h); !(math.Abs(d-gradient[i]) <= 1e-6*max(top, 1e-3)) {
			t.Errorf("%s[%d]: gradient %g, finite difference %g", what, i, gradient[i], d)
			return
		}
	}
}

// Inner is Σ x·y: a scalar whose gradient at x is y.
func Inner(x, y []float64) float64 {
	var s float64
	for i, v := range x {
		s += v * y[i]
	}
	return s
}

// Panics checks that f panics with a message.
func Panics(t testing.TB, want string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if r := fmt.Sprint(recover()); r != want {
			t.Errorf("panic %q, want %q", r, want)
		}
	}()
	f()
}
