package reduce_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/reduce"
)

func TestPTXSumSquares(t *testing.T) {
	dev, host, r := optest.Device(t, 80), optest.CPU(t, 2), optest.Rand(5)
	for _, n := range []int{0, 1, 4097, 100003, 1<<20 + 5001} {
		x := optest.Normal(r, n, 2)
		want := reduce.SumSquares(host, optest.Dev(x))
		got := reduce.SumSquares(dev, optest.In(t, dev, x, 0))
		if math.Abs(got-want) > 1e-13*want {
			t.Errorf("n=%d: %v, host twin %v", n, got, want)
		}
		if odd := reduce.SumSquares(dev, optest.In(t, dev, x, 3)); odd != got {
			t.Errorf("n=%d: %v unaligned, %v aligned", n, odd, got)
		}
	}
}

// TestPTXSumsOfSquares: for 300 vectors at once, in three times two launches, each sum has
// the bits of that vector alone, that of an empty one is 0.
func TestPTXSumsOfSquares(t *testing.T) {
	dev, r := optest.Sim(t), optest.Rand(9)
	var vectors []driver.F32
	var want []float64
	for i := range 300 {
		n := []int{5000, 1, 0, 20001, 37, 0, 4096}[i%7] / (1 + i/7)
		x := optest.In(t, dev, optest.Normal(r, n, 1), 0)
		vectors, want = append(vectors, x), append(want, reduce.SumSquares(dev, x))
	}
	dev.ResetCounters()
	if got := reduce.SumsOfSquares(dev, vectors...); !slices.Equal(got, want) || got[2] != 0 {
		t.Errorf("%v, want %v", got, want)
	}
	for _, kernel := range []string{"reduce_sum_squares_partial", "reduce_sum_partials"} {
		if n := dev.Total(kernel).Launches; n != 3 {
			t.Errorf("%d launches of %s, want 3", n, kernel)
		}
	}
}

func TestPTXElementwise(t *testing.T) {
	dev, r := optest.Device(t, 80), optest.Rand(6)
	for _, n := range []int{0, 1, 5003} {
		for _, shift := range []int{0, 1} {
			x, y := optest.Normal(r, n, 1), optest.Normal(r, n, 1)
			sum, scaled, axpy := make([]float32, n), make([]float32, n), make([]float32, n)
			for i := range x {
				sum[i], scaled[i] = y[i]+x[i], 0.3*y[i]
				// A float64 product of float32s is exact: one rounding that matters.
				axpy[i] = float32(float64(y[i]) + float64(float32(0.3))*float64(x[i]))
			}
			dx, d := optest.In(t, dev, x, shift), optest.In(t, dev, y, shift)
			reduce.Add(dev, d, dx)
			optest.Same(t, "add", optest.Out(t, dev, d), sum)
			d = optest.In(t, dev, y, shift)
			reduce.Axpy(dev, 0.3, dx, d)
			optest.Same(t, "axpy", optest.Out(t, dev, d), axpy)
			d = optest.In(t, dev, y, shift)
			reduce.Scale(dev, 0.3, d)
			optest.Same(t, "scale", optest.Out(t, dev, d), scaled)
			reduce.Fill(dev, 7, d)
			for i, v := range optest.Out(t, dev, d) {
				if v != 7 {
					t.Fatalf("fill: element %d is %v", i, v)
				}
			}
		}
	}
}

func TestPTXFinite(t *testing.T) {
	dev := optest.Device(t, 80)
	x := make([]float32, 10001)
	x[7] = math.MaxFloat32
	if !reduce.Finite(dev, optest.In(t, dev, x, 0)) {
		t.Error("the largest float32 is not finite")
	}
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		for _, at := range []int{0, 4096, 10000} {
			was := x[at]
			x[at] = float32(bad)
			if reduce.Finite(dev, optest.In(t, dev, x, 0)) {
				t.Errorf("%v at %d is finite", bad, at)
			}
			x[at] = was
		}
	}
}

// TestPTXTraffic: a sum reads its vector once, in full sectors.
func TestPTXTraffic(t *testing.T) {
	dev := optest.Sim(t)
	const n = 1 << 16
	reduce.SumSquares(dev, optest.In(t, dev, make([]float32, n), 0))
	c := dev.Total("reduce_sum_squares_partial")
	if c.Global.LoadBytes != 4*n || c.Global.Units != c.Global.Ideal || c.Conflicts() != 0 {
		t.Errorf("%d bytes loaded, want %d; %d sectors, ideal %d; %d bank conflicts", c.Global.LoadBytes, 4*n, c.Global.Units, c.Global.Ideal, c.Conflicts())
	}
}

// TestPTXClear: 140 vectors of uneven lengths and alignment become 0.
func TestPTXClear(t *testing.T) {
	dev, r := optest.Device(t, 80), optest.Rand(12)
	var vectors []driver.F32
	for i := range 140 {
		vectors = append(vectors, optest.In(t, dev, optest.Normal(r, []int{4096, 0, 4099, 1, 9001}[i%5], 1), i%3))
	}
	reduce.Clear(dev, vectors...)
	for i, v := range vectors {
		optest.Same(t, fmt.Sprint("vector ", i), optest.Out(t, dev, v), make([]float32, v.Len()))
	}
}
