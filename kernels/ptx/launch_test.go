package ptx_test

import (
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/plan"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/norm"
	"dataflex.dev/dataflex/kernels/rope"
)

// TestLaunchesAllocateNothing: on the way from a contract to the device nothing is
// allocated, tensor maps, uploads and scratch memory included.
func TestLaunchesAllocateNothing(t *testing.T) {
	dev := plan.New(sim.New(sim.Options{Capability: 90, Units: 132}))
	floats := func(n int) driver.F32 {
		m, err := dev.Alloc(4 * n)
		if err != nil {
			t.Fatal(err)
		}
		return driver.View[float32](m)
	}
	half := func(rows, cols int) gemm.BF16 {
		m, err := dev.Alloc(2 * rows * cols)
		if err != nil {
			t.Fatal(err)
		}
		return gemm.Dense(driver.View[driver.BF16](m), rows, cols)
	}
	const rows, d, r = 512, 256, 16
	x, w, y, rstd := floats(rows*d), floats(d), floats(rows*d), floats(rows)
	a, b, u, l := half(rows, d), half(d, d), half(rows, r), half(d, r)
	table, err := rope.NewTable(64, 1e4, rope.Scaling{}, rows)
	if err != nil {
		t.Fatal(err)
	}
	pos := make([]int32, rows)
	for i := range pos {
		pos[i] = int32(i)
	}
	for name, launch := range map[string]func(){
		"norm":            func() { norm.Forward(dev, x, w, 1e-5, y, rstd, d) },
		"norm's gradient": func() { norm.Backward(dev, y, x, w, rstd, y, w, d) },
		"product": func() {
			gemm.Run(dev, gemm.TN, 1, gemm.Dense(x, rows, d), gemm.Dense(y, rows, d), 1, gemm.Dense(x, d, d))
		},
		"product and branch": func() { gemm.RunLoRABF16(dev, gemm.NT, a, b, u, l, 0, gemm.Dense(y, rows, d)) },
		"rope":               func() { rope.Apply(dev, x, pos, table, 4, 64, false) },
	} {
		if n := testing.AllocsPerRun(20, launch); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
