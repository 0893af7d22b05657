package sim

import (
	"math"
	"math/rand/v2"
	"testing"

	"dataflex/driver"
)

const prototypes = "../../../shared/prototypes/kernels/"

func gemmArgs(b *bench, m, n, k int) (a driver.Args, c driver.Memory, x, y []float32) {
	r := rand.New(rand.NewPCG(3, 4))
	x, y = normalBF16(r, m*k), normalBF16(r, n*k)
	ma, mb := b.putBF16("A", x), b.putBF16("B", y)
	c = b.alloc("C", 4*m*n)
	a.Addr(ma.Addr()).Addr(mb.Addr()).Addr(c.Addr()).I32(int32(m)).I32(int32(n)).I32(int32(k))
	return a, c, x, y
}

// worstGemm is the largest error of c against float64 in units of sqrt(k).
func worstGemm(c, x, y []float32, m, n, k int) float64 {
	worst := 0.0
	for i := range m {
		for j := range n {
			s := 0.0
			for q := range k {
				s += float64(x[i*k+q]) * float64(y[j*k+q])
			}
			worst = max(worst, math.Abs(float64(c[i*n+j])-s)/math.Sqrt(float64(k)))
		}
	}
	return worst
}

func TestPrototypeGemm(t *testing.T) {
	for _, s := range [][3]int{{128, 128, 32}, {128, 128, 64}, {256, 128, 160}} {
		m, n, k := s[0], s[1], s[2]
		b := newBench(t, Options{}, readFile(t, prototypes+"gemm.c19.ptx"))
		a, c, x, y := gemmArgs(b, m, n, k)
		cnt := b.run("gemm_bf16_tn", grid(n/128, m/128, 256), &a)
		if w := worstGemm(b.getF32(c), x, y, m, n, k); w > 1e-5 {
			t.Errorf("%v: error %g", s, w)
		}
		if cnt.Flops != uint64(2*m*n*k) || cnt.Conflicts() != 0 || cnt.Global.Units != cnt.Global.Ideal {
			t.Errorf("%v: %d flops, %d conflicts, %d sectors of ideally %d", s, cnt.Flops, cnt.Conflicts(), cnt.Global.Units, cnt.Global.Ideal)
		}
	}
}

func TestPrototypeWgmma(t *testing.T) {
	for _, k := range []int{64, 256, 640} {
		const m, n = 128, 64
		b := newBench(t, Options{}, readFile(t, prototypes+"wgmma.c22.ptx"))
		r := rand.New(rand.NewPCG(3, 4))
		x, y := normalBF16(r, m*k), normalBF16(r, n*k)
		c := b.alloc("C", 4*m*n)
		a := wgmmaArgs(b, x, y, c, m, n, k)
		cfg := grid(n/64, m/64, 160)
		cfg.Shared = 4*2*8192 + 64
		cnt := b.run("gemm_wgmma", cfg, a)
		if w := worstGemm(b.getF32(c), x, y, m, n, k); w > 1e-5 {
			t.Errorf("k=%d: error %g", k, w)
		}
		if cnt.Flops != uint64(2*m*n*k) || cnt.Global.BulkLoads != uint64(2*k*(m/64*n/64)*128) {
			t.Errorf("k=%d: %d flops, %d bytes by TMA", k, cnt.Flops, cnt.Global.BulkLoads)
		}
	}
}

func wgmmaArgs(b *bench, x, y []float32, c driver.Memory, m, n, k int) *driver.Args {
	encode := func(mem driver.Memory, rows int) *driver.EncodedTensorMap {
		e, err := b.dev.EncodeTensorMap(driver.TensorMap{
			Type: driver.TensorBF16, Addr: mem.Addr(), Dims: []uint64{uint64(k), uint64(rows)},
			Strides: []uint64{uint64(2 * k)}, Box: []uint32{64, 64}, Swizzle: 128,
		})
		if err != nil {
			b.t.Fatal(err)
		}
		return &e
	}
	var a driver.Args
	a.TensorMap(encode(b.putBF16("A", x), m)).TensorMap(encode(b.putBF16("B", y), n))
	return a.Addr(c.Addr()).I32(int32(m)).I32(int32(n)).I32(int32(k))
}
