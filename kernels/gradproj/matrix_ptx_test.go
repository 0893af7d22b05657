package gradproj

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/optest"
)

// dense projects one gradient block on the CPU.
func denseCPU(p *Projection, g []float32, offset int, adam *Adam) []float32 {
	dev := cpu.New(2)
	defer dev.Close()
	out, norm := make([]float32, p.Dim()), 0.0
	p.Dense(dev, driver.FromHost(g), offset, adam, driver.FromHost(out), &norm)
	return out
}

func densePTX(t *testing.T, dev driver.Launcher, p *Projection, g []float32, offset int, adam *Adam) []float32 {
	if adam != nil {
		a := *adam
		a.M, a.V = optest.In(t, dev, a.M.Host(), 0), optest.In(t, dev, a.V.Host(), 0)
		adam = &a
	}
	out, norm := optest.In(t, dev, make([]float32, p.Dim()), 0), 0.0
	p.Dense(dev, optest.In(t, dev, g, 0), offset, adam, out, &norm)
	return optest.Out(t, dev, out)
}

// TestNormalsOnDevice: the normal matrix is the host twin's, bit for bit.
func TestNormalsOnDevice(t *testing.T) {
	dev := optest.Device(t, 80)
	p := mustNew(t, Gaussian, 300, 1<<36, Options{})
	for _, row := range []int{0, 1, 77, 4095, 4096, 1 << 33, 1<<36 - 1} {
		want := denseCPU(p, []float32{1}, row, nil)
		optest.Same(t, fmt.Sprint("row ", row), densePTX(t, dev, p, []float32{1}, row, nil), want)
	}
}

// TestSparseOnDevice: a product with the sparse matrix has the host twin's bits, the blocks
// of rows and the Adam direction included, and with ranges wider than a block's columns.
func TestSparseOnDevice(t *testing.T) {
	dev := optest.Device(t, 80)
	r := rand.New(rand.NewPCG(23, 24))
	for _, c := range []struct{ dim, entries, offset, size int }{
		{500, 4, 77, 700}, {64, 6, sjltRows - 300, 650}, {3, 1, 0, 5}, {1500, 1, 1 << 20, 300}, {2600, 2, 5, 200},
	} {
		p := mustNew(t, SJLT, c.dim, c.offset+c.size, Options{Entries: c.entries})
		g, adam := normal(r, c.size, 1), testAdam(r, c.size)
		optest.Same(t, fmt.Sprintf("%+v", c), densePTX(t, dev, p, g, c.offset, adam), denseCPU(p, g, c.offset, adam))
	}
}

// TestMatricesOnDevice: every other projection is close to the host twin's, from factors;
// a sample's bits do not depend on the batch.
func TestMatricesOnDevice(t *testing.T) {
	r := rand.New(rand.NewPCG(25, 26))
	lengths := make([]int, 35)
	for i := range lengths {
		lengths[i] = 1 + r.IntN(3)
	}
	pairs := []pair{newPair(r, 30, 20, 7, 100, lengths...)}
	vectors := normal(r, 6*total(pairs), 1)
	for _, c := range []struct {
		name   string
		kind   Kind
		dim    int
		opt    Options
		hopper bool
	}{
		{"gaussian", Gaussian, 72, Options{}, false},
		{"gaussian in bf16", Gaussian, 132, Options{BF16: true}, false},
		{"sjlt in float16", SJLT, 150, Options{Float16: true}, false},
		{"inner", Inner, 6, Options{Vectors: driver.FromHost(vectors)}, false},
		{"trak", TRAK, 200, Options{Source: constantSource{}, Float16: true}, false},
		{"trak in float32", TRAK, 40, Options{Source: constantSource{}}, false},
		{"trak on Hopper", TRAK, 200, Options{Source: constantSource{}, Float16: true}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			capability := 80
			if c.hopper {
				capability = 90
			}
			dev := optest.Device(t, capability)
			p := mustNew(t, c.kind, c.dim, total(pairs), c.opt)
			want, _ := run(t, p, 2, pairs, true, 0, len(lengths))
			got, _ := runPTX(t, dev, p, pairs, true, 0, len(lengths))
			tolerance := 3e-6
			if c.opt.Float16 || c.opt.BF16 {
				tolerance = 1e-3
			}
			closeTo(t, c.name, got, optest.To[float64](want), tolerance)
			alone, _ := runPTX(t, dev, p, pairs, true, 33, 34)
			optest.Same(t, "alone", alone, got[33*p.Dim():34*p.Dim()])
			if c.kind == Inner {
				q := mustNew(t, c.kind, c.dim, total(pairs), Options{Vectors: optest.In(t, dev, vectors, 0)})
				there, _ := runPTX(t, dev, q, pairs, true, 0, len(lengths))
				optest.Same(t, "vectors on the device", there, got)
			}
		})
	}
}

// TestMatrixCounters: there are no bank conflicts, requests are whole sectors, and the gradients
// are read once for the columns of a block.
func TestMatrixCounters(t *testing.T) {
	dev := optest.Sim(t)
	r := rand.New(rand.NewPCG(27, 28))
	const n, rows = 32, 1024
	lengths := make([]int, n)
	for i := range lengths {
		lengths[i] = 1
	}
	pairs := []pair{newPair(r, 256, 256, 2, 0, lengths...)}
	for _, c := range []struct {
		kernel string
		kind   Kind
		dim    int
		reads  uint64 // of the gradients
	}{{"gradproj_sjlt", SJLT, 512, 4}, {"gradproj_gaussian", Gaussian, 256, 2}} {
		runPTX(t, dev, mustNew(t, c.kind, c.dim, rows, Options{}), pairs, false, 0, n)
		k := dev.Total(c.kernel)
		least := c.reads*4*n*rows + 4*n*uint64(c.dim)
		if k.Conflicts() != 0 || k.Global.Units != k.Global.Ideal || k.GlobalBytes() > least+least/10 {
			t.Errorf("%s: %d bank conflicts, %d sectors for requests of %d, %d bytes of %d", c.kernel, k.Conflicts(), k.Global.Units, k.Global.Ideal, k.GlobalBytes(), least)
		}
	}
}
