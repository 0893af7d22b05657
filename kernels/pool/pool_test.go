package pool_test

import (
	"testing"

	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/pool"
)

// means are the segments' by their definition.
func means[F optest.Float](x []F, segments []int32, d int) []F {
	out := make([]F, (len(segments)-1)*d)
	for i := range len(segments) - 1 {
		for t := segments[i]; t < segments[i+1]; t++ {
			for j := range d {
				out[i*d+j] += x[int(t)*d+j] / F(segments[i+1]-segments[i])
			}
		}
	}
	return out
}

func TestPool(t *testing.T) {
	r := optest.Rand(1)
	dev := optest.Device(t, 80)
	for _, c := range []struct{ n, longest, d, shift int }{{1, 1, 1, 0}, {5, 9, 7, 0}, {3, 6, 516, 0}, {4, 20, 64, 1}, {2, 3, 1100, 0}} {
		segments := optest.Segments(r, c.n, c.longest)
		tokens := int(segments[c.n])
		x := optest.Normal(r, tokens*c.d, 1)
		mean, last := make([]float32, c.n*c.d), make([]float32, c.n*c.d)
		for _, threads := range optest.Threads {
			host := optest.CPU(t, threads)
			pool.Mean(host, optest.Dev(x), segments, optest.Dev(mean), c.d)
			pool.Last(host, optest.Dev(x), segments, optest.Dev(last), c.d)
			optest.Within(t, "mean", mean, means(x, segments, c.d), means(optest.To[float64](x), segments, c.d))
		}
		for i, v := range last {
			if want := x[(int(segments[i/c.d+1])-1)*c.d+i%c.d]; v != want {
				t.Fatalf("last row of segment %d: %v, want %v", i/c.d, v, want)
			}
		}
		in, out := optest.In(t, dev, x, c.shift), optest.In(t, dev, mean, c.shift)
		pool.Mean(dev, in, segments, out, c.d)
		optest.Same(t, "mean on the device", optest.Out(t, dev, out), mean)
		pool.Last(dev, in, segments, out, c.d)
		optest.Same(t, "last on the device", optest.Out(t, dev, out), last)
	}
}

func TestPTXTraffic(t *testing.T) {
	dev := optest.Sim(t)
	const d, rows, n = 1024, 20, 2
	x, out := optest.In(t, dev, make([]float32, rows*d), 0), optest.In(t, dev, make([]float32, n*d), 0)
	pool.Mean(dev, x, []int32{0, 13, rows}, out, d)
	optest.Frugal(t, dev, "pool_mean", 4*(rows+n)*d)
	pool.Last(dev, x, []int32{0, 13, rows}, out, d)
	optest.Frugal(t, dev, "pool_last", 2*4*n*d)
}

func TestPanics(t *testing.T) {
	dev, x := optest.CPU(t, 1), optest.Dev(make([]float32, 6))
	optest.Panics(t, "pool: an empty segment", func() { pool.Mean(dev, x, []int32{0, 3, 3}, optest.Dev(make([]float32, 4)), 2) })
	optest.Panics(t, "pool: x is not [T, d]", func() { pool.Last(dev, x, []int32{0, 2}, optest.Dev(make([]float32, 2)), 2) })
	optest.Panics(t, "pool: out is not [segments, d]", func() { pool.Last(dev, x, []int32{0, 3}, x, 2) })
}
