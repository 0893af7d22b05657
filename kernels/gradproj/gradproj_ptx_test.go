package gradproj

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"dataflex/driver"
	"dataflex/driver/sim"
	"dataflex/kernels/optest"
)

// onDevice copies the factors.
func (p pair) onDevice(t *testing.T, dev *sim.Device, from, to int) Factors {
	f := p.factors(from, to)
	for _, x := range []*driver.F32{&f.X, &f.U, &f.DY, &f.V} {
		*x = optest.In(t, dev, x.Host(), 0)
	}
	return f
}

// runPTX is run on the interpreter.
func runPTX(t *testing.T, dev *sim.Device, p *Projection, pairs []pair, adam bool, from, to int) ([]float32, []float64) {
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

// TestPTXSigns: R is the host twin's, entry for entry.
func TestPTXSigns(t *testing.T) {
	dev := optest.Sim(t)
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
}

// TestPTX: raw gradients and Adam directions, in float32 and rounded to float16, like
// the host twin's; a sample's bits do not depend on the batch.
func TestPTX(t *testing.T) {
	dev := optest.Sim(t)
	pairs := testPairs()
	for _, c := range []struct {
		kind       Kind
		dim        int
		half, adam bool
	}{{Rademacher, 280, false, false}, {Rademacher, 40, false, true}, {Rademacher, 40, true, true}, {None, 0, true, true}, {None, 0, false, false}} {
		name := fmt.Sprintf("%+v", c)
		p := mustNew(t, c.kind, c.dim, testTotal, Options{Float16: c.half})
		want, wantNorm := run(t, p, 2, pairs, c.adam, 0, 10)
		got, norm := runPTX(t, dev, p, pairs, c.adam, 0, 10)
		// A product's last bits may turn a rounding to float16 over.
		tolerance := 2e-6
		if c.half {
			tolerance = 1e-3
		}
		closeTo(t, name, got, optest.To[float64](want), tolerance)
		for i := range norm {
			if math.Abs(norm[i]-wantNorm[i]) > tolerance*wantNorm[i] {
				t.Errorf("%s: square norm %d is %v, host twin %v", name, i, norm[i], wantNorm[i])
			}
		}
		alone, _ := runPTX(t, dev, p, pairs, c.adam, 4, 5)
		optest.Same(t, name+" alone", alone, got[4*p.Dim():5*p.Dim()])
	}
}

// TestPTXManySamples: the kernels for 64 samples have the bits of those for 16, meet no
// bank twice and make each entry of R with about two integer instructions.
func TestPTXManySamples(t *testing.T) {
	dev := optest.Sim(t)
	r := rand.New(rand.NewPCG(11, 12))
	lengths := make([]int, 20)
	for i := range lengths {
		lengths[i] = 1 + r.IntN(3)
	}
	pairs := []pair{newPair(r, 500, 300, 2, 77, lengths...)}
	for _, half := range []bool{false, true} {
		p := mustNew(t, Rademacher, 256, 2000, Options{Float16: half})
		many, _ := runPTX(t, dev, p, pairs, false, 0, 20)
		few, _ := runPTX(t, dev, p, pairs, false, 3, 9)
		optest.Same(t, fmt.Sprint("half ", half), few, many[3*256:9*256])
	}
	for _, name := range []string{"gradproj_signs_bf16x3_64", "gradproj_signs_f16_64"} {
		c := dev.Total(name)
		if c.Conflicts() != 0 {
			t.Errorf("%s: %d bank conflicts", name, c.Conflicts())
		}
		// mma.m16n8k16 is 4096 operations; every entry of R serves 64 samples.
		planes := map[string]uint64{"gradproj_signs_bf16x3_64": 3, "gradproj_signs_f16_64": 1}[name]
		entries := 4096 * c.Count("mma") / (2 * planes * 64)
		if entries != 256*1792 {
			t.Errorf("%s: products with %d entries of R, not those of rows 0 to 1791", name, entries)
		}
		// A call of Philox is 20 products and 128 entries: none is drawn twice. One more
		// product is an address.
		if calls := 32 * c.Count("mul.wide.u32") / 20; 128*calls > entries+entries/100 {
			t.Errorf("%s: %d calls of Philox for %d entries", name, calls, entries)
		}
		got := float64(32*integer(c)) / float64(entries)
		t.Logf("%s: %.2f integer instructions an entry of R", name, got)
		if got > 2 {
			t.Error("more than 2")
		}
	}
}

// integer is the integer instructions of warps, those for addresses, comparisons and
// loops too: all but moves (cvta is none at all), branches, copies, loads and stores, and products.
func integer(c *sim.Counters) uint64 {
	n := c.Warps
	for _, op := range []string{"mov", "bra", "ret", "bar", "cvta", "cp.async", "ld.", "st.", "ldmatrix", "mma"} {
		n -= c.Count(op)
	}
	return n
}
