package sim

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
)

// clusterText is kernelText with clusters of these extents.
func clusterText(extents, body string, pointers ...string) string {
	return strings.Replace(kernelText(body, pointers...), ")\n{\n", ")\n.explicitcluster\n.reqnctapercluster "+extents+"\n{\n", 1)
}

const clusterSync = "barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;"

func TestClusterCoordinates(t *testing.T) {
	body := `mov.u32 %r9, %ctaid.y; mov.u32 %r8, %nctaid.x; mov.u32 %r7, %ctaid.x; mad.lo.u32 %r9, %r9, %r8, %r7; mul.wide.u32 %rd1, %r9, 64; add.u64 %rd0, %rd0, %rd1;
	mov.pred %p1, %is_explicit_cluster; selp.b32 %r10, 1, 0, %p1; st.global.u32 [%rd0+44], %r10;`
	names := []string{
		"clusterid.x", "clusterid.y", "nclusterid.x", "nclusterid.y", "cluster_ctaid.x", "cluster_ctaid.y",
		"cluster_nctaid.x", "cluster_nctaid.y", "cluster_ctarank", "cluster_nctarank", "cluster_ctaid.z",
	}
	for i, n := range names {
		body += fmt.Sprintf(" mov.u32 %%r1, %%%s; st.global.u32 [%%rd0+%d], %%r1;", n, 4*i)
	}
	b := newBench(t, Options{Workers: 2}, clusterText("2, 4, 1", body, "%rd0"))
	y := b.alloc("y", 64*6*8)
	b.run("k", grid(6, 8, 1), new(driver.Args).Addr(y.Addr()))
	p := b.get(y)
	for cy := range 8 {
		for cx := range 6 {
			for i, want := range []int{cx / 2, cy / 4, 3, 2, cx % 2, cy % 4, 2, 4, cx%2 + cy%4*2, 8, 0, 1} {
				if got := le.Uint32(p[64*(cx+6*cy)+4*i:]); got != uint32(want) {
					t.Errorf("block (%d, %d): %s is %d, want %d", cx, cy, append(names, "is_explicit_cluster")[i], got, want)
				}
			}
		}
	}
}

func TestGridsOfWholeClusters(t *testing.T) {
	b := newBench(t, Options{}, clusterText("2, 1, 1", "", "%rd0"))
	err := b.launch("k", grid(3, 1, 32), new(driver.Args).U64(0))
	if err == nil || !strings.Contains(err.Error(), "not a multiple of the kernel's clusters of [2 1 1]") {
		t.Errorf("a grid of 3 blocks: %v", err)
	}
	var e *SyntaxError
	if _, err := New(Options{}).LoadModule("k", []byte(clusterText("4, 4, 1", "", "%rd0"))); !errors.As(err, &e) || !strings.Contains(err.Error(), "a cluster of 16") {
		t.Errorf("a cluster of 16 blocks: %v", err)
	}
}

// exchange: each block writes 1000 rank + thread and reads what the next of its cluster wrote.
const exchange = `.shared .align 16 .b8 s[256];
	mov.u32 %r0, %tid.x; mov.u32 %r1, %cluster_ctarank; mov.u32 %r2, %cluster_nctarank;
	mov.u32 %r3, s; shl.b32 %r4, %r0, 2; add.u32 %r4, %r4, %r3; mad.lo.u32 %r5, %r1, 1000, %r0;
	st.shared.u32 [%r4], %r5;
	barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;
	add.u32 %r6, %r1, 1; rem.u32 %r6, %r6, %r2; mapa.shared::cluster.u32 %r7, %r4, %r6; getctarank.shared::cluster.u32 %r10, %r7;
	ld.shared::cluster.u32 %r8, [%r7];
	barrier.cluster.arrive; barrier.cluster.wait;
	sub.u32 %r10, %r10, %r6; add.u32 %r8, %r8, %r10; mov.u32 %r9, %ctaid.x; mad.lo.u32 %r9, %r9, 64, %r0; mul.wide.u32 %rd1, %r9, 4; add.u64 %rd1, %rd0, %rd1;
	st.global.u32 [%rd1], %r8;`

// generic is exchange through generic addresses.
func generic(s string) string {
	return strings.Replace(strings.Replace(s, "mapa.shared::cluster.u32 %r7, %r4, %r6; getctarank.shared::cluster.u32 %r10, %r7;",
		"cvt.u64.u32 %rd2, %r4; cvta.shared.u64 %rd2, %rd2; mapa.u64 %rd2, %rd2, %r6; getctarank.u64 %r10, %rd2;", 1), "ld.shared::cluster.u32 %r8, [%r7]", "ld.u32 %r8, [%rd2]", 1)
}

func TestBlocksOfAClusterReadOneAnother(t *testing.T) {
	for _, n := range []int{1, 2, 4, 8} {
		for seed := range uint64(4) {
			for _, body := range []string{exchange, generic(exchange)} {
				b := newBench(t, Options{Seed: seed, GlobalRaces: seed == 1}, clusterText(fmt.Sprint(n), body, "%rd0"))
				y := b.alloc("y", 4*64*16)
				b.run("k", grid(16, 1, 64), new(driver.Args).Addr(y.Addr()))
				for i, got := range b.getU32(y) {
					block, thread := i/64, i%64
					if want := (block%n+1)%n*1000 + thread; int(got) != want {
						t.Fatalf("clusters of %d, seed %d, block %d thread %d: %d, want %d", n, seed, block, thread, got, want)
					}
				}
			}
		}
	}
}

// remoteArrival: every block of the cluster stores 7 + 10 rank in block 0 and arrives at its
// mbarrier; block 0 waits and adds them up.
const remoteArrival = `.shared .align 8 .b64 bar; .shared .align 16 .b8 s[128];
	mov.u32 %r0, %tid.x; mov.u32 %r1, %cluster_ctarank; mov.u32 %r2, %cluster_nctarank; mov.u32 %r3, bar; mov.u32 %r4, s;
	setp.eq.u32 %p1, %r0, 0; setp.eq.u32 %p2, %r1, 0;
	@%p1 mbarrier.init.shared::cta.b64 [%r3], %r2;
	@%p1 fence.mbarrier_init.release.cluster;
	barrier.cluster.arrive.relaxed.aligned; barrier.cluster.wait.aligned;
	@!%p1 bra END;
	shl.b32 %r5, %r1, 2; add.u32 %r5, %r5, %r4; mov.u32 %r6, 0; mapa.shared::cluster.u32 %r7, %r5, %r6; mapa.shared::cluster.u32 %r8, %r3, %r6; mad.lo.u32 %r9, %r1, 10, 7;
	st.shared::cluster.u32 [%r7], %r9;
	mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r8];
	@!%p2 bra END;
	WAIT: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r3], 0;
	@!%p3 bra WAIT;
	mov.u32 %r10, 0; mov.u32 %r11, 0;
	ADD: ld.shared.u32 %r12, [%r4]; add.u32 %r10, %r10, %r12; add.u32 %r4, %r4, 4; add.u32 %r11, %r11, 1; setp.lt.u32 %p4, %r11, %r2; @%p4 bra ADD;
	st.global.u32 [%rd0], %r10;
	END: barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;`

// counting: every thread of a cluster adds its rank + 1 to a counter in block 0.
const counting = `.shared .align 4 .b32 n; mov.u32 %r0, %tid.x; mov.u32 %r1, %cluster_ctarank; mov.u32 %r3, n; mov.u32 %r4, 0; add.u32 %r5, %r1, 1;
	setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [%r3], %r4; ` + clusterSync + `
	mapa.shared::cluster.u32 %r7, %r3, %r4;
	red.relaxed.cluster.shared::cluster.add.u32 [%r7], %r5;
	` + clusterSync + ` setp.ne.u32 %p2, %r1, 0; @%p2 ret; @!%p1 ret; ld.shared.u32 %r8, [%r3]; st.global.u32 [%rd0], %r8;`

func TestArrivalsAndAtomicsInAnotherBlock(t *testing.T) {
	for _, n := range []int{1, 2, 8} {
		for seed := range uint64(4) {
			for _, c := range []struct {
				body string
				want int
			}{{remoteArrival, 7*n + 10*n*(n-1)/2}, {counting, 64 * n * (n + 1) / 2}} {
				b := newBench(t, Options{Seed: seed}, clusterText(fmt.Sprint(n), c.body, "%rd0"))
				y := b.alloc("y", 4)
				b.run("k", grid(n, 1, 64), new(driver.Args).Addr(y.Addr()))
				if got := int(b.getU32(y)[0]); got != c.want {
					t.Errorf("clusters of %d, seed %d: %d, want %d", n, seed, got, c.want)
				}
			}
		}
	}
}

// multicast: of each pair of 256-byte halves block 0 loads the first and block 1 the second,
// both for both; each copies the pair to its own output. A stage is filled again when both
// blocks have released it.
const multicast = `.shared .align 128 .b8 s[512]; .shared .align 8 .b64 full; .shared .align 8 .b64 empty;
	mov.u32 %r0, %tid.x; mov.u32 %r1, %cluster_ctarank; mov.u32 %r2, s; mov.u32 %r3, full; mov.u32 %r4, empty; setp.eq.u32 %p1, %r0, 0;
	@!%p1 bra START; mbarrier.init.shared::cta.b64 [%r3], 1; mbarrier.init.shared::cta.b64 [%r4], 2; fence.mbarrier_init.release.cluster;
	START: barrier.cluster.arrive.relaxed.aligned; barrier.cluster.wait.acquire.aligned;
	mov.u16 %h1, 3; mov.u32 %r5, 0; mov.u32 %r6, 0; mov.u32 %r7, 1; mad.lo.u32 %r8, %r1, 256, %r2; shl.b32 %r9, %r1, 1; xor.b32 %r10, %r1, 1; mapa.shared::cluster.u32 %r11, %r4, %r10;
	shl.b32 %r12, %r0, 4; mul.wide.u32 %rd2, %r0, 16; add.u64 %rd0, %rd0, %rd2; mul.wide.u32 %rd2, %r1, 2048; add.u64 %rd0, %rd0, %rd2; add.u32 %r12, %r12, %r2;
	NEXT: @!%p1 bra TAKE;
	ROOM: mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r4], %r7; @!%p2 bra ROOM;
	mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r3], 512;
	cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%r8], [%rd1, {%r5, %r9}], [%r3], %h1;
	TAKE: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r3], %r6; @!%p3 bra TAKE;
	ld.shared.v4.f32 {%f0, %f1, %f2, %f3}, [%r12];
	bar.warp.sync -1; st.global.v4.f32 [%rd0], {%f0, %f1, %f2, %f3};
	@%p1 mbarrier.arrive.shared::cta.b64 _, [%r4];
	@%p1 mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r11];
	add.u64 %rd0, %rd0, 512; add.u32 %r9, %r9, 4; xor.b32 %r6, %r6, 1; xor.b32 %r7, %r7, 1; setp.lt.u32 %p4, %r9, 16; @%p4 bra NEXT;
	` + clusterSync

func prepareMulticast(b *bench) (driver.Config, *driver.Args, driver.Memory, []float32) {
	x := ramp(16 * 32)
	y := b.alloc("y", 2*2048)
	m := mapOf(b, driver.TensorMap{Type: driver.TensorF32, Addr: b.putF32("x", x).Addr(), Dims: []uint64{32, 16}, Strides: []uint64{128}, Box: []uint32{32, 2}})
	return grid(2, 1, 32), new(driver.Args).Addr(y.Addr()).Addr(b.put("map", m[:]).Addr()), y, x
}

func TestMulticast(t *testing.T) {
	for seed := range uint64(6) {
		b := newBench(t, Options{Seed: seed}, clusterText("2", multicast, "%rd0", "%rd1"))
		cfg, a, y, x := prepareMulticast(b)
		c := b.run("k", cfg, a)
		for i, got := range b.getF32(y) {
			if got != x[i%512] {
				t.Fatalf("seed %d, block %d: element %d is %g, want %g", seed, i/512, i%512, got, x[i%512])
			}
		}
		if c.Global.BulkLoads != 2048 { // once, although two blocks get it
			t.Errorf("%d bytes loaded of 2048", c.Global.BulkLoads)
		}
	}
}

// copyAcross: block 0 copies 128 bytes of its shared memory into block 1's.
const copyAcross = `.shared .align 16 .b8 s[128]; .shared .align 8 .b64 bar; mov.u32 %r0, %tid.x; mov.u32 %r1, %cluster_ctarank; mov.u32 %r2, s; mov.u32 %r3, bar;
	setp.eq.u32 %p1, %r0, 0; setp.eq.u32 %p2, %r1, 0; shl.b32 %r4, %r0, 2; add.u32 %r4, %r4, %r2; mad.lo.u32 %r5, %r0, 3, 5;
	@%p1 mbarrier.init.shared::cta.b64 [%r3], 1; @%p1 fence.mbarrier_init.release.cluster; ` + clusterSync + `
	@!%p2 bra GET; st.shared.u32 [%r4], %r5;
	fence.proxy.async;
	bar.warp.sync -1; @!%p1 bra END; mov.u32 %r6, 1; mapa.shared::cluster.u32 %r7, %r2, %r6; mapa.shared::cluster.u32 %r8, %r3, %r6;
	cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%r7], [%r2], 128, [%r8];
	bra END;
	GET: @%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r3], 128;
	WAIT: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r3], 0;
	@!%p3 bra WAIT;
	ld.shared.u32 %r9, [%r4]; mul.wide.u32 %rd1, %r0, 4; add.u64 %rd0, %rd0, %rd1; st.global.u32 [%rd0], %r9;
	END: ` + clusterSync

func TestCopyIntoAnotherBlock(t *testing.T) {
	for seed := range uint64(4) {
		b := newBench(t, Options{Seed: seed}, clusterText("2", copyAcross, "%rd0"))
		y := b.alloc("y", 128)
		b.run("k", grid(2, 1, 32), new(driver.Args).Addr(y.Addr()))
		for i, got := range b.getU32(y) {
			if got != uint32(3*i+5) {
				t.Errorf("seed %d: element %d is %d", seed, i, got)
			}
		}
	}
}
