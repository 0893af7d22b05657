package sim

import (
	"bytes"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
)

func TestEverySpaceAndTheGenericOne(t *testing.T) {
	text := `.version 8.0
.target sm_90a
.address_size 64
.const .align 4 .b32 table[4] = {10, 20, 30, 40};
.global .align 8 .u64 total = 5;
.visible .entry k(.param .u64 p0, .param .align 8 .b8 p1[16])
{
.reg .pred %p<4>; .reg .b16 %h<4>; .reg .b32 %r<20>; .reg .b64 %rd<20>;
.shared .align 4 .b8 s[256];
.local .align 8 .b8 depot[16];
	ld.param.u64 %rd0, [p0];
	mov.u32 %r0, %tid.x;
	mul.wide.u32 %rd1, %r0, 4;
	add.u64 %rd2, %rd0, %rd1;
	and.b32 %r1, %r0, 3;
	mov.u64 %rd3, table; mad.wide.u32 %rd3, %r1, 4, %rd3;
	ld.const.u32 %r2, [%rd3];           // 10 20 30 40
	cvta.const.u64 %rd4, %rd3; ld.u32 %r3, [%rd4]; add.u32 %r2, %r2, %r3;
	mov.u64 %rd5, depot; cvta.local.u64 %rd6, %rd5;
	st.local.u32 [%rd5+4], %r0; ld.u32 %r4, [%rd6+4];
	mov.u64 %rd7, s; cvta.shared.u64 %rd8, %rd7; add.u64 %rd9, %rd8, %rd1;
	st.u32 [%rd9], %r4; cvta.to.shared.u64 %rd10, %rd9; ld.shared.u32 %r5, [%rd10];
	isspacep.shared %p1, %rd9; @!%p1 trap;
	isspacep.global %p2, %rd0; @!%p2 trap;
	mov.b64 %rd11, p1; cvta.param.u64 %rd12, %rd11; ld.u32 %r6, [%rd12+8]; ld.param.u32 %r7, [p1+4];
	ld.global.u64 %rd13, [total]; cvt.u32.u64 %r8, %rd13;
	mov.u32 %r9, -2; cvt.u16.u32 %h1, %r9; st.shared.u16 [%rd10], %h1; ld.shared.s16 %r10, [%rd10]; ld.shared.u8 %r11, [%rd10+1]; ld.shared.s8 %h2, [%rd10];
	cvt.s32.s16 %r12, %h2; add.u32 %r10, %r10, %r11; add.u32 %r10, %r10, %r12;
	add.u32 %r2, %r2, %r5; add.u32 %r2, %r2, %r6; add.u32 %r2, %r2, %r7; add.u32 %r2, %r2, %r8; add.u32 %r2, %r2, %r10;
	st.global.u32 [%rd2], %r2;
	ret;
}`
	b := newBench(t, Options{}, text)
	d := b.alloc("d", 128)
	p := make([]byte, 16)
	le.PutUint32(p[4:], 1000)
	le.PutUint32(p[8:], 20000)
	b.run("k", grid(1, 1, 32), new(driver.Args).Addr(d.Addr()).Bytes(p, 8))
	for i, got := range b.getU32(d) {
		if want := uint32(20*(i%4+1) + i + 21000 + 5 - 2 + 255 - 2); got != want {
			t.Errorf("thread %d: %d, want %d", i, got, want)
		}
	}
	b = newBench(t, Options{}, text, "st.local.u32 [%rd5+4], %r0;", "")
	b.fails(Uninitialised, "k", grid(1, 1, 32), new(driver.Args).Addr(b.alloc("d", 128).Addr()).Bytes(p, 8))
	b = newBench(t, Options{}, text, "ld.u32 %r4, [%rd6+4];", "ld.u32 %r4, [%rd6+16];")
	b.fails(OutOfBounds, "k", grid(1, 1, 32), new(driver.Args).Addr(b.alloc("d", 128).Addr()).Bytes(p, 8))
}

func TestCopyAsyncForms(t *testing.T) {
	// 4-byte copies, zero fill beyond the end, groups per lane, wait_all, and a copy that
	// arrives at an mbarrier.
	body := `.shared .align 16 .b8 s[1024]; .shared .align 8 .b64 bar; mov.u32 %r0, %tid.x; mov.u32 %r1, s; shl.b32 %r2, %r0, 4; add.u32 %r1, %r1, %r2;
	mul.wide.u32 %rd2, %r0, 16; add.u64 %rd3, %rd1, %rd2; add.u64 %rd4, %rd0, %rd2; mov.u32 %r9, bar;
	setp.eq.u32 %p1, %r0, 0; @%p1 mbarrier.init.shared::cta.b64 [%r9], 32; bar.sync 0;
	mov.u32 %r3, 8; setp.lt.u32 %p2, %r0, 16; @%p2 mov.u32 %r3, 16;
	cp.async.cg.shared.global.L2::128B [%r1], [%rd3], 16, %r3;
	WAIT
	ld.shared.v4.b32 {%r10, %r11, %r12, %r13}, [%r1];
	st.global.v4.b32 [%rd4], {%r10, %r11, %r12, %r13};`
	in := make([]byte, 512)
	for i := range in {
		in[i] = byte(i*7 + 1)
	}
	want := bytes.Clone(in)
	for i := 16; i < 32; i++ {
		clear(want[16*i+8 : 16*i+16])
	}
	for _, c := range []struct{ wait, kind string }{
		{"cp.async.commit_group; cp.async.wait_group 0;", ""},
		{"cp.async.wait_all;", ""},
		{"cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%r9]; L: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r9], 0; @!%p3 bra L;", ""},
		{"cp.async.commit_group; cp.async.wait_group 1;", AsyncHazard},
		{"cp.async.wait_group 0;", AsyncHazard},
		{"@%p2 cp.async.commit_group; cp.async.wait_group 0;", AsyncHazard},
		{"cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%r9]; mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r9], 0;", AsyncHazard},
	} {
		b := newBench(t, Options{}, kernelText(strings.Replace(body, "WAIT", c.wait, 1), "%rd0", "%rd1"))
		d := b.alloc("d", 512)
		a := new(driver.Args).Addr(d.Addr()).Addr(b.put("x", in).Addr())
		if c.kind != "" {
			b.fails(c.kind, "k", grid(1, 1, 32), a)
			continue
		}
		b.run("k", grid(1, 1, 32), a)
		if got := b.get(d); !bytes.Equal(got, want) {
			t.Errorf("%s: %x\nwant %x", c.wait, got, want)
		}
	}
}

func TestBankConflictsAndSectorsAreExact(t *testing.T) {
	// Threads read words at a stride from shared memory and store them with the same stride.
	body := `.shared .align 16 .b8 s[8192]; mov.u32 %r0, %tid.x; mov.u32 %r1, s; mul.lo.u32 %r2, %r0, STRIDE; add.u32 %r3, %r1, %r2;
	st.shared.u32 [%r3], %r0; ld.shared.u32 %r4, [%r3]; cvt.u64.u32 %rd1, %r2; add.u64 %rd2, %rd0, %rd1; st.global.u32 [%rd2], %r4;`
	for _, c := range []struct{ stride, passes, sectors string }{{"4", "1", "4"}, {"8", "2", "8"}, {"12", "1", "12"}, {"32", "8", "32"}, {"128", "32", "32"}, {"132", "1", "32"}} {
		b := newBench(t, Options{}, kernelText(strings.Replace(body, "STRIDE", c.stride, 1), "%rd0"))
		n := b.run("k", grid(1, 1, 32), new(driver.Args).Addr(b.alloc("d", 8192).Addr()))
		if got := itoa(int(n.Shared.Units / 2)); got != c.passes || n.Shared.Ideal != 2 {
			t.Errorf("stride %s: %s passes, want %s", c.stride, got, c.passes)
		}
		if got := itoa(int(n.Global.Units)); got != c.sectors || n.Global.Ideal != 4 || n.Global.StoreBytes != 128 {
			t.Errorf("stride %s: %s sectors, want %s", c.stride, got, c.sectors)
		}
		if n.Mix["st.global.u32"] != 1 || n.Count("ld.") != 2 {
			t.Errorf("mix %v", n.Mix)
		}
	}
}

func TestDeviceMemory(t *testing.T) {
	d := New(Options{Unwritten: true})
	m, err := d.AllocNamed("m", 100)
	if err != nil || d.Used() != 100 {
		t.Fatal(err, d.Used())
	}
	if err := d.CopyIn(m, make([]byte, 101)); err == nil {
		t.Error("a copy past the end")
	}
	s := driver.View[float32](m).Sub(3, 5)
	if uint64(s.Addr())&windowMask != 12 {
		t.Errorf("Sub at %#x", s.Addr())
	}
	d.Free(m)
	if d.Used() != 0 || d.HighWater() != 100 {
		t.Errorf("used %d, high water %d", d.Used(), d.HighWater())
	}
	if err := d.CopyOut(make([]byte, 4), m); err == nil {
		t.Error("a copy out of freed memory")
	}
	b := probe(t, Options{Unwritten: true})
	x, _ := b.dev.Alloc(4 * 300)
	y, _ := b.dev.Alloc(4)
	b.fails(Uninitialised, "row_sum", grid(1, 1, 128), new(driver.Args).Addr(x.Addr()).Addr(y.Addr()).I32(300))
	b.dev.Free(x)
	b.fails(IllegalAddress, "row_sum", grid(1, 1, 128), new(driver.Args).Addr(x.Addr()).Addr(y.Addr()).I32(300))
}

func TestRunawayIsStopped(t *testing.T) {
	b := newBench(t, Options{MaxSteps: 1 << 20}, kernelText("L: ld.volatile.global.u32 %r1, [%rd0]; setp.eq.u32 %p1, %r1, 0; @%p1 bra L;", "%rd0"))
	b.fails(Runaway, "k", grid(1, 1, 32), new(driver.Args).Addr(b.putU32("flag", 0).Addr()))
}

func TestResultsDoNotDependOnWorkers(t *testing.T) {
	var first []byte
	for _, workers := range []int{1, 2, 5} {
		b := probe(t, Options{Workers: workers})
		cfg, a, y := rowSum(b, 37, 700, 0)
		c := b.run("row_sum", cfg, a)
		if c.Blocks != 37 || b.dev.Total("row_sum").Blocks != 37 {
			t.Errorf("%d blocks", c.Blocks)
		}
		if got := b.get(y); first == nil {
			first = got
		} else if !bytes.Equal(got, first) {
			t.Errorf("%d workers: other results", workers)
		}
	}
}
