package gemm

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
)

// expertRows are experts without rows, with one, with whole tiles and with parts of them.
var expertRows = []int{0, 130, 1, 0, 256, 64}

// expertCase is random products of those experts: own are their matrices, with leading
// dimensions in common, and low those of their branches.
type expertCase struct {
	tr       Transpose
	own, low []matrices
}

// randomExperts has factors in bf16, which both kinds of product take.
func randomExperts(r *rand.Rand, tr Transpose, m, n, k, rank int) expertCase {
	c := expertCase{tr: tr}
	alpha, beta := float32(r.IntN(2))+0.5, float32(r.IntN(2))
	for _, rows := range expertRows {
		shape := [3]int{rows, n, k}
		if tr == TN {
			shape, beta = [3]int{m, n, rows}, 1
		}
		x, low := aligned(r, tr, shape[0], shape[1], shape[2]), aligned(r, tr, shape[0], shape[1], rank)
		x.alpha, x.beta, x.ldc = alpha, beta, n+3
		x.c = normal(r, x.m*x.ldc)
		c.own, c.low = append(c.own, x), append(c.low, low)
	}
	return c
}

// joined are the rows of all experts behind one another.
func joined(list []matrices, part func(matrices) []float32) (all []float32) {
	for _, x := range list {
		all = append(all, part(x)...)
	}
	return all
}

func experts(t *testing.T, dev driver.Device, rows []int) Experts {
	offsets, tiles := []int32{0}, []int32(nil)
	for e, n := range rows {
		first := offsets[e]
		for at := 0; at < n; at += listRows {
			tiles = append(tiles, int32(e), first+int32(at))
		}
		offsets = append(offsets, first+int32(n))
	}
	place := func(x []int32) driver.I32 {
		if dev.Kind() == driver.CPU {
			return driver.FromHost(x)
		}
		mem, err := dev.Alloc(4 * len(x))
		if err == nil {
			err = driver.Upload(dev, driver.View[int32](mem), x)
		}
		if err != nil {
			t.Fatal(err)
		}
		return driver.View[int32](mem)
	}
	return Experts{place(offsets), place(append(tiles, -1, -1, -1, -1))}
}

// onDevice is what a test of products in T needs of a device.
type onDevice[T Element] struct {
	dev  driver.Device
	load func([]float32) driver.Slice[T]
	run  func(tr Transpose, of Experts, alpha float32, a Matrix[T], b []Matrix[T], beta float32, c F32)
	add  func(of Experts, alpha float32, a, b Matrix[T], c []F32)
	one  func(tr Transpose, alpha float32, a, b Matrix[T], beta float32, c F32) // of an expert alone
}

func floatExperts(t *testing.T, dev driver.Device) onDevice[float32] {
	return onDevice[float32]{
		dev, func(x []float32) driver.F32 { return placed(t, dev, x) },
		func(tr Transpose, of Experts, alpha float32, a F32, b []F32, beta float32, c F32) {
			RunExperts(dev, tr, of, alpha, a, b, beta, c)
		},
		func(of Experts, alpha float32, a, b F32, c []F32) { AddExperts(dev, of, alpha, a, b, c) },
		func(tr Transpose, alpha float32, a, b F32, beta float32, c F32) {
			Run(dev, tr, alpha, a, b, beta, c)
		},
	}
}

func halfExperts(t *testing.T, dev driver.Device) onDevice[driver.BF16] {
	return onDevice[driver.BF16]{
		dev, func(x []float32) driver.Slice[driver.BF16] {
			if dev.Kind() == driver.CPU {
				return driver.FromHost(narrow(x))
			}
			return upload(t, dev.(driver.Launcher), x)
		},
		func(tr Transpose, of Experts, alpha float32, a BF16, b []BF16, beta float32, c F32) {
			RunExpertsBF16(dev, tr, of, alpha, a, b, BF16{}, nil, beta, c)
		},
		func(of Experts, alpha float32, a, b BF16, c []F32) { AddExpertsBF16(dev, of, alpha, a, b, c) },
		func(tr Transpose, alpha float32, a, b BF16, beta float32, c F32) {
			RunBF16(dev, tr, alpha, a, b, beta, c)
		},
	}
}

// placed is x on the device.
func placed(t *testing.T, dev driver.Device, x []float32) driver.F32 {
	if dev.Kind() == driver.CPU {
		return driver.FromHost(slices.Clone(x))
	}
	return optest.In(t, dev, x, 0)
}

func fetched(t *testing.T, dev driver.Device, x driver.F32) []float32 {
	out, err := driver.Read(dev, x)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(out)
}

// check runs all experts together and compares with float64, and where bits is set with the
// bits of each expert alone.
func (d onDevice[T]) check(t *testing.T, x expertCase, bits bool) {
	t.Helper()
	of := experts(t, d.dev, expertRows)
	first := x.own[0]
	var results, alone []driver.F32 // of each expert
	whole := func(part func(matrices) []float32, cols, ld int) Matrix[T] {
		all := joined(x.own, part)
		return Strided(d.load(all), len(all)/ld, cols, ld)
	}
	a := func(m matrices) []float32 { return m.a }
	if x.tr == TN {
		b := func(m matrices) []float32 { return m.b }
		var sums []F32
		for _, m := range x.own {
			c := placed(t, d.dev, m.c)
			sums, results = append(sums, m.product(c)), append(results, c)
		}
		d.add(of, first.alpha, whole(a, first.m, first.lda), whole(b, first.n, first.ldb), sums)
	} else {
		var weights []Matrix[T]
		for _, m := range x.own {
			_, b := m.factors()
			weights = append(weights, on(b, d.load(m.b)))
		}
		c := placed(t, d.dev, joined(x.own, func(m matrices) []float32 { return m.c }))
		d.run(x.tr, of, first.alpha, whole(a, first.k, first.lda), weights, first.beta, Strided(c, c.Len()/first.ldc, first.n, first.ldc))
		at := 0
		for _, m := range x.own {
			results, at = append(results, c.Sub(at, at+len(m.c))), at+len(m.c)
		}
	}
	for e, m := range x.own {
		got := fetched(t, d.dev, results[e])
		m.verify(t, got)
		if !bits {
			continue
		}
		fa, fb := m.factors()
		c := placed(t, d.dev, m.c)
		d.one(m.tr, m.alpha, on(fa, d.load(m.a)), on(fb, d.load(m.b)), m.beta, m.product(c))
		alone = append(alone, c)
		optest.Same(t, fmt.Sprintf("%v, expert %d alone", m.tr, e), got, fetched(t, d.dev, alone[e]))
	}
}

var expertShapes = [][3]int{{72, 136, 40}, {5, 3, 70}, {128, 130, 64}, {1, 64, 1}}

// TestExperts: every expert's product, in float32 and in bf16, on the host, by the sm_80
// kernels, which have the bits of an expert alone, and on Hopper.
func TestExperts(t *testing.T) {
	for _, capability := range []int{0, 80, 90} {
		t.Run(fmt.Sprint("sm_", capability), func(t *testing.T) {
			var dev driver.Device = optest.CPU(t, 2)
			if capability > 0 {
				dev = optest.Device(t, capability)
			}
			r := rand.New(rand.NewPCG(71, 72))
			for _, tr := range []Transpose{NN, NT, TN} {
				for _, s := range expertShapes {
					x := randomExperts(r, tr, s[0], s[1], s[2], 8)
					floatExperts(t, dev).check(t, x, true)
					halfExperts(t, dev).check(t, x, capability != 90)
				}
			}
		})
	}
}

// TestExpertsLoRA: with branches, every expert has the bits of its product alone, and the
// host's result is within its error.
func TestExpertsLoRA(t *testing.T) {
	r := rand.New(rand.NewPCG(73, 74))
	for _, dev := range []driver.Device{optest.CPU(t, 2), optest.Device(t, 80)} {
		load := halfExperts(t, dev).load
		for _, tr := range []Transpose{NN, NT} {
			x := randomExperts(r, tr, 0, 136, 40, 12)
			of, first, low := experts(t, dev, expertRows), x.own[0], x.low[0]
			all := func(list []matrices, cols, ld int) BF16 {
				data := joined(list, func(m matrices) []float32 { return m.a })
				return Strided(load(data), len(data)/ld, cols, ld)
			}
			var b, l []BF16
			for e, m := range x.own {
				_, own := m.factors()
				_, other := x.low[e].factors()
				b, l = append(b, on(own, load(m.b))), append(l, on(other, load(x.low[e].b)))
			}
			c := placed(t, dev, joined(x.own, func(m matrices) []float32 { return m.c }))
			RunExpertsBF16(dev, tr, of, 1, all(x.own, first.k, first.lda), b, all(x.low, low.k, low.lda), l, first.beta, Strided(c, c.Len()/first.ldc, first.n, first.ldc))
			got := fetched(t, dev, c)
			for e, m := range x.own {
				a, _ := m.factors()
				u, _ := x.low[e].factors()
				alone := placed(t, dev, m.c)
				RunLoRABF16(dev, tr, on(a, load(m.a)), b[e], on(u, load(x.low[e].a)), l[e], m.beta, m.product(alone))
				optest.Same(t, fmt.Sprintf("%v %v, expert %d", dev.Kind(), tr, e), got[:len(m.c)], fetched(t, dev, alone))
				got = got[len(m.c):]
			}
		}
	}
}

// TestExpertsLaunches: more experts than one launch takes are computed in two.
func TestExpertsLaunches(t *testing.T) {
	dev, r := optest.Sim(t), rand.New(rand.NewPCG(75, 76))
	rows := make([]int, mostExperts+2)
	for e := range rows {
		rows[e] = e % 2
	}
	x := randomMatrices(r, NT, len(rows)/2, 8, 4)
	x.alpha, x.beta, x.lda, x.ldb, x.ldc = 1, 0, 4, 4, 8
	x.c = x.c[:x.m*8]
	c, weights := placed(t, dev, x.c), []F32(nil)
	b := placed(t, dev, x.b[:8*4])
	for range rows {
		weights = append(weights, Dense(b, 8, 4))
	}
	RunExperts(dev, NT, experts(t, dev, rows), 1, Dense(placed(t, dev, x.a[:x.m*4]), x.m, 4), weights, 0, Dense(c, x.m, 8))
	if n := dev.Total("experts_nt").Launches; n != 2 {
		t.Errorf("%d launches, want 2", n)
	}
	x.verify(t, fetched(t, dev, c))
}

func TestExpertsPanics(t *testing.T) {
	dev := optest.CPU(t, 1)
	of, x := experts(t, dev, []int{1}), Dense(driver.FromHost(make([]float32, 4)), 1, 4)
	optest.Panics(t, expertsTN, func() { RunExperts(dev, TN, of, 1, x, []F32{x}, 0, x) })
	optest.Panics(t, notExperts, func() { RunExperts(dev, NT, of, 1, x, []F32{x, x}, 0, x) })
	optest.Panics(t, notExperts, func() { AddExperts(dev, of, 1, x, x, nil) })
}
