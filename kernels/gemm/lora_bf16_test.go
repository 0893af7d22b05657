package gemm

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"dataflex/driver"
	"dataflex/driver/sim"
	"dataflex/kernels/optest"
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

func runLoRA(t *testing.T, dev *sim.Device, base, branch matrices) []float32 {
	c := optest.In(t, dev, base.c, 0)
	RunLoRABF16(dev, base.tr, base.m, base.n, base.k, branch.k, upload(t, dev, base.a), base.lda, upload(t, dev, base.b), base.ldb,
		upload(t, dev, branch.a), branch.lda, upload(t, dev, branch.b), branch.ldb, base.beta, c, base.ldc)
	return optest.Out(t, dev, c)
}

func TestLoRABF16(t *testing.T) {
	host := optest.CPU(t, 2)
	for _, dev := range []*sim.Device{optest.Sim(t), optest.Hopper(t)} {
		r := rand.New(rand.NewPCG(13, 14))
		for _, tr := range []Transpose{NN, NT} {
			for _, s := range [][4]int{{1, 1, 1, 1}, {40, 140, 70, 8}, {130, 33, 100, 16}, {65, 64, 0, 24}, {20, 24, 40, 0}, {129, 8, 64, 72}, {3, 200, 33, 5}} {
				x, base, branch := branched(r, tr, s[0], s[1], s[2], s[3])
				x.verify(t, runLoRA(t, dev, base, branch))
				c := slices.Clone(x.c)
				h := func(v []float32) driver.Slice[driver.BF16] { return driver.FromHost(narrow(v)) }
				RunLoRABF16(host, tr, s[0], s[1], s[2], s[3], h(base.a), base.lda, h(base.b), base.ldb, h(branch.a), branch.lda, h(branch.b), branch.ldb, base.beta, driver.FromHost(c), base.ldc)
				x.verify(t, c)
			}
			_, base, branch := branched(r, tr, 140, 50, 70, 16)
			want := runLoRA(t, dev, base, branch)
			base.m, base.a, base.c, branch.a = 1, base.a[8*base.lda:], base.c[8*base.ldc:], branch.a[8*branch.lda:]
			optest.Same(t, fmt.Sprintf("%v on %d, a row alone", tr, dev.Attributes().Capability), runLoRA(t, dev, base, branch)[:base.n], want[8*base.ldc:][:base.n])
		}
	}
	optest.Panics(t, loraTN, func() {
		none := driver.FromHost([]driver.BF16{})
		RunLoRABF16(host, TN, 0, 0, 0, 0, none, 0, none, 0, none, 0, none, 0, 0, driver.FromHost([]float32{}), 0)
	})
}
