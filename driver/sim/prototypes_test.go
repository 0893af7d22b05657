package sim

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
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

// prototypeWgmma is the prototype without its setmaxnreg, which one warp alone executes.
func prototypeWgmma(t testing.TB) string {
	return strings.Replace(readFile(t, prototypes+"wgmma.c22.ptx"), "setmaxnreg.dec.sync.aligned.u32 40;", "", 1)
}

func TestPrototypeWgmma(t *testing.T) {
	for _, k := range []int{64, 256, 640} {
		const m, n = 128, 64
		b := newBench(t, Options{}, prototypeWgmma(t))
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

func TestPrototypeRmsnorm(t *testing.T) {
	for _, n := range []int{4096, 1000, 8} {
		const rows = 3
		b := newBench(t, Options{}, readFile(t, prototypes+"rmsnorm.c19.ptx"))
		r := rand.New(rand.NewPCG(1, 2))
		x, w := normalBF16(r, rows*n), normalBF16(r, n)
		y, rstd := b.alloc("y", 2*rows*n), b.alloc("rstd", 4*rows)
		a := new(driver.Args).Addr(b.putBF16("x", x).Addr()).Addr(b.putBF16("w", w).Addr()).Addr(y.Addr()).Addr(rstd.Addr()).I32(int32(n)).F32(1e-5)
		c := b.run("rmsnorm_bf16", grid(rows, 1, 256), a)
		s := 0.0
		for i, got := range b.getBF16(y) {
			if i%n == 0 {
				s = 0
				for _, v := range x[i : i+n] {
					s += float64(v) * float64(v)
				}
			}
			want := float64(x[i]) / math.Sqrt(s/float64(n)+1e-5) * float64(w[i%n])
			if math.Abs(float64(got)-want) > math.Abs(want)/256+1e-6 {
				t.Fatalf("n=%d [%d]: %g, want %g", n, i, got, want)
			}
		}
		if n == 4096 && c.Global.Units != c.Global.Ideal {
			t.Errorf("%d sectors of ideally %d", c.Global.Units, c.Global.Ideal)
		}
	}
}

func TestPrototypeXent(t *testing.T) {
	const rows, v = 3, 1000
	b := newBench(t, Options{GlobalRaces: true}, readFile(t, prototypes+"xent.c19.ptx"))
	x := normalBF16(rand.New(rand.NewPCG(5, 6)), rows*v)
	target := []uint32{7, 0xffffffff, 999}
	logits, loss := b.putBF16("logits", x), b.alloc("loss", 4*rows)
	b.run("xent_fwd_bwd", grid(rows, 1, 256), new(driver.Args).Addr(logits.Addr()).Addr(b.putU32("target", target...).Addr()).Addr(loss.Addr()).I32(v).I32(v).F32(0.25))
	grad, losses := b.getBF16(logits), b.getF32(loss)
	for i := range rows {
		s := 0.0
		for _, l := range x[i*v : i*v+v] {
			s += math.Exp(float64(l))
		}
		want, hit := 0.0, int(int32(target[i]))
		if hit >= 0 {
			want = math.Log(s) - float64(x[i*v+hit])
		}
		if math.Abs(float64(losses[i])-want) > 2e-5 {
			t.Errorf("row %d: loss %g, want %g", i, losses[i], want)
		}
		for j := range v {
			g := 0.0
			if hit >= 0 {
				if g = math.Exp(float64(x[i*v+j])) / s; j == hit {
					g--
				}
			}
			if math.Abs(float64(grad[i*v+j])-0.25*g) > math.Abs(g)/800+1e-9 {
				t.Fatalf("row %d column %d: %g, want %g", i, j, grad[i*v+j], 0.25*g)
			}
		}
	}
}

// Three transposes of 64 x 64: their sectors and wavefronts were computed by hand.
func TestPrototypeTransposes(t *testing.T) {
	const n = 64
	for kernel, want := range map[string][2]uint64{"tr_naive": {n * n / 8 * (1 + 8), 0}, "tr_nopad": {2 * n * n / 8, n * n / 32 * (1 + 32)}, "tr_pad": {2 * n * n / 8, n * n / 32 * 2}} {
		b := newBench(t, Options{GlobalRaces: true}, readFile(t, prototypes+"coal.c19.ptx"))
		x := make([]float32, n*n)
		for i := range x {
			x[i] = float32(i)
		}
		y := b.alloc("y", 4*n*n)
		c := b.run(kernel, grid(n/32, n/32, 256), new(driver.Args).Addr(b.putF32("x", x).Addr()).Addr(y.Addr()).I32(n))
		for i, v := range b.getF32(y) {
			if v != x[i%n*n+i/n] {
				t.Fatalf("%s [%d]: %g", kernel, i, v)
			}
		}
		if c.Global.Units != want[0] || c.Shared.Units != want[1] {
			t.Errorf("%s: %d sectors, %d wavefronts, want %v", kernel, c.Global.Units, c.Shared.Units, want)
		}
	}
}

// philox is Philox4x32-10 (Salmon et al. 2011).
func philox(c [4]uint32, k0, k1 uint32) [4]uint32 {
	for range 10 {
		p, q := uint64(0xD2511F53)*uint64(c[0]), uint64(0xCD9E8D57)*uint64(c[2])
		c = [4]uint32{uint32(q>>32) ^ c[1] ^ k0, uint32(q), uint32(p>>32) ^ c[3] ^ k1, uint32(p)}
		k0, k1 = k0+0x9E3779B9, k1+0xBB67AE85
	}
	return c
}

func TestPrototypePhilox(t *testing.T) {
	if got := philox([4]uint32{}, 0, 0); got != [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8} { // Random123's known answer
		t.Fatalf("reference: %x", got)
	}
	for _, file := range []string{"philox.c19.ptx", "philox2.c19.ptx"} {
		const n = 4000
		b := newBench(t, Options{}, readFile(t, prototypes+file))
		seed, offset := uint64(0x123456789abcdef0), uint64(0xfffffff0)
		w := b.putF32("w", make([]float32, n))
		b.run("rademacher_axpy", grid(4, 1, 256), new(driver.Args).Addr(w.Addr()).U64(n).U64(seed).U64(offset).F32(0.125))
		for i, got := range b.getF32(w) {
			ctr := offset + uint64(i)/128
			c := philox([4]uint32{uint32(ctr), uint32(ctr >> 32)}, uint32(seed), uint32(seed>>32))
			want := float32(0.125)
			if c[i/32%4]>>(i%32)&1 != 0 {
				want = -want
			}
			if got != want {
				t.Fatalf("%s [%d]: %g, want %g", file, i, got, want)
			}
		}
	}
}

func TestBugsPlantedInThePrototypesAreFound(t *testing.T) {
	gemm := readFile(t, prototypes+"gemm.c19.ptx")
	wgmma := prototypeWgmma(t)
	for _, c := range []struct {
		name, kind, text string
		tall             int // number of extra blocks
	}{
		{"barrier gone", Race + AsyncHazard + Uninitialised, strings.Replace(gemm, "bar.sync", "//", 1), 0},
		{"wait for too few", AsyncHazard, strings.ReplaceAll(gemm, "wait_group 1;", "wait_group 2;"), 0},
		{"grid too tall", OutOfBounds, gemm, 1},
		{"vector store off by one", Misaligned, gemm, 0},
	} {
		if c.kind == Misaligned { // the first store, at an address 4 bytes higher
			i := strings.Index(gemm, "st.global.v2.f32")
			j := i + strings.Index(gemm[i:], "]")
			c.text = gemm[:j] + "+4" + gemm[j:]
		}
		for seed := range uint64(2) {
			b := newBench(t, Options{Seed: seed}, c.text)
			a, _, _, _ := gemmArgs(b, 128, 128, 128)
			b.fails(c.kind, "gemm_bf16_tn", grid(1, 1+c.tall, 256), &a)
		}
	}
	for _, c := range []struct{ name, kind, from, to string }{
		{"the wait does not loop", AsyncHazard + Uninitialised + Race + BadMbarrier, "bra LAB_WAIT;", ""},
		{"never given back", Deadlock, "mbarrier.arrive.shared::cta.b64", "//"},
		{"wrong byte count", Deadlock, "mov.b32 \t%r88, 16384;", "mov.b32 \t%r88, 16388;"},
	} {
		if !strings.Contains(wgmma, c.from) {
			t.Errorf("%s: no %q", c.name, c.from)
			continue
		}
		const m, n, k = 64, 64, 640
		b := newBench(t, Options{}, strings.ReplaceAll(wgmma, c.from, c.to))
		r := rand.New(rand.NewPCG(3, 4))
		cfg := grid(1, 1, 160)
		cfg.Shared = 4*2*8192 + 64
		b.fails(c.kind, "gemm_wgmma", cfg, wgmmaArgs(b, normalBF16(r, m*k), normalBF16(r, n*k), b.alloc("C", 4*m*n), m, n, k))
	}
}
