// Package pool reduces every segment of a packed batch's hidden states to one row:
// sentence vectors.
//
// All tensors are float32 and row-major: x [T, d], out [n, d]; segments has n+1 bounds,
// none of them empty. Sums are float64, over a segment's rows in their order, whatever the
// device or the number of threads: the bits are the same everywhere.
//
// Floor: x once, 4 bytes a number.
package pool

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Mean overwrites out with the mean of each segment's rows.
func Mean(dev driver.Device, x driver.F32, segments []int32, out driver.F32, d int) {
	check(x, segments, out, d)
	dispatch.Run(dev, "pool.Mean", func(c *cpu.Device) {
		meanCPU(c, x.Host(), segments, out.Host(), d)
	}, func(c driver.Launcher) {
		launch(c, "pool_mean", x, segments, out, d)
	})
}

// Last overwrites out with the last row of each segment.
func Last(dev driver.Device, x driver.F32, segments []int32, out driver.F32, d int) {
	check(x, segments, out, d)
	dispatch.Run(dev, "pool.Last", func(c *cpu.Device) {
		lastCPU(x.Host(), segments, out.Host(), d)
	}, func(c driver.Launcher) {
		launch(c, "pool_last", x, segments, out, d)
	})
}

func check(x driver.F32, segments []int32, out driver.F32, d int) {
	n := len(segments) - 1
	switch {
	case n < 0 || d < 1 || out.Len() != n*d:
		panic("pool: out is not [segments, d]")
	case segments[0] != 0 || x.Len() != int(segments[n])*d:
		panic("pool: x is not [T, d]")
	}
	for i := range n {
		if segments[i+1] <= segments[i] {
			panic("pool: an empty segment")
		}
	}
}
