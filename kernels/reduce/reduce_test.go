package reduce_test

import (
	"math"
	"testing"

	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/reduce"
)

func TestSumSquares(t *testing.T) {
	r := optest.Rand(1)
	for _, n := range []int{0, 1, 4095, 4097, 100000, 1<<20 + 5000, 3 << 20} {
		x := optest.Normal(r, n, 2)
		// Neumaier's compensated sum is exact to the last bits of float64.
		var sum, lost float64
		for _, v := range x {
			q := float64(v) * float64(v)
			s := sum + q
			lost += q - (s - sum)
			sum = s
		}
		want := sum + lost
		first := reduce.SumSquares(optest.CPU(t, 1), optest.Dev(x))
		if d := math.Abs(first - want); d > 1e-13*want {
			t.Errorf("n=%d: %v, want %v", n, first, want)
		}
		for _, threads := range optest.Threads {
			if got := reduce.SumSquares(optest.CPU(t, threads), optest.Dev(x)); got != first {
				t.Errorf("n=%d, %d threads: %v, one thread %v", n, threads, got, first)
			}
		}
	}
}

func TestElementwise(t *testing.T) {
	r := optest.Rand(2)
	for _, n := range []int{0, 1, 50001} {
		x, y := optest.Normal(r, n, 1), optest.Normal(r, n, 1)
		sum, axpy, scaled := make([]float32, n), make([]float32, n), make([]float32, n)
		axpy64 := make([]float64, n)
		for i := range x {
			sum[i], axpy[i], scaled[i] = y[i]+x[i], y[i]+float32(0.3)*x[i], 0.3*y[i]
			axpy64[i] = float64(y[i]) + float64(float32(0.3))*float64(x[i])
		}
		for _, threads := range optest.Threads {
			dev, f := optest.CPU(t, threads), optest.Dev
			c := append([]float32(nil), y...)
			reduce.Add(dev, f(c), f(x))
			optest.Same(t, "add", c, sum)
			copy(c, y)
			reduce.Axpy(dev, 0.3, f(x), f(c))
			optest.Within(t, "axpy", c, axpy, axpy64)
			copy(c, y)
			reduce.Scale(dev, 0.3, f(c))
			optest.Same(t, "scale", c, scaled)
			reduce.Fill(dev, 7, f(c))
			for i, v := range c {
				if v != 7 {
					t.Fatalf("fill: element %d is %v", i, v)
				}
			}
		}
	}
}

func TestFinite(t *testing.T) {
	dev := optest.CPU(t, 2)
	x := make([]float32, 40000)
	x[7] = math.MaxFloat32
	if !reduce.Finite(dev, optest.Dev(x)) {
		t.Error("the largest float32 is not finite")
	}
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		for _, at := range []int{0, 16384, 39999} {
			was := x[at]
			x[at] = float32(bad)
			if reduce.Finite(dev, optest.Dev(x)) {
				t.Errorf("%v at %d is finite", bad, at)
			}
			x[at] = was
		}
	}
	if !reduce.Finite(dev, optest.Dev(nil)) {
		t.Error("nothing is not finite")
	}
}
