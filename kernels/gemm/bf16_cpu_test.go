package gemm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/simd"
)

// forUnits runs a test with every unit of this machine, and without one at every level.
func forUnits(t *testing.T, f func(t *testing.T)) {
	level, unit := simd.Level(), simd.Unit()
	defer func() {
		simd.Force(level)
		simd.ForceUnit(unit)
	}()
	for _, u := range simd.Units() {
		simd.ForceUnit(u)
		t.Run(u, f)
	}
	simd.ForceUnit("")
	for _, l := range simd.Levels() {
		simd.Force(l)
		t.Run(l, f)
	}
}

func (x matrices) runBF16Host(dev driver.Device) []float32 {
	c := slices.Clone(x.c)
	a, b := x.factors()
	RunBF16(dev, x.tr, x.alpha, on(a, driver.FromHost(narrow(x.a))), on(b, driver.FromHost(narrow(x.b))), x.beta, x.product(driver.FromHost(c)))
	return c
}

func TestBF16OnTheHost(t *testing.T) {
	host := optest.CPU(t, 2)
	forUnits(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(9, 10))
		for _, tr := range []Transpose{NN, NT, TN} {
			for _, s := range [][3]int{{1, 1, 1}, {5, 130, 33}, {32, 32, 32}, {16, 48, 64}, {33, 40, 0}, {64, 64, 2080}, {300, 16, 70}, {130, 300, 330}} {
				x := aligned(r, tr, s[0], s[1], s[2])
				x.verify(t, x.runBF16Host(host))
			}
		}
		for i := range 120 {
			x := aligned(r, Transpose(i%3), r.IntN(70)+1, r.IntN(70)+1, r.IntN(140))
			x.verify(t, x.runBF16Host(host))
		}
	})
}

// TestBF16HostBits: a row, and a column, has the same bits alone or among others, on one
// thread or several.
func TestBF16HostBits(t *testing.T) {
	one, three := optest.CPU(t, 1), optest.CPU(t, 3)
	forUnits(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(17, 18))
		for i, s := range [][3]int{{140, 150, 200}, {67, 24, 1100}, {200, 30, 77}, {16, 260, 31}} {
			for _, tr := range []Transpose{NN, NT, TN} {
				x := aligned(r, tr, s[0], s[1], s[2])
				x.alpha = []float32{1, -1.75}[i%2]
				want := x.runBF16Host(one)
				optest.Same(t, "on three threads", x.runBF16Host(three), want)
				row, few := x, x
				row.m, row.c = 1, x.c[8*x.ldc:]
				if tr == TN {
					row.a = x.a[8:]
				} else {
					row.a = x.a[8*x.lda:]
				}
				optest.Same(t, tr.String()+", a row alone", row.runBF16Host(one)[:x.n], want[8*x.ldc:][:x.n])
				few.n = 11
				for i, v := range few.runBF16Host(one) {
					if i%x.ldc < few.n && v != want[i] {
						t.Fatalf("%v: element %d differs in a narrower product", tr, i)
					}
				}
			}
		}
	})
}

// TestBF16HostWidened: where no unit is used the bits are those of the float32 product.
func TestBF16HostWidened(t *testing.T) {
	unit := simd.Unit()
	defer simd.ForceUnit(unit)
	simd.ForceUnit("")
	host, r := optest.CPU(t, 2), rand.New(rand.NewPCG(19, 20))
	for i := range 30 {
		x := aligned(r, Transpose(i%3), r.IntN(70)+1, r.IntN(70)+1, r.IntN(70))
		optest.Same(t, x.tr.String(), x.runBF16Host(host), x.run(host))
	}
}

// TestBF16HostSpecial: NaN and Inf go where they must, and what lies beside the factors in
// memory goes nowhere.
func TestBF16HostSpecial(t *testing.T) {
	host, nan := optest.CPU(t, 1), float32(math.NaN())
	forUnits(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(21, 22))
		for _, tr := range []Transpose{NN, NT, TN} {
			x := aligned(r, tr, 21, 19, 35)
			rowsA, colsA, rowsB, colsB := x.stored()
			for i := range rowsA {
				for j := colsA; j < x.lda; j++ {
					x.a[i*x.lda+j] = nan
				}
			}
			for i := range rowsB {
				for j := colsB; j < x.ldb; j++ {
					x.b[i*x.ldb+j] = nan
				}
			}
			x.verify(t, x.runBF16Host(host))
			x.a[0], x.beta = nan, 0
			for i, v := range x.runBF16Host(host) {
				if row, column := i/x.ldc, i%x.ldc; column < x.n && (v != v) != (row == 0) {
					t.Fatalf("%v: element %d,%d is %v with a NaN in row 0 of A", tr, row, column, v)
				}
			}
		}
	})
}

// TestPanels: products with a packed B have the bits of those with B where it lies.
func TestPanels(t *testing.T) {
	host := optest.CPU(t, 2)
	for _, u := range simd.Units() {
		t.Run(u, func(t *testing.T) {
			defer simd.ForceUnit(simd.Unit())
			simd.ForceUnit(u)
			r := rand.New(rand.NewPCG(27, 28))
			for i := range 40 {
				tr := []Transpose{NN, NT}[i%2]
				x, rank := aligned(r, tr, r.IntN(70)+1, r.IntN(90)+1, r.IntN(70)+1), r.IntN(20)
				if i < 4 {
					x = aligned(r, tr, 40, 50, 2300)
				}
				branch := aligned(r, tr, x.m, x.n, rank)
				a, b := x.factors()
				fu, fl := branch.factors()
				h := func(m F32, v []float32) BF16 { return on(m, driver.FromHost(narrow(v))) }
				ha, hb, hu, hl := h(a, x.a), h(b, x.b), h(fu, branch.a), h(fl, branch.b)
				p := Pack(host, tr, hb, driver.FromHost(make([]uint32, PanelBytes(x.k, x.n)/4)))
				want, got := slices.Clone(x.c), slices.Clone(x.c)
				RunBF16(host, tr, x.alpha, ha, hb, x.beta, x.product(driver.FromHost(want)))
				RunPanels(host, tr, x.alpha, ha, p, x.beta, x.product(driver.FromHost(got)))
				optest.Same(t, fmt.Sprint(tr, x.m, x.n, x.k), got, want)
				RunLoRABF16(host, tr, ha, hb, hu, hl, x.beta, x.product(driver.FromHost(want)))
				RunLoRAPanels(host, tr, ha, p, hu, hl, x.beta, x.product(driver.FromHost(got)))
				optest.Same(t, fmt.Sprint(tr, x.m, x.n, x.k, " and ", rank), got, want)
			}
		})
	}
}

func BenchmarkBF16Host(b *testing.B) {
	for _, s := range []struct {
		tr      Transpose
		m, n, k int
	}{{NT, 512, 1536, 576}, {NT, 512, 576, 1536}, {NN, 512, 576, 1536}, {NN, 512, 1536, 576}, {NT, 512, 576, 576}, {NT, 512, 192, 576}, {NT, 512, 16, 576}, {TN, 16, 1536, 512}, {TN, 1536, 16, 512}, {TN, 576, 1536, 512}, {NT, 512, 8192, 576}, {NN, 512, 576, 8192}, {NT, 1, 1536, 576}} {
		x := aligned(rand.New(rand.NewPCG(1, 2)), s.tr, s.m, s.n, s.k)
		x.alpha, x.beta = 1, 0
		fa, fb := x.factors()
		ha, hb := on(fa, driver.FromHost(narrow(x.a))), on(fb, driver.FromHost(narrow(x.b)))
		c := Dense(driver.FromHost(make([]float32, s.m*s.n)), s.m, s.n)
		for _, threads := range []int{1, 2} {
			dev := cpu.New(threads)
			b.Run(fmt.Sprintf("%v %dx%dx%d/threads=%d", s.tr, s.m, s.n, s.k, threads), func(b *testing.B) {
				best := math.Inf(1)
				for b.Loop() {
					best = min(best, seconds(func() { RunBF16(dev, s.tr, 1, ha, hb, 0, c) }))
				}
				b.ReportMetric(2*float64(s.m)*float64(s.n)*float64(s.k)/best/1e9, "GFLOP/s-best")
			})
			if s.tr != TN && len(simd.Units()) > 0 {
				p := Pack(dev, s.tr, hb, driver.FromHost(make([]uint32, PanelBytes(s.k, s.n)/4)))
				b.Run(fmt.Sprintf("packed %v %dx%dx%d/threads=%d", s.tr, s.m, s.n, s.k, threads), func(b *testing.B) {
					best := math.Inf(1)
					for b.Loop() {
						best = min(best, seconds(func() { RunPanels(dev, s.tr, 1, ha, p, 0, c) }))
					}
					b.ReportMetric(2*float64(s.m)*float64(s.n)*float64(s.k)/best/1e9, "GFLOP/s-best")
				})
			}
			dev.Close()
		}
	}
}

func seconds(f func()) float64 {
	start := time.Now()
	f()
	return time.Since(start).Seconds()
}
