package gemm

import (
	"math"
	"math/rand/v2"
	"testing"

	"dataflex/driver"
	"dataflex/driver/sim"
	"dataflex/kernels/optest"
)

// aligned is a random problem of bf16 numbers whose rows begin on 16 bytes.
func aligned(r *rand.Rand, tr Transpose, m, n, k int) matrices {
	x := randomMatrices(r, tr, m, n, k)
	rowsA, colsA, rowsB, colsB := x.stored()
	x.lda, x.ldb = (colsA+7)&^7, (colsB+7)&^7
	x.a, x.b = normal(r, rowsA*x.lda), normal(r, rowsB*x.ldb)
	for _, s := range [][]float32{x.a, x.b} {
		for i, v := range s {
			s[i] = math.Float32frombits(math.Float32bits(v) &^ 0xffff)
		}
	}
	return x
}

func narrow(x []float32) []driver.BF16 {
	y := make([]driver.BF16, len(x))
	for i, v := range x {
		y[i] = driver.BF16(math.Float32bits(v) >> 16)
	}
	return y
}

// upload puts bf16 numbers on the interpreter.
func upload(t *testing.T, dev *sim.Device, x []float32) driver.Slice[driver.BF16] {
	m, err := dev.Alloc(2 * len(x))
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 0, 2*len(x))
	for _, v := range narrow(x) {
		b = append(b, byte(v), byte(v>>8))
	}
	if err := dev.CopyIn(m, b); err != nil {
		t.Fatal(err)
	}
	return driver.View[driver.BF16](m)
}

func (x matrices) runBF16(t *testing.T, dev *sim.Device) []float32 {
	c := optest.In(t, dev, x.c, 0)
	RunBF16(dev, x.tr, x.m, x.n, x.k, x.alpha, upload(t, dev, x.a), x.lda, upload(t, dev, x.b), x.ldb, x.beta, c, x.ldc)
	return optest.Out(t, dev, c)
}

var bf16Shapes = [][3]int{{1, 1, 1}, {5, 130, 33}, {128, 128, 64}, {130, 7, 100}, {64, 200, 16}, {33, 40, 0}}

func TestBF16(t *testing.T) {
	host, dev, r := optest.CPU(t, 2), optest.Sim(t), rand.New(rand.NewPCG(9, 10))
	for _, tr := range []Transpose{NN, NT, TN} {
		for _, s := range bf16Shapes {
			x := aligned(r, tr, s[0], s[1], s[2])
			c := append([]float32(nil), x.c...)
			RunBF16(host, tr, x.m, x.n, x.k, x.alpha, driver.FromHost(narrow(x.a)), x.lda, driver.FromHost(narrow(x.b)), x.ldb, x.beta, driver.FromHost(c), x.ldc)
			x.verify(t, c)
			x.verify(t, x.runBF16(t, dev))
		}
		x := aligned(r, tr, 140, 50, 70)
		want := x.runBF16(t, dev)
		row := x
		row.m, row.c = 1, x.c[8*x.ldc:]
		if tr == TN {
			row.a = x.a[8:]
		} else {
			row.a = x.a[8*x.lda:]
		}
		optest.Same(t, tr.String()+" alone", row.runBF16(t, dev)[:x.n], want[8*x.ldc:][:x.n])
	}
}

// TestBF16Traffic: operands are read once per tile in full sectors, no bank is met twice.
func TestBF16Traffic(t *testing.T) {
	dev, r := optest.Sim(t), rand.New(rand.NewPCG(11, 12))
	const m, n, k = 256, 128, 128
	for _, tr := range []Transpose{NN, NT, TN} {
		x := aligned(r, tr, m, n, k)
		x.ldc, x.beta = n, 0
		x.c = make([]float32, m*n)
		x.runBF16(t, dev)
		c := dev.Last()
		if want := uint64(2*(m+2*n)*k + 4*m*n); c.GlobalBytes() != want {
			t.Errorf("%v: %d bytes moved, want %d", tr, c.GlobalBytes(), want)
		}
		if c.Global.Units != c.Global.Ideal || c.Conflicts() != 0 {
			t.Errorf("%v: %d sectors, ideal %d; %d bank conflicts", tr, c.Global.Units, c.Global.Ideal, c.Conflicts())
		}
	}
}
