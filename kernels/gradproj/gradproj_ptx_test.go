package gradproj

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/plan"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/optest"
)

// onDevice copies the factors.
func (p pair) onDevice(t *testing.T, dev driver.Launcher, from, to int) Factors {
	f := p.factors(from, to)
	for _, x := range []*driver.F32{&f.X, &f.U, &f.DY, &f.V} {
		*x = optest.In(t, dev, x.Host(), 0)
	}
	return f
}

// runPTX is run on the interpreter.
func runPTX(t *testing.T, dev driver.Launcher, p *Projection, pairs []pair, adam bool, from, to int) ([]float32, []float64) {
	t.Helper()
	out, norm := optest.In(t, dev, make([]float32, (to-from)*p.Dim()), 0), make([]float64, to-from)
	for i, pr := range pairs {
		var a *Adam
		if adam {
			a = testAdam(rand.New(rand.NewPCG(7, uint64(i))), pr.size())
			a.M, a.V = optest.In(t, dev, a.M.Host(), 0), optest.In(t, dev, a.V.Host(), 0)
		}
		p.Accumulate(dev, pr.onDevice(t, dev, from, to), a, out, norm)
	}
	return optest.Out(t, dev, out), norm
}

// eachDevice runs a test with the sm_80 and with the sm_90a kernels.
func eachDevice(t *testing.T, f func(t *testing.T, dev driver.Launcher)) {
	t.Run("sm_80", func(t *testing.T) { f(t, optest.Device(t, 80)) })
	t.Run("sm_90a", func(t *testing.T) { f(t, optest.Device(t, 90)) })
}

// TestPTXSigns: R is the host twin's, entry for entry.
func TestPTXSigns(t *testing.T) {
	eachDevice(t, func(t *testing.T, dev driver.Launcher) {
		const dim, total = 300, 1 << 20
		p := mustNew(t, Rademacher, dim, total, Options{})
		for _, row := range []int{0, 1, 8, 15, 63, 64, 127, 128, 16383, 16384, 1<<20 - 1} {
			out, norm := optest.In(t, dev, make([]float32, dim), 0), 0.0
			p.Dense(dev, optest.In(t, dev, []float32{1}, 0), row, nil, out, &norm)
			for c, v := range optest.Out(t, dev, out) {
				if want := float32(entry(Rademacher, 42, dim, 0, row, c)); v != want {
					t.Fatalf("row %d, column %d: %v, want %v", row, c, v, want)
				}
			}
			if norm != 1 {
				t.Errorf("row %d: square norm %v", row, norm)
			}
		}
	})
}

// shapes are pairs that take every way through the kernels that form gradients: narrow and
// wide tiles, ranks beyond a tile, rows on and off 16 bytes and on and off groups of 16.
func shapes() map[string][]pair {
	r := rand.New(rand.NewPCG(13, 14))
	return map[string][]pair{
		"off 16 bytes":   {newPair(r, 270, 37, 5, 1600, 5, 0, 17, 2), newPair(r, 33, 270, 5, 19, 5, 0, 17, 2)},
		"rank 16":        {newPair(r, 272, 64, 16, 128, 3, 0, 33, 1), newPair(r, 32, 288, 16, 128+272*16+64*16, 3, 0, 33, 1)},
		"rank 40":        {newPair(r, 148, 136, 40, 1000, 17, 2, 5, 16)},
		"rank 33, off 4": {newPair(r, 130, 30, 33, 3, 17, 1, 1, 18)},
	}
}

// total is the length of the flattened gradient that ends with the pairs.
func total(pairs []pair) int {
	n := 0
	for _, p := range pairs {
		n = max(n, p.offset+p.size())
	}
	return n
}

// TestPTXGradients: raw gradients and Adam directions, in float32 and rounded, like the
// host twin's; a sample's bits do not depend on the batch.
func TestPTXGradients(t *testing.T) {
	dev := optest.Device(t, 80)
	for name, pairs := range shapes() {
		for _, opt := range []Options{{}, {Float16: true}, {BF16: true}} {
			for _, adam := range []bool{false, true} {
				p, n := mustNew(t, None, 0, total(pairs), opt), len(pairs[0].segments)-1
				want, wantNorm := run(t, p, 2, pairs, adam, 0, n)
				got, norm := runPTX(t, dev, p, pairs, adam, 0, n)
				what := fmt.Sprintf("%s, %+v, adam %v", name, opt, adam)
				// A product's last bits may turn a rounding over.
				tolerance := 2e-6
				switch {
				case opt.Float16:
					tolerance = 1e-3
				case opt.BF16:
					tolerance = 8e-3
				}
				closeTo(t, what, got, optest.To[float64](want), tolerance)
				for i := range norm {
					if !(math.Abs(norm[i]-wantNorm[i]) <= tolerance*wantNorm[i]) {
						t.Errorf("%s: square norm %d is %v, host twin %v", what, i, norm[i], wantNorm[i])
					}
				}
				if !adam {
					continue
				}
				alone, aloneNorm := runPTX(t, dev, p, pairs, adam, 2, 3)
				optest.Same(t, what+" alone", alone, got[2*p.Dim():3*p.Dim()])
				if aloneNorm[0] != norm[2] {
					t.Errorf("%s: square norm alone %v, in the batch %v", what, aloneNorm[0], norm[2])
				}
			}
		}
	}
}

// TestPTX: projections like the host twin's; a sample's bits do not depend on the batch.
func TestPTX(t *testing.T) {
	eachDevice(t, func(t *testing.T, dev driver.Launcher) {
		r := rand.New(rand.NewPCG(17, 18))
		for _, c := range []struct {
			pairs []pair
			opt   Options
		}{
			{[]pair{newPair(r, 37, 60, 5, signRows-200, 3, 0, 17, 1), newPair(r, 9, 20, 5, 0, 3, 0, 17, 1)}, Options{}},
			{[]pair{newPair(r, 16, 24, 16, 128, 3, 0, 17, 1)}, Options{Float16: true}},
			{[]pair{newPair(r, 13, 7, 33, 3, 3, 0, 17, 1)}, Options{BF16: true}},
		} {
			p, n := mustNew(t, Rademacher, 40, total(c.pairs), c.opt), len(c.pairs[0].segments)-1
			want, _ := run(t, p, 2, c.pairs, true, 0, n)
			got, _ := runPTX(t, dev, p, c.pairs, true, 0, n)
			what, tolerance := fmt.Sprintf("%+v", c.opt), 2e-6
			if c.opt.Float16 || c.opt.BF16 {
				tolerance = 1e-3
			}
			closeTo(t, what, got, optest.To[float64](want), tolerance)
			alone, _ := runPTX(t, dev, p, c.pairs, true, 2, 3)
			optest.Same(t, what+" alone", alone, got[2*p.Dim():3*p.Dim()])
		}
	})
}

// TestPTXEveryForm: gradients of a rank beyond 16, and gradients that exist already, on
// their way to every kind of product and rounding, like the host twin's.
func TestPTXEveryForm(t *testing.T) {
	dev, host := optest.Device(t, 80), optest.CPU(t, 2)
	r := rand.New(rand.NewPCG(19, 20))
	pairs := []pair{newPair(r, 20, 12, 33, 5, 3, 0, 4)}
	size := pairs[0].size()
	g := normal(r, size, 1)
	for _, c := range []struct {
		kind Kind
		dim  int
		opt  Options
	}{
		{Rademacher, 24, Options{}},
		{Rademacher, 24, Options{Float16: true}},
		{Rademacher, 24, Options{BF16: true}},
		{Gaussian, 24, Options{}},
		{Gaussian, 24, Options{BF16: true}},
		{None, 0, Options{}},
		{None, 0, Options{BF16: true}},
	} {
		p, what, tolerance := mustNew(t, c.kind, c.dim, total(pairs), c.opt), fmt.Sprintf("%s %+v", c.kind, c.opt), 3e-6
		switch {
		case c.opt.BF16 && c.kind == None:
			tolerance = 8e-3 // a product's last bits may turn a rounding over
		case c.opt.Float16 || c.opt.BF16:
			tolerance = 1e-3
		}
		want, _ := run(t, p, 2, pairs, true, 0, 3)
		got, _ := runPTX(t, dev, p, pairs, true, 0, 3)
		closeTo(t, what, got, optest.To[float64](want), tolerance)

		plain, wantNorm := make([]float32, p.Dim()), 0.0
		p.Dense(host, driver.FromHost(g), 5, nil, driver.FromHost(plain), &wantNorm)
		out, norm := optest.In(t, dev, make([]float32, p.Dim()), 0), 0.0
		p.Dense(dev, optest.In(t, dev, g, 0), 5, nil, out, &norm)
		closeTo(t, what+", dense", optest.Out(t, dev, out), optest.To[float64](plain), 3e-6)
		if math.Abs(norm-wantNorm) > 1e-6*wantNorm {
			t.Errorf("%s: square norm %v, host twin %v", what, norm, wantNorm)
		}
	}
}

// TestPTXManySamples: the kernels for 64 and 128 samples have the bits of those for fewer.
func TestPTXManySamples(t *testing.T) {
	eachDevice(t, func(t *testing.T, dev driver.Launcher) {
		r := rand.New(rand.NewPCG(11, 12))
		lengths := make([]int, 70)
		for i := range lengths {
			lengths[i] = 1 + r.IntN(3)
		}
		pairs := []pair{newPair(r, 50, 30, 2, 77, lengths...)}
		for _, opt := range []Options{{}, {Float16: true}, {BF16: true}} {
			p := mustNew(t, Rademacher, 40, 2000, opt)
			many, _ := runPTX(t, dev, p, pairs, false, 0, 70)
			few, _ := runPTX(t, dev, p, pairs, false, 63, 67)
			optest.Same(t, fmt.Sprintf("%+v", opt), few, many[63*40:67*40])
		}
	})
}

// TestLongGradients: gradients of full fine-tuning that are longer than a grid, as those of
// an embedding of 152,064 tokens are, are taken in pieces. They are too long to be computed
// here: the device counts, and refuses grids that no GPU takes.
func TestLongGradients(t *testing.T) {
	for _, capability := range []int{80, 90} {
		gpu := sim.New(sim.Options{Capability: capability, Units: 132})
		dev := plan.New(gpu)
		memory := func(n int) driver.F32 {
			m, err := dev.Alloc(4 * n)
			if err != nil {
				t.Fatal(err)
			}
			return driver.View[float32](m)
		}
		const size, dim, offset = 152064 * 3584, 64, 77
		adam := &Adam{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, M: memory(size), V: memory(size)}
		for _, kind := range []Kind{Rademacher, SJLT, Gaussian} {
			p, err := New(kind, dim, 1, offset+size, Options{BF16: true})
			if err != nil {
				t.Fatal(err)
			}
			norm := 0.0
			p.Dense(dev, memory(size), offset, adam, memory(dim), &norm)
			p.Dense(dev, memory(longestDense), offset, nil, memory(dim), &norm)
		}
		dev.Close()
		gpu.Close()
	}
}

// TestPiecesOfGradients: a gradient in two calls is the gradient in one, but for the order of
// the sum: what densePTX makes of one that is too long.
func TestPiecesOfGradients(t *testing.T) {
	eachDevice(t, func(t *testing.T, dev driver.Launcher) {
		r := rand.New(rand.NewPCG(3, 5))
		const size, cut, offset, dim = 700, 260, 130, 48
		draw := func(f func(float64) float64) driver.F32 {
			x := make([]float32, size)
			for i := range x {
				x[i] = float32(f(r.NormFloat64()))
			}
			return optest.In(t, dev, x, 0)
		}
		same := func(v float64) float64 { return v }
		g, a := draw(same), &Adam{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, M: draw(same), V: draw(math.Abs)}
		p, err := New(Rademacher, dim, 1, offset+size, Options{})
		if err != nil {
			t.Fatal(err)
		}
		run := func(bounds ...int) ([]float32, float64) {
			out, norm := optest.In(t, dev, make([]float32, dim), 0), 0.0
			for i, lo := range bounds[:len(bounds)-1] {
				hi := bounds[i+1]
				part := *a
				part.M, part.V = a.M.Sub(lo, hi), a.V.Sub(lo, hi)
				p.Dense(dev, g.Sub(lo, hi), offset+lo, &part, out, &norm)
			}
			x, err := driver.Read(dev, out)
			if err != nil {
				t.Fatal(err)
			}
			return x, norm
		}
		want, norm := run(0, size)
		got, pieces := run(0, cut, size)
		if math.Abs(pieces/norm-1) > 1e-9 {
			t.Errorf("square norm %v, want %v", pieces, norm)
		}
		for i := range want { // a sum of size terms of about sqrt(norm/size/dim)
			if math.Abs(float64(got[i]-want[i])) > 1e-4*math.Sqrt(norm/dim) {
				t.Errorf("%d: %v, want %v", i, got[i], want[i])
			}
		}
	})
}
