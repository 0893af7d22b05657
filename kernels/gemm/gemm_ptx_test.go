package gemm

import (
	"math"
	"math/rand/v2"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/ptx"
)

func (x matrices) runPTX(t *testing.T, dev driver.Launcher) []float32 {
	c := optest.In(t, dev, x.c, 0)
	a, b := x.factors()
	Run(dev, x.tr, x.alpha, on(a, optest.In(t, dev, x.a, 0)), on(b, optest.In(t, dev, x.b, 0)), x.beta, x.product(c))
	return optest.Out(t, dev, c)
}

func TestPTXRandomShapes(t *testing.T) {
	dev, r := optest.Device(t, 80), rand.New(rand.NewPCG(5, 6))
	sizes := []int{1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 48, 64, 97, 130}
	pick := func() int { return sizes[r.IntN(len(sizes))] }
	var squares, squaresPlain float64
	verify := func(tr Transpose, m, n, k int) {
		x := randomMatrices(r, tr, m, n, k)
		s, p := x.verify(t, x.runPTX(t, dev))
		squares, squaresPlain = squares+s, squaresPlain+p
	}
	for i := range 60 {
		verify(Transpose(i%3), pick(), pick(), pick())
	}
	for _, tr := range []Transpose{NN, NT, TN} {
		verify(tr, 33, 70, 0)
		verify(tr, 16, 200, 1100) // three chunks of TN
		verify(tr, 200, 16, 600)
	}
	if ratio := math.Sqrt(squares / squaresPlain); ratio > 1.1 {
		t.Errorf("root mean square error is %.2f times that of the straightforward sum", ratio)
	}
}

// TestPTXBits: a row alone, another tile and chunks launched one by one give the same
// bits.
func TestPTXBits(t *testing.T) {
	dev, r := optest.Device(t, 80), rand.New(rand.NewPCG(7, 8))
	for _, tr := range []Transpose{NN, NT, TN} {
		x := randomMatrices(r, tr, 40, 70, 540)
		x.beta = 1
		want := x.runPTX(t, dev)
		for _, tile := range []*deviceTile{&largeTile, &smallTile, &tallTile, &flatTile} {
			c := optest.In(t, dev, x.c, 0)
			p := Product{
				a: optest.In(t, dev, x.a, 0).Addr(), b: optest.In(t, dev, x.b, 0).Addr(), c: c.Addr(),
				m: int32(x.m), n: int32(x.n), lda: int32(x.lda), ldb: int32(x.ldb), ldc: int32(x.ldc), alpha: x.alpha, add: 1,
			}
			chunk := x.k
			if tr == TN {
				chunk = chunkTN
			}
			p.chunk = int32(chunk)
			grid := driver.Dim{X: ptx.Blocks(x.n, tile.columns), Y: ptx.Blocks(x.m, tile.rows), Z: 1}
			for k := x.k; k > 0; k -= chunk {
				p.k = int32(min(k, chunk))
				p.launch(ptx.On(dev), tile.kernels[tr], grid)
				p.a, p.b = p.a+uintptr(4*chunk*x.lda), p.b+uintptr(4*chunk*x.ldb)
			}
			optest.Same(t, tile.kernels[tr], optest.Out(t, dev, c), want)
		}
		row := x
		row.m, row.c = 1, x.c[39*x.ldc:]
		if tr == TN {
			row.a = x.a[39:]
		} else {
			row.a = x.a[39*x.lda:]
		}
		optest.Same(t, tr.String()+" alone", row.runPTX(t, dev)[:x.n], want[39*x.ldc:][:x.n])
	}
}

// TestPTXTraffic: 128 rows of A and of B are read once per tile, in full sectors, and
// the inner loop has no bank conflicts.
func TestPTXTraffic(t *testing.T) {
	dev := optest.Sim(t)
	const m, n, k = 256, 256, 64
	for _, tr := range []Transpose{NN, NT, TN} {
		a, b, c := optest.In(t, dev, make([]float32, m*k), 0), optest.In(t, dev, make([]float32, n*k), 0), optest.In(t, dev, make([]float32, m*n), 0)
		lda, ldb := int32(k), int32(n)
		if tr == NT {
			ldb = k
		} else if tr == TN {
			lda = m
		}
		p := Product{a: a.Addr(), b: b.Addr(), c: c.Addr(), m: m, n: n, k: k, lda: lda, ldb: ldb, ldc: n, chunk: k, alpha: 1}
		kernels.Launch(ptx.On(dev), largeTile.kernels[tr], driver.Config{Grid: driver.Dim{X: 2, Y: 2}, Block: driver.Dim{X: 256}}, &ptx.One[Product]{P: p})
		s := dev.Last()
		if want := uint64(4 * (4*(128+128)*k + m*n)); s.GlobalBytes() != want {
			t.Errorf("%v: %d bytes moved, want %d", tr, s.GlobalBytes(), want)
		}
		if s.Conflicts() != 0 || s.Flops < 2*m*n*k || s.Flops > 2*m*n*(k+2) {
			t.Errorf("%v: %d bank conflicts, %d flops", tr, s.Conflicts(), s.Flops)
		}
		if s.Global.Units != s.Global.Ideal {
			t.Errorf("%v: %d sectors, ideal %d", tr, s.Global.Units, s.Global.Ideal)
		}
	}
}
