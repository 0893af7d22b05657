package gemm

import (
	"math/rand/v2"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/optest"
)

// branched is a random product with its low-rank branch: x has k + r steps, base and
// branch are its two parts, each with the rows it has in memory.
func branched(r *rand.Rand, tr Transpose, m, n, k, rank int) (x, base, branch matrices) {
	base, branch = aligned(r, tr, m, n, k), aligned(r, tr, m, n, rank)
	base.alpha, branch.alpha = 1, 1
	x = base
	x.k, x.lda, x.ldb = k+rank, k+rank, n
	if tr == NT {
		x.ldb = k + rank
	}
	x.a, x.b = nil, nil
	for i := range m {
		x.a = append(append(x.a, base.a[i*base.lda:][:k]...), branch.a[i*branch.lda:][:rank]...)
	}
	if tr == NT {
		for j := range n {
			x.b = append(append(x.b, base.b[j*base.ldb:][:k]...), branch.b[j*branch.ldb:][:rank]...)
		}
		return
	}
	for i := range k {
		x.b = append(x.b, base.b[i*base.ldb:][:n]...)
	}
	for i := range rank {
		x.b = append(x.b, branch.b[i*branch.ldb:][:n]...)
	}
	return
}

func runLoRA(t *testing.T, dev driver.Launcher, base, branch matrices) []float32 {
	c := optest.In(t, dev, base.c, 0)
	a, b := base.factors()
	u, l := branch.factors()
	RunLoRABF16(dev, base.tr, on(a, upload(t, dev, base.a)), on(b, upload(t, dev, base.b)), on(u, upload(t, dev, branch.a)), on(l, upload(t, dev, branch.b)),
		base.beta, base.product(c))
	return optest.Out(t, dev, c)
}

var loraShapes = [][4]int{{1, 1, 1, 1}, {40, 140, 70, 8}, {130, 33, 100, 16}, {65, 64, 0, 24}, {20, 24, 40, 0}, {129, 8, 64, 72}, {3, 300, 33, 5}}

func TestLoRABF16(t *testing.T) {
	onBoth(t, func(t *testing.T, dev driver.Launcher) {
		r := rand.New(rand.NewPCG(13, 14))
		for _, tr := range []Transpose{NN, NT} {
			for _, s := range loraShapes {
				x, base, branch := branched(r, tr, s[0], s[1], s[2], s[3])
				x.verify(t, runLoRA(t, dev, base, branch))
			}
			_, base, branch := branched(r, tr, 140, 50, 70, 16)
			want := runLoRA(t, dev, base, branch)
			base.m, base.a, base.c = 1, base.a[8*base.lda:], base.c[8*base.ldc:]
			branch.m, branch.a = 1, branch.a[8*branch.lda:]
			optest.Same(t, tr.String()+", a row alone", runLoRA(t, dev, base, branch)[:base.n], want[8*base.ldc:][:base.n])
		}
	})
}

func TestLoRABF16OnTheHost(t *testing.T) {
	host, r := optest.CPU(t, 2), rand.New(rand.NewPCG(13, 14))
	h := func(v []float32) driver.Slice[driver.BF16] { return driver.FromHost(narrow(v)) }
	for _, tr := range []Transpose{NN, NT} {
		for _, s := range loraShapes {
			x, base, branch := branched(r, tr, s[0], s[1], s[2], s[3])
			c := slices.Clone(x.c)
			a, b := base.factors()
			u, l := branch.factors()
			RunLoRABF16(host, tr, on(a, h(base.a)), on(b, h(base.b)), on(u, h(branch.a)), on(l, h(branch.b)), base.beta, base.product(driver.FromHost(c)))
			x.verify(t, c)
		}
	}
	optest.Panics(t, loraTN, func() {
		RunLoRABF16(host, TN, BF16{}, BF16{}, BF16{}, BF16{}, 0, F32{})
	})
}

// TestLoRATraffic: with the branch, C is written once and nothing else comes twice.
func TestLoRATraffic(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	const m, n, k, rank = 256, 256, 128, 64
	for _, c := range []struct {
		dev  *sim.Device
		tile int
	}{{optest.Sim(t), 128}, {twoUnits(t), 256}} {
		for _, tr := range []Transpose{NN, NT} {
			_, base, branch := branched(r, tr, m, n, k, rank)
			base.ldc, base.beta, base.c = n, 0, make([]float32, m*n)
			runLoRA(t, c.dev, base, branch)
			got := c.dev.Last()
			if want := uint64(2*(m*n/c.tile+2*n)*(k+rank) + 4*m*n); got.GlobalBytes() != want || got.Conflicts() != 0 || got.Global.Units != got.Global.Ideal {
				t.Errorf("%v, tile of %d: %d bytes moved, want %d; %d sectors, ideal %d; %d bank conflicts", tr, c.tile, got.GlobalBytes(), want, got.Global.Units, got.Global.Ideal, got.Conflicts())
			}
		}
	}
}
