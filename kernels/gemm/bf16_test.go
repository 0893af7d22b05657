package gemm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/optest"
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

// upload puts bf16 numbers on a device.
func upload(t *testing.T, dev driver.Launcher, x []float32) driver.Slice[driver.BF16] {
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

func (x matrices) runBF16(t *testing.T, dev driver.Launcher) []float32 {
	c := optest.In(t, dev, x.c, x.k%4) // C's place is anywhere
	a, b := x.factors()
	RunBF16(dev, x.tr, x.alpha, on(a, upload(t, dev, x.a)), on(b, upload(t, dev, x.b)), x.beta, x.product(c))
	return optest.Out(t, dev, c)
}

var bf16Shapes = [][3]int{{1, 1, 1}, {5, 130, 33}, {128, 128, 64}, {130, 7, 100}, {64, 200, 16}, {33, 40, 0}, {130, 300, 330}}

// onBoth runs a test with the sm_80 and with the sm_90a kernels.
func onBoth(t *testing.T, f func(t *testing.T, dev driver.Launcher)) {
	for _, capability := range []int{80, 90} {
		t.Run(fmt.Sprintf("sm_%d", capability), func(t *testing.T) { f(t, optest.Device(t, capability)) })
	}
}

func TestBF16(t *testing.T) {
	onBoth(t, func(t *testing.T, dev driver.Launcher) {
		r := rand.New(rand.NewPCG(9, 10))
		for _, tr := range []Transpose{NN, NT, TN} {
			for _, s := range bf16Shapes {
				x := aligned(r, tr, s[0], s[1], s[2])
				x.verify(t, x.runBF16(t, dev))
			}
		}
		sizes := []int{1, 3, 8, 16, 17, 31, 64, 65, 97, 128, 150, 200, 257, 300}
		pick := func() int { return sizes[r.IntN(len(sizes))] }
		for i := range 24 {
			x := aligned(r, Transpose(i%3), pick(), pick(), pick())
			x.verify(t, x.runBF16(t, dev))
		}
	})
}

// TestBF16Bits: a row has the same bits alone or in a batch, and with either tile of the
// Hopper kernels.
func TestBF16Bits(t *testing.T) {
	onBoth(t, func(t *testing.T, dev driver.Launcher) {
		r := rand.New(rand.NewPCG(17, 18))
		for _, tr := range []Transpose{NN, NT, TN} {
			x := aligned(r, tr, 140, 150, 200)
			want := x.runBF16(t, dev)
			row, few := x, x
			row.m, row.c = 1, x.c[8*x.ldc:]
			if tr == TN {
				row.a = x.a[8:]
			} else {
				row.a = x.a[8*x.lda:]
			}
			optest.Same(t, tr.String()+", a row alone", row.runBF16(t, dev)[:x.n], want[8*x.ldc:][:x.n])
			few.n = 40
			for i, v := range few.runBF16(t, dev) {
				if i%x.ldc < few.n && v != want[i] {
					t.Fatalf("%v: element %d differs in a narrower product", tr, i)
				}
			}
		}
	})
}

// TestBF16Units: with few multiprocessors small products take the wide tiles, several a
// block, with many the slim ones; the bits are the same.
func TestBF16Units(t *testing.T) {
	for _, tr := range []Transpose{NN, NT, TN} {
		r := rand.New(rand.NewPCG(23, 24))
		x := aligned(r, tr, 260, 510, 130)
		var want, fused []float32
		for i, units := range optest.Units {
			if tile := tileFor(x.m, x.n, units); tile.columns != []int{256, 256, 128}[i] {
				t.Errorf("%d multiprocessors: tiles of %d columns", units, tile.columns)
			}
			dev := optest.Multiprocessors(t, 90, units)
			got := x.runBF16(t, dev)
			if want == nil {
				x.verify(t, got)
				want = got
			}
			optest.Same(t, fmt.Sprint(tr, units), got, want)
			if tr == TN {
				continue
			}
			whole, base, branch := branched(rand.New(rand.NewPCG(25, 26)), tr, 260, 510, 70, 16)
			if got = runLoRA(t, dev, base, branch); fused == nil {
				whole.verify(t, got)
				fused = got
			}
			optest.Same(t, fmt.Sprint(tr, units, " with a branch"), got, fused)
		}
	}
}

// twoUnits is a Hopper with two multiprocessors, which counts.
func twoUnits(t *testing.T) *sim.Device {
	dev := sim.New(sim.Options{Unwritten: true, Capability: 90, Units: 2})
	t.Cleanup(func() { dev.Close() })
	return dev
}

// TestTileChoice: on 132 multiprocessors.
func TestTileChoice(t *testing.T) {
	for _, c := range []struct{ m, n, columns int }{
		{8192, 8192, 256}, {1024, 4096, 256}, {4096, 4096, 256}, {1024, 2048, 128}, {4096, 128, 128}, {128, 256, 128}, {4352, 1024, 128},
	} {
		if got := tileFor(c.m, c.n, 132).columns; got != c.columns {
			t.Errorf("%d x %d: tiles of %d columns, want %d", c.m, c.n, got, c.columns)
		}
	}
}

// TestBF16Traffic: operands are read once per tile in full sectors, there are no bank conflicts.
func TestBF16Traffic(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for _, c := range []struct {
		dev     *sim.Device
		n, tile int // columns of C and of a tile
	}{{optest.Sim(t), 128, 128}, {twoUnits(t), 128, 128}, {twoUnits(t), 512, 256}} {
		const m, k = 256, 128
		for _, tr := range []Transpose{NN, NT, TN} {
			x := aligned(r, tr, m, c.n, k)
			x.ldc, x.beta = c.n, 0
			x.c = make([]float32, m*c.n)
			x.runBF16(t, c.dev)
			got := c.dev.Last()
			if want := uint64(2*(m*c.n/c.tile+2*c.n)*k + 4*m*c.n); got.GlobalBytes() != want {
				t.Errorf("%v on %d: %d bytes moved, want %d", tr, c.dev.Attributes().Capability, got.GlobalBytes(), want)
			}
			if got.Global.Units != got.Global.Ideal || got.Global.BulkSectors*32 != got.Global.BulkLoads || got.Conflicts() != 0 {
				t.Errorf("%v: %d sectors, ideal %d; %d of %d bulk bytes; %d bank conflicts", tr, got.Global.Units, got.Global.Ideal, got.Global.BulkSectors*32, got.Global.BulkLoads, got.Conflicts())
			}
		}
	}
}
