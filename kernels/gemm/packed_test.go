package gemm

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/optest"
)

func (x matrices) packed(d *cpu.Device) *Packed {
	_, b := x.factors()
	return NewPacked(d, x.tr, b, driver.FromHost(make([]float32, PackedBytes(x.k, x.n)/4)))
}

// TestPacked: products with a packed B, and a branch of low rank beside them, have the bits
// of those with B where it lies, one after the other, on any number of threads.
func TestPacked(t *testing.T) {
	one, two := optest.CPU(t, 1), optest.CPU(t, 2)
	forLevels(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(31, 32))
		for i := range 60 {
			m, n, k, rank := r.IntN(70)+1, r.IntN(90)+1, r.IntN(70)+1, r.IntN(20)+1
			switch i {
			case 0, 1: // several blocks of steps, and of rows
				m, n, k = 300, 50, 1300
			case 2, 3: // more columns than rows
				m, n, k = 3, 2000, 400
			case 4:
				m, n, k, rank = 40, 70, 650, 330
			case 5: // rows whole pages apart
				m, n, k = 30, 200, 1024
			}
			tr := []Transpose{NN, NT}[i%2]
			x, down := randomMatrices(r, tr, m, n, k), randomMatrices(r, tr, m, rank, k)
			up := randomMatrices(r, tr, m, n, rank)
			if i == 5 {
				x.lda = k
			}
			for _, d := range []*cpu.Device{one, two} {
				a, b := x.factors()
				p := x.packed(d)
				want, got := slices.Clone(x.c), slices.Clone(x.c)
				Run(d, tr, x.alpha, a, b, x.beta, x.product(driver.FromHost(want)))
				RunPacked(d, tr, x.alpha, a, p, x.beta, x.product(driver.FromHost(got)))
				optest.Same(t, fmt.Sprint(tr, m, n, k), got, want)

				_, fd := down.factors()
				_, fu := up.factors()
				u, v := slices.Clone(down.c), slices.Clone(down.c)
				Run(d, tr, down.alpha, a, fd, 0, down.product(driver.FromHost(u)))
				Run(d, tr, 1, a, b, x.beta, x.product(driver.FromHost(want)))
				Run(d, tr, up.alpha, down.product(driver.FromHost(u)), fu, 1, x.product(driver.FromHost(want)))
				RunLowRank(d, tr, a, p, LowRank{fd, fu, down.alpha, up.alpha, down.product(driver.FromHost(v))}, x.beta, x.product(driver.FromHost(got)))
				optest.Same(t, fmt.Sprint(tr, m, n, k, " and ", rank), got, want)
				optest.Same(t, "U", v, u)
			}
		}
	})
}

// TestPackedAllocatesNothing: after the first calls.
func TestPackedAllocatesNothing(t *testing.T) {
	d := optest.CPU(t, 2)
	x := randomMatrices(rand.New(rand.NewPCG(7, 8)), NT, 200, 300, 400)
	a, _ := x.factors()
	p := x.packed(d)
	run := func() { RunPacked(d, NT, 1, a, p, 0, x.product(driver.FromHost(x.c))) }
	run()
	if n := testing.AllocsPerRun(20, run); n > 0 {
		t.Errorf("%v allocations per multiplication", n)
	}
}
