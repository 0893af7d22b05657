package gradproj

import (
	"math/rand/v2"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/optest"
)

// integer is the integer instructions of warps, those for addresses, comparisons and
// loops too: all but moves (cvta is none at all), branches, barriers, copies, loads and
// stores, and products.
func integer(c *sim.Counters) uint64 {
	n := c.Warps
	for _, op := range []string{
		"mov", "bra", "ret", "bar", "cvta", "cp.async", "ld.", "st.", "ldmatrix", "mma",
		"mbarrier", "fence", "setmaxnreg", "elect", "wgmma",
	} {
		n -= c.Count(op)
	}
	return n
}

// TestSignCounters: a product with signs reads the planes once for each column of blocks
// and writes its sums, in whole sectors; it has no bank conflicts; each entry of R is
// drawn once, serves 64 samples (or 128) and takes no more than two integer instructions,
// those of addresses, loops and the epilogue counted.
func TestSignCounters(t *testing.T) {
	const n, rows = 64, 2048
	r := rand.New(rand.NewPCG(11, 12))
	lengths := make([]int, 2*n)
	for i := range lengths {
		lengths[i] = 1
	}
	pairs := []pair{newPair(r, 512, 512, 2, 0, lengths...)}
	for _, c := range []struct {
		hopper  bool
		opt     Options
		samples int
		kernel  string
		planes  uint64
		columns uint64 // of a block
	}{
		{false, Options{}, n, "gradproj_signs_bf16x3_64", 3, 256},
		{false, Options{BF16: true}, n, "gradproj_signs_bf16_64", 1, 256},
		{true, Options{}, n, "gradproj_wgmma_bf16x3_64", 3, 512},
		{true, Options{BF16: true}, 2 * n, "gradproj_wgmma_bf16_128", 1, 256},
	} {
		device := optest.Sim
		if c.hopper {
			device = optest.Hopper
		}
		dev := device(t)
		p := mustNew(t, Rademacher, int(c.columns), rows, c.opt)
		runPTX(t, dev, p, pairs, false, 0, c.samples)
		k := dev.Total(c.kernel)
		if k.Conflicts() != 0 {
			t.Errorf("%s: %d bank conflicts", c.kernel, k.Conflicts())
		}
		samples, dim := uint64(c.samples), c.columns
		least := 2*c.planes*samples*rows + 4*samples*dim
		if got := k.GlobalBytes(); got > least+least/10 {
			t.Errorf("%s: %d bytes, %d would do", c.kernel, got, least)
		}
		if k.Global.Units != k.Global.Ideal {
			t.Errorf("%s: %d sectors for requests of %d", c.kernel, k.Global.Units, k.Global.Ideal)
		}
		// The products give the entries of R: 64 or 128 samples each. A call of Philox is 20
		// multiplications and 128 entries: none is drawn twice. A few more are addresses.
		entries := k.Flops / (2 * c.planes * samples)
		if entries != dim*rows {
			t.Errorf("%s: products with %d entries of R instead of %d", c.kernel, entries, dim*rows)
		}
		if calls := 32 * k.Count("mul.wide.u32") / 20; 128*calls > entries+entries/50 {
			t.Errorf("%s: %d calls of Philox for %d entries", c.kernel, calls, entries)
		}
		got := float64(32*integer(k)) / float64(entries)
		t.Logf("sm_90a %v %s: %.2f integer instructions an entry of R, %.3f of the least bytes", c.hopper, c.kernel, got, float64(k.GlobalBytes())/float64(least))
		if got > 2 {
			t.Error("more than 2")
		}
	}
}

// TestFormCounters: forming gradients reads each factor's element once for each tile it
// serves, the moments once and writes the planes, in whole sectors; what the loop over
// tokens reads from shared memory without bank conflicts.
func TestFormCounters(t *testing.T) {
	dev := optest.Sim(t)
	const n, in, out, rank, tokens = 4, 512, 256, 16, 32
	pairs := []pair{newPair(rand.New(rand.NewPCG(31, 32)), in, out, rank, 0, tokens, tokens, tokens, tokens)}
	for _, c := range []struct {
		kernel string
		opt    Options
		planes uint64
	}{{"gradproj_form_f32_to_bf16x3_16", Options{}, 3}, {"gradproj_form_bf16_to_bf16_16", Options{BF16: true}, 1}} {
		runPTX(t, dev, mustNew(t, Rademacher, 16, rank*(in+out), c.opt), pairs, true, 0, n)
		k := dev.Total(c.kernel)
		const size, tiles = rank * (in + out), (in + out) / 256
		least := uint64(4*n*tokens*(in+out+tiles*rank)+8*n*size+8*n*tiles) + 2*c.planes*n*size
		if got := k.GlobalBytes(); got > least+least/10 {
			t.Errorf("%s: %d bytes, %d would do", c.kernel, got, least)
		}
		if k.Global.Units > k.Global.Ideal+k.Global.Ideal/100 {
			t.Errorf("%s: %d sectors for requests of %d", c.kernel, k.Global.Units, k.Global.Ideal)
		}
		for _, l := range k.Lines {
			if strings.HasPrefix(l.Opcode, "ld.shared") && l.Units != l.Ideal {
				t.Errorf("%s, ptx line %d (%s): %d wavefronts instead of %d", c.kernel, l.PTX, l.Source, l.Units, l.Ideal)
			}
		}
	}
}
