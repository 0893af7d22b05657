package sim

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
)

func lanesOf(f func(i int) uint32) []uint32 {
	w := make([]uint32, 32)
	for i := range w {
		w[i] = f(i)
	}
	return w
}

func TestWarpExchange(t *testing.T) {
	v := lanesOf(func(i int) uint32 { return uint32(100 + i) })
	odd := func(i int) uint32 { return uint32(i & 1) }
	cases := []struct {
		code string
		want func(i int) uint32
	}{
		{"shfl.sync.bfly.b32 %r0, %r1, 5, 31, -1;", func(i int) uint32 { return uint32(100 + (i ^ 5)) }},
		{"shfl.sync.up.b32 %r0|%p1, %r1, 3, 0, -1; @!%p1 mov.u32 %r0, 7;", func(i int) uint32 {
			if i < 3 {
				return 7
			}
			return uint32(100 + i - 3)
		}},
		{"shfl.sync.down.b32 %r0, %r1, 4, 0x1807, -1;", func(i int) uint32 { // segments of 8
			if i%8 >= 4 {
				return uint32(100 + i)
			}
			return uint32(104 + i)
		}},
		{"shfl.sync.idx.b32 %r0, %r1, 9, 31, -1;", func(int) uint32 { return 109 }},
		{"and.b32 %r4, %r1, 1; setp.ne.u32 %p1, %r4, 0; vote.sync.ballot.b32 %r0, %p1, -1;", func(int) uint32 { return 0xaaaaaaaa }},
		{"setp.gt.u32 %p1, %r1, 130; vote.sync.any.pred %p2, %p1, -1; vote.sync.all.pred %p3, %p1, -1; selp.u32 %r0, 1, 0, %p2; @%p3 add.u32 %r0, %r0, 2;", func(int) uint32 { return 1 }},
		{"redux.sync.add.s32 %r0, %r1, -1;", func(int) uint32 { return 32*100 + 31*16 }},
		{"redux.sync.max.u32 %r0, %r1, -1;", func(int) uint32 { return 131 }},
		{"redux.sync.xor.b32 %r0, %r1, -1;", func(int) uint32 {
			x := uint32(0)
			for i := range 32 {
				x ^= uint32(100 + i)
			}
			return x
		}},
		{"and.b32 %r4, %r1, 1; match.any.sync.b32 %r0, %r4, -1;", func(i int) uint32 { return 0x55555555 << odd(i) }},
		{"match.all.sync.b32 %r0|%p1, %r1, -1;", func(int) uint32 { return 0 }},
		{"elect.sync %r4|%p1, -1; selp.u32 %r0, 1, 0, %p1;", func(i int) uint32 {
			if i == 0 {
				return 1
			}
			return 0
		}},
		// Half of the warp in each branch, each with its own mask.
		{"mov.u32 %r5, %laneid; setp.lt.u32 %p1, %r5, 16; @%p1 bra A; shfl.sync.idx.b32 %r0, %r1, 16, 31, 0xffff0000; bra B; A: shfl.sync.idx.b32 %r0, %r1, 2, 31, 0xffff; B: activemask.b32 %r6; setp.ne.u32 %p2, %r6, -1; @%p2 mov.u32 %r0, 0;", func(i int) uint32 {
			if i < 16 {
				return 102
			}
			return 116
		}},
		// A loop whose trip count depends on the lane, and the code after it.
		{"mov.u32 %r5, %laneid; mov.u32 %r0, 0; L: add.u32 %r0, %r0, %r5; add.u32 %r5, %r5, 1; setp.lt.u32 %p1, %r5, 32; @%p1 bra L; redux.sync.or.b32 %r6, %r0, -1; add.u32 %r0, %r0, 0;", func(i int) uint32 {
			s := uint32(0)
			for k := i; k < 32; k++ {
				s += uint32(k)
			}
			return s
		}},
		{"mov.u32 %r5, %laneid; and.b32 %r5, %r5, 3; ts: .branchtargets T0, T1, T2, T3; brx.idx %r5, ts; T0: mov.u32 %r0, 10; bra E; T1: mov.u32 %r0, 11; bra E; T2: mov.u32 %r0, 12; bra E; T3: mov.u32 %r0, 13; E: bar.warp.sync -1;", func(i int) uint32 { return uint32(10 + i&3) }},
	}
	for _, c := range cases {
		got := run3(t, c.code, v, v, v)
		for i := range got {
			if want := c.want(i); got[i] != want {
				t.Errorf("%s lane %d: %#x, want %#x", c.code, i, got[i], want)
			}
		}
	}
}

func TestAtomics(t *testing.T) {
	v := lanesOf(func(i int) uint32 { return uint32(3*i + 1) })
	for _, c := range []struct {
		code string
		init uint32
		want uint32
	}{
		{"red.global.add.u32 [%rd0], %r1;", 5, 5 + 32 + 3*31*16},
		{"atom.global.max.s32 %r4, [%rd0], %r1;", 50, 94},
		{"atom.global.min.u32 %r4, [%rd0], %r1;", 50, 1},
		{"red.relaxed.gpu.global.or.b32 [%rd0], %r1;", 0, func() (x uint32) {
			for i := range 32 {
				x |= uint32(3*i + 1)
			}
			return
		}()},
		{"atom.global.inc.u32 %r4, [%rd0], 9;", 0, 2},
		{"atom.global.exch.b32 %r4, [%rd0], %r1;", 0, 94},
		{"cvt.rn.f32.u32 %f1, %r1; red.global.add.f32 [%rd0], %f1;", math.Float32bits(0.5), math.Float32bits(0.5 + 32 + 3*31*16)},
		// A lock by compare and swap that the lanes of a warp take in turn.
		{"L: atom.global.cas.b32 %r4, [%rd0], 0, 1; setp.ne.u32 %p1, %r4, 0; @%p1 bra L; ld.volatile.global.u32 %r5, [%rd0+4]; add.u32 %r5, %r5, %r1; st.volatile.global.u32 [%rd0+4], %r5; atom.global.exch.b32 %r4, [%rd0], 0;", 0, 0},
	} {
		b := newBench(t, Options{}, kernelText("mov.u32 %r9, %tid.x; mul.wide.u32 %rd9, %r9, 4; add.u64 %rd9, %rd1, %rd9; ld.global.b32 %r1, [%rd9];"+c.code, "%rd0", "%rd1"))
		d := b.putU32("d", c.init, 0)
		b.run("k", grid(1, 1, 32), new(driver.Args).Addr(d.Addr()).Addr(b.putU32("v", v...).Addr()))
		got := b.getU32(d)
		if got[0] != c.want {
			t.Errorf("%s: %d, want %d", c.code, got[0], c.want)
		}
		if strings.Contains(c.code, "cas") && got[1] != 32+3*31*16 {
			t.Errorf("under the lock: %d", got[1])
		}
	}
}

func TestSharedAtomicsAndNamedBarriers(t *testing.T) {
	// Warps 0 and 1 count into shared memory and meet at barrier 3; warp 2 only arrives
	// and warp 3 waits for it at barrier 4; bar.red counts the odd threads.
	body := `.shared .align 4 .b32 s[2]; mov.u32 %r0, %tid.x; setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [s], 0; bar.sync 0;
	shr.u32 %r1, %r0, 5; mov.u32 %r6, s;
	setp.ge.u32 %p2, %r1, 2; @%p2 bra HIGH;
	atom.shared.add.u32 %r2, [%r6], 1; bar.sync 3, 64; ld.shared.u32 %r3, [s]; bra END;
	HIGH: setp.eq.u32 %p3, %r1, 3; @%p3 bra LAST; st.shared.u32 [s+4], 77; bar.arrive 4, 64; mov.u32 %r3, 1; bra END;
	LAST: bar.sync 4, 64; ld.shared.u32 %r3, [s+4];
	END: and.b32 %r4, %r0, 1; setp.ne.u32 %p4, %r4, 0; bar.red.popc.u32 %r5, 0, %p4; add.u32 %r3, %r3, %r5;
	mul.wide.u32 %rd1, %r0, 4; add.u64 %rd1, %rd0, %rd1; st.global.u32 [%rd1], %r3;`
	body = strings.Replace(body, "st.shared.u32 [s+4], 77;", "setp.eq.u32 %p5, %r0, 64; @%p5 st.shared.u32 [s+4], 77;", 1)
	for seed := range uint64(5) {
		b := newBench(t, Options{Seed: seed}, kernelText(body, "%rd0"))
		d := b.alloc("d", 4*128)
		b.run("k", grid(1, 1, 128), new(driver.Args).Addr(d.Addr()))
		got := b.getU32(d)
		for i, v := range got {
			want := []uint32{64, 64, 1, 77}[i/32] + 64
			if v != want {
				t.Errorf("seed %d thread %d: %d, want %d", seed, i, v, want)
			}
		}
		b = newBench(t, Options{Seed: seed}, kernelText(strings.Replace(body, "LAST: bar.sync 4, 64;", "LAST: bar.arrive 4, 64;", 1), "%rd0"))
		b.fails(Race+Uninitialised, "k", grid(1, 1, 128), new(driver.Args).Addr(b.alloc("d", 512).Addr()))
	}
}

// mma of every shape against float64, from fragments filled through their definition.
func TestMma(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 9))
	small := func(dec func(uint32) float32, width int) (uint32, float64) {
		for {
			u := r.Uint32() & (1<<width - 1)
			if width == 32 {
				u = math.Float32bits(float32(r.NormFloat64())) &^ 0x1fff
			}
			if v := dec(u); math.Abs(float64(v)) < 8 && (math.Abs(float64(v)) > 1e-3 || v == 0) {
				return u, float64(v)
			}
		}
	}
	for _, c := range []struct {
		shape, types string
		k, per       int
		et           typ
		half         bool
	}{
		{"m16n8k16", "f32.bf16.bf16.f32", 16, 2, tBF16, false},
		{"m16n8k16", "f32.f16.f16.f32", 16, 2, tF16, false},
		{"m16n8k16", "f16.f16.f16.f16", 16, 2, tF16, true},
		{"m16n8k8", "f32.bf16.bf16.f32", 8, 2, tBF16, false},
		{"m16n8k8", "f32.tf32.tf32.f32", 8, 1, tTF32, false},
		{"m16n8k4", "f32.tf32.tf32.f32", 4, 1, tTF32, false},
		{"m16n8k32", "f32.e4m3.e4m3.f32", 32, 4, tE4M3, false},
		{"m16n8k32", "f32.e5m2.e5m2.f32", 32, 4, tE5M2, false},
	} {
		dec, width := elementDecoder(c.et), 32/c.per
		na, nb := c.k/(2*c.per), c.k/(4*c.per)
		var av [16][32]float64
		var bv [8][32]float64
		frag := func(n, blocks int, set func(row, col int, v float64)) []uint32 {
			w := make([]uint32, 32*n)
			for reg := range n {
				for lane := range 32 {
					for e := range c.per {
						u, v := small(dec, width)
						w[lane*n+reg] |= u << (e * width)
						set(lane/4+8*(reg%blocks), lane%4*c.per+e+4*c.per*(reg/blocks), v)
					}
				}
			}
			return w
		}
		a := frag(na, 2, func(i, j int, v float64) { av[i][j] = v })
		bb := frag(nb, 1, func(i, j int, v float64) { bv[i][j] = v })
		nc := 4
		reg := "%f"
		if c.half {
			nc, reg = 2, "%r"
		}
		list := func(p string, from, n int) string {
			var s []string
			for i := range n {
				s = append(s, p+itoa(from+i))
			}
			return "{" + strings.Join(s, ", ") + "}"
		}
		var code strings.Builder
		code.WriteString("mov.u32 %r9, %tid.x;")
		for i := range na {
			code.WriteString("mad.wide.u32 %rd9, %r9, " + itoa(4*na) + ", %rd1; ld.global.b32 %r" + itoa(10+i) + ", [%rd9+" + itoa(4*i) + "];")
		}
		for i := range nb {
			code.WriteString("mad.wide.u32 %rd9, %r9, " + itoa(4*nb) + ", %rd2; ld.global.b32 %r" + itoa(20+i) + ", [%rd9+" + itoa(4*i) + "];")
		}
		for i := range nc {
			code.WriteString("mov.b32 " + reg + itoa(30+i) + ", 0;")
		}
		op := "mma.sync.aligned." + c.shape + ".row.col." + c.types + " " + list(reg, 30, nc) + ", " + list("%r", 10, na) + ", " + list("%r", 20, nb) + ", " + list(reg, 30, nc) + ";"
		code.WriteString(op + op) // twice: it accumulates
		for i := range nc {
			code.WriteString("mad.wide.u32 %rd9, %r9, " + itoa(4*nc) + ", %rd0; st.global.b32 [%rd9+" + itoa(4*i) + "], " + reg + itoa(30+i) + ";")
		}
		b := newBench(t, Options{}, kernelText(code.String(), "%rd0", "%rd1", "%rd2"))
		d := b.alloc("d", 128*nc)
		cnt := b.run("k", grid(1, 1, 32), new(driver.Args).Addr(d.Addr()).Addr(b.putU32("a", a...).Addr()).Addr(b.putU32("b", bb...).Addr()))
		if want := uint64(2 * 2 * 16 * 8 * c.k); cnt.Flops != want {
			t.Errorf("%s.%s: %d flops, want %d", c.shape, c.types, cnt.Flops, want)
		}
		out := b.getU32(d)
		for lane := range 32 {
			for q := range 4 {
				i, j := lane/4+q/2*8, lane%4*2+q%2
				s, abs := 0.0, 0.0
				for k := range c.k {
					s += 2 * av[i][k] * bv[j][k]
					abs += math.Abs(2 * av[i][k] * bv[j][k])
				}
				got, tol := 0.0, 1e-6*abs
				if c.half {
					got, tol = float64(formatF16.decode(out[lane*2+q/2]>>(16*(q%2))&0xffff)), 2e-3*abs
				} else {
					got = float64(math.Float32frombits(out[lane*4+q]))
				}
				if math.Abs(got-s) > tol {
					t.Fatalf("%s.%s [%d,%d]: %g, want %g", c.shape, c.types, i, j, got, s)
				}
			}
		}
	}
}

func TestMatrixLoadsAndStores(t *testing.T) {
	// Each lane stores its row of 16 bytes; ldmatrix.trans and movmatrix must agree, and
	// stmatrix must write the fragment back to where it was.
	body := `.shared .align 16 .b8 s[512]; .shared .align 16 .b8 u[512]; mov.u32 %r0, %tid.x; shl.b32 %r1, %r0, 4; mov.u32 %r2, s; add.u32 %r3, %r2, %r1;
	mov.u32 %r4, u; add.u32 %r4, %r4, %r1;
	mul.wide.u32 %rd5, %r0, 16; add.u64 %rd6, %rd1, %rd5; ld.global.v4.b32 {%r10, %r11, %r12, %r13}, [%rd6]; st.shared.v4.b32 [%r3], {%r10, %r11, %r12, %r13};
	bar.warp.sync -1;
	ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r20, %r21, %r22, %r23}, [%r3];
	ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%r24, %r25, %r26, %r27}, [%r3];
	movmatrix.sync.aligned.m8n8.trans.b16 %r28, %r20;
	stmatrix.sync.aligned.m8n8.x4.shared.b16 [%r4], {%r20, %r21, %r22, %r23};
	bar.warp.sync -1;
	ld.shared.v4.b32 {%r30, %r31, %r32, %r33}, [%r4];
	xor.b32 %r30, %r30, %r10; xor.b32 %r31, %r31, %r11; xor.b32 %r32, %r32, %r12; xor.b32 %r33, %r33, %r13;
	or.b32 %r30, %r30, %r31; or.b32 %r30, %r30, %r32; or.b32 %r30, %r30, %r33; xor.b32 %r28, %r28, %r24;
	add.u64 %rd7, %rd0, %rd5; st.global.v4.b32 [%rd7], {%r30, %r28, %r21, %r25};`
	in := make([]uint32, 128) // element e of the matrix, as 16 bits, is e
	for i := range in {
		in[i] = uint32(2*i) | uint32(2*i+1)<<16
	}
	b := newBench(t, Options{}, kernelText(body, "%rd0", "%rd1"))
	d := b.alloc("d", 512)
	c := b.run("k", grid(1, 1, 32), new(driver.Args).Addr(d.Addr()).Addr(b.putU32("in", in...).Addr()))
	out := b.getU32(d)
	for lane := range 32 {
		plain := in[(8+lane/4)*4+lane%4]
		at := func(r, c int) uint32 { return uint32(64 + 8*r + c) }
		trans := at(lane%4*2, lane/4) | at(lane%4*2+1, lane/4)<<16
		if got := out[4*lane : 4*lane+4]; !slices.Equal(got, []uint32{0, 0, plain, trans}) {
			t.Errorf("lane %d: %x, want 0 0 %x %x", lane, got, plain, trans)
		}
	}
	if c.Conflicts() != 0 {
		t.Errorf("%d bank conflicts", c.Conflicts())
	}
	b = newBench(t, Options{}, kernelText(strings.Replace(body, "bar.warp.sync -1;", "", 1), "%rd0", "%rd1"))
	b.fails(Race, "k", grid(1, 1, 32), new(driver.Args).Addr(b.alloc("d", 512).Addr()).Addr(b.putU32("in", in...).Addr()))
}
