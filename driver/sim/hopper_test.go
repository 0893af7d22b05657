package sim

import (
	"math/rand/v2"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
)

func mapOf(b *bench, t driver.TensorMap) *driver.EncodedTensorMap {
	b.t.Helper()
	e, err := b.dev.EncodeTensorMap(t)
	if err != nil {
		b.t.Fatal(err)
	}
	return &e
}

// tileProduct prepares the kernel of testdata/hopper.cu.
func tileProduct(b *bench, k int) (driver.Config, *driver.Args, driver.Memory, []float32, []float32) {
	r := rand.New(rand.NewPCG(1, 2))
	x, y := normalBF16(r, 64*k), normalBF16(r, 64*k)
	c := b.alloc("C", 4*64*64)
	operand := func(name string, v []float32) *driver.EncodedTensorMap {
		return mapOf(b, driver.TensorMap{
			Type: driver.TensorBF16, Addr: b.putBF16(name, v).Addr(), Dims: []uint64{uint64(k), 64},
			Strides: []uint64{uint64(2 * k)}, Box: []uint32{64, 64}, Swizzle: 128,
		})
	}
	a := new(driver.Args).TensorMap(operand("A", x)).TensorMap(operand("B", y))
	a.TensorMap(mapOf(b, driver.TensorMap{Type: driver.TensorF32, Addr: c.Addr(), Dims: []uint64{64, 64}, Strides: []uint64{256}, Box: []uint32{64, 64}}))
	a.I32(int32(k))
	cfg := grid(1, 1, 160)
	cfg.Shared = 4*8192 + 16384 + 32
	return cfg, a, c, x, y
}

func TestHopperPipeline(t *testing.T) {
	text := readFile(t, "testdata/hopper.ptx")
	for seed := range uint64(5) {
		for _, k := range []int{64, 128, 448} {
			b := newBench(t, Options{Seed: seed}, text)
			cfg, a, c, x, y := tileProduct(b, k)
			n := b.run("tile_product", cfg, a)
			if w := worstGemm(b.getF32(c), x, y, 64, 64, k); w > 1e-5 {
				t.Errorf("seed %d k=%d: error %g", seed, k, w)
			}
			if n.Flops != uint64(2*64*64*k) || n.Global.BulkLoads != uint64(4*64*k) || n.Global.BulkStores != 4*64*64 || n.Global.BulkSectors != n.GlobalBytes()/32 {
				t.Errorf("k=%d: %d flops, %d B in, %d B out, %d sectors", k, n.Flops, n.Global.BulkLoads, n.Global.BulkStores, n.Global.BulkSectors)
			}
		}
	}
}

func TestPlantedHopperBugsAreFound(t *testing.T) {
	text := readFile(t, "testdata/hopper.ptx")
	const k = 448
	for _, c := range []struct {
		name, kind string
		edit       func(s string) string
	}{
		{"the consumer does not loop on its wait", AsyncHazard + Uninitialised, func(s string) string { return lastReplaced(s, "@!p bra AGAIN;", "") }},
		{"the consumer does not wait", AsyncHazard + Uninitialised, func(s string) string {
			return lastReplaced(lastReplaced(s, "@!p bra AGAIN;", ""), "mbarrier.try_wait.parity", "//")
		}},
		{"the producer does not wait", AsyncHazard + Race + BadMbarrier, func(s string) string { return strings.Replace(s, "@!p bra AGAIN;", "", 1) }},
		{"a stage is never given back", Deadlock, func(s string) string { return lastReplaced(s, "mbarrier.arrive.shared::cta.b64", "//") }},
		{"more bytes expected than come", Deadlock, func(s string) string { return strings.ReplaceAll(s, "0, 16384;", "0, 16400;") }},
		{"no wait for the products", BadWgmma + AsyncHazard, func(s string) string { return strings.Replace(s, "wgmma.wait_group.sync.aligned 0;", "", 1) }},
		{"no wgmma.fence", BadWgmma, func(s string) string { return strings.Replace(s, "wgmma.fence.sync.aligned;", "", 1) }},
		{"no proxy fence before the store", ProxyHazard, func(s string) string { return strings.Replace(s, "fence.proxy.async.shared::cta;", "", 1) }},
		{"no fence behind the initialisation", ProxyHazard, func(s string) string { return strings.Replace(s, "fence.mbarrier_init.release.cluster;", "", 1) }},
		{"no barrier before the store", Race + Uninitialised, func(s string) string { return strings.Replace(s, "bar.sync 1, 128;", "", 1) }},
		{"no wait for the store", AsyncHazard, func(s string) string { return strings.Replace(s, "cp.async.bulk.wait_group.read 0;", "", 1) }},
		{"no barrier behind the initialisation", BadMbarrier + Race, func(s string) string { return strings.Replace(s, "bar.sync \t0;", "", 1) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			edited := c.edit(text)
			if edited == text {
				t.Fatal("nothing was edited")
			}
			for seed := range uint64(4) {
				b := newBench(t, Options{Seed: seed}, edited)
				cfg, a, _, _, _ := tileProduct(b, k)
				f := b.fails(c.kind, "tile_product", cfg, a)
				if !strings.Contains(f.Source, "hopper.cu:") {
					t.Errorf("no source line in %v", f)
				}
				if seed == 0 {
					t.Log(f)
				}
			}
		})
	}
}

// lastReplaced replaces the last occurrence of a string.
func lastReplaced(s, from, to string) string {
	i := strings.LastIndex(s, from)
	if i < 0 {
		return s
	}
	return s[:i] + to + s[i+len(from):]
}

// Contiguous bulk copies: a copy in, its double copied out, and added once more.
func TestBulkCopies(t *testing.T) {
	body := `.shared .align 16 .b8 s[128]; .shared .align 8 .b64 bar; mov.u32 %r0, %tid.x; mov.u32 %r1, bar; mov.u32 %r2, s; mov.u32 %r3, 128; mul.wide.u32 %rd4, %r0, 4; cvt.u32.u64 %r4, %rd4; add.u32 %r4, %r4, %r2;
	elect.sync %r5|%p1, -1; @%p1 mbarrier.init.b64 [%rd9], 1; fence.mbarrier_init.release.cluster; bar.warp.sync -1;
	@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], %r3;
	@%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r2], [%rd1], %r3, [%r1];
	W: mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r1], 0; @!%p2 bra W;
	ld.shared.f32 %f1, [%r4]; add.f32 %f1, %f1, %f1; st.shared.f32 [%r4], %f1;
	fence.proxy.async; bar.warp.sync -1;
	@!%p1 bra E;
	cp.async.bulk.global.shared::cta.bulk_group [%rd0], [%r2], %r3; cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;
	cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%rd0], [%r2], %r3; cp.async.bulk.commit_group; WAIT
	E: barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;`
	body = strings.Replace(body, "elect.sync", "cvt.u64.u32 %rd9, %r1; cvta.shared.u64 %rd9, %rd9; elect.sync", 1)
	for _, c := range []struct{ wait, kind string }{
		{"cp.async.bulk.wait_group.read 0;", ""},
		{"", AsyncHazard},
		{"st.shared.f32 [%r4], %f1; cp.async.bulk.wait_group 0;", AsyncHazard}, // overwritten before the copy has read it
	} {
		b := newBench(t, Options{}, kernelText(strings.Replace(body, "WAIT", c.wait, 1), "%rd0", "%rd1"))
		out := b.alloc("out", 128)
		a := new(driver.Args).Addr(out.Addr()).Addr(b.putF32("in", ramp(32)).Addr())
		if c.kind != "" {
			b.fails(c.kind, "k", grid(1, 1, 32), a)
			continue
		}
		n := b.run("k", grid(1, 1, 32), a)
		for i, v := range b.getF32(out) {
			if want := 4 * ramp(32)[i]; v != want {
				t.Errorf("[%d]: %g, want %g", i, v, want)
			}
		}
		if n.Global.BulkLoads != 128 || n.Global.BulkStores != 256 {
			t.Errorf("%+v", n.Global)
		}
	}
}

func TestRegistersOfWarpgroups(t *testing.T) {
	for _, c := range []struct{ body, kind string }{
		{"setp.lt.u32 %p1, %r0, 128; @%p1 bra P; setmaxnreg.inc.sync.aligned.u32 240; bra E; P: setmaxnreg.dec.sync.aligned.u32 24; E:", ""},
		{"setp.lt.u32 %p1, %r0, 128; @%p1 bra P; setmaxnreg.inc.sync.aligned.u32 248; bra E; P: setmaxnreg.dec.sync.aligned.u32 24; E:", BadRegisters},
		{"setp.lt.u32 %p1, %r0, 128; @%p1 bra E; setmaxnreg.inc.sync.aligned.u32 232; E:", BadRegisters}, // no warpgroup gave up registers
		{"setp.lt.u32 %p1, %r0, 128; @%p1 bra P; setmaxnreg.inc.sync.aligned.u32 232; bra E; P: setp.lt.u32 %p1, %r0, 32; @!%p1 bra E; setmaxnreg.dec.sync.aligned.u32 40; E:", BadRegisters},
	} {
		b := newBench(t, Options{}, kernelText("mov.u32 %r0, %tid.x; "+c.body, "%rd0"))
		a := new(driver.Args).Addr(b.alloc("out", 4).Addr())
		if c.kind == "" {
			b.run("k", grid(1, 1, 384), a)
		} else {
			b.fails(c.kind, "k", grid(1, 1, 384), a)
		}
	}
}

// While a product is being computed, the registers from which it reads A may be read but not
// written.
func TestRegistersOfAInFlight(t *testing.T) {
	body := func(meanwhile string) string {
		return kernelText(`.shared .align 1024 .b8 s[8192]; mov.u32 %r1, 5; mov.u32 %r2, 6; mov.u32 %r3, 7; mov.u32 %r4, 8;
	mov.u64 %rd4, s; shr.u64 %rd4, %rd4, 4; or.b64 %rd4, %rd4, 0x4000004000010000; setp.eq.u32 %p1, %r1, 5;
	wgmma.fence.sync.aligned;
	wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%f0, %f1, %f2, %f3}, {%r1, %r2, %r3, %r4}, %rd4, 0, 1, 1, 0;
	wgmma.commit_group.sync.aligned; `+meanwhile+` wgmma.wait_group.sync.aligned 0;`, "%rd0")
	}
	for _, c := range []struct {
		meanwhile string
		lint      int
		kind      string
	}{
		{"add.u32 %r5, %r1, %r2; st.global.u32 [%rd0], %r1;", 0, Uninitialised}, // B, which was not written
		{"add.u32 %r3, %r1, %r2;", 1, AsyncHazard},
		{"@%p1 ld.global.u32 %r4, [%rd0];", 1, AsyncHazard},
	} {
		text := body(c.meanwhile)
		if errs := Lint("a", []byte(text), "", ""); len(errs) != c.lint || c.lint > 0 && !strings.Contains(errs[0].Error(), "from which a wgmma reads A is written") {
			t.Errorf("%s: %v", c.meanwhile, errs)
		}
		b := newBench(t, Options{}, text)
		b.fails(c.kind, "k", grid(1, 1, 128), new(driver.Args).Addr(b.putF32("out", make([]float32, 1)).Addr()))
	}
}
