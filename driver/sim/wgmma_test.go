package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
)

// operandLayout is how a 64 x 16 operand is copied to shared memory by TMA and described to
// wgmma.
type operandLayout struct {
	swizzle int
	mnMajor bool
}

// maps returns the tensor map of a 64 x 16 operand stored in v, the boxes to load, and the
// descriptor's strides.
func (l operandLayout) maps(b *bench, name string, v []float32) (m *driver.EncodedTensorMap, boxes [][2]int, bytes, lbo, sbo int) {
	across := l.swizzle / 2 // elements
	if l.swizzle == 0 {
		across = 8
	}
	dims, down, extent := []uint64{64, 64}, 64, 16
	if l.mnMajor {
		dims, down, extent = []uint64{64, 16}, 16, 64
	}
	m = mapOf(b, driver.TensorMap{
		Type: driver.TensorBF16, Addr: b.putBF16(name, v).Addr(), Dims: dims, Strides: []uint64{128},
		Box: []uint32{uint32(across), uint32(down)}, Swizzle: l.swizzle,
	})
	for x := 0; x < extent; x += across {
		boxes = append(boxes, [2]int{x, 0})
	}
	bytes = 2 * across * down
	lbo, sbo = bytes, 8*l.swizzle
	if l.swizzle == 0 {
		sbo = 128
	}
	return m, boxes, bytes, lbo, sbo
}

// fill makes a matrix of 64 x 16 in the layout's global form, rows of 64 elements.
func (l operandLayout) fill(r *rand.Rand) (v []float32, at func(i, k int) float64) {
	if l.mnMajor {
		v = normalBF16(r, 64*16)
		return v, func(i, k int) float64 { return float64(v[k*64+i]) }
	}
	v = normalBF16(r, 64*64)
	return v, func(i, k int) float64 { return float64(v[i*64+k]) }
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

func registers(p string, from, n int) string {
	s := make([]string, n)
	for i := range s {
		s[i] = p + itoa(from+i)
	}
	return "{" + strings.Join(s, ",") + "}"
}

func TestWgmmaLayouts(t *testing.T) {
	layouts := []operandLayout{{128, false}, {64, false}, {32, false}, {0, false}, {128, true}, {64, true}, {32, true}}
	for _, la := range layouts {
		for _, lb := range layouts {
			if la != layouts[0] && lb != layouts[0] && la != lb {
				continue
			}
			testWgmma(t, la, lb, false)
		}
	}
	testWgmma(t, operandLayout{}, operandLayout{128, true}, true)
}

func testWgmma(t *testing.T, la, lb operandLayout, fromRegisters bool) {
	t.Helper()
	r := rand.New(rand.NewPCG(4, 4))
	b := newBench(t, Options{}, kernelText("", "%rd0"))
	va, atA := la.fill(r)
	vb, atB := lb.fill(r)
	ma, boxesA, bytesA, lboA, sboA := la.maps(b, "A", va)
	mb, boxesB, bytesB, lboB, sboB := lb.maps(b, "B", vb)
	var s strings.Builder
	s.WriteString(`.version 8.0
.target sm_90a
.address_size 64
.visible .entry k(.param .align 64 .b8 ta[128], .param .align 64 .b8 tb[128], .param .u64 out, .param .u64 frag)
{
.reg .pred %p<4>; .reg .b32 %r<20>; .reg .f32 %f<32>; .reg .b64 %rd<20>;
.shared .align 1024 .b8 sa[8192]; .shared .align 1024 .b8 sb[8192]; .shared .align 8 .b64 bar;
	mov.u32 %r0, %tid.x; mov.u32 %r1, bar; setp.ne.u32 %p1, %r0, 0;
	mov.b64 %rd1, ta; cvta.param.u64 %rd1, %rd1; mov.b64 %rd2, tb; cvta.param.u64 %rd2, %rd2; mov.u32 %r5, 0;
	@!%p1 mbarrier.init.shared::cta.b64 [%r1], 1; fence.mbarrier_init.release.cluster; bar.sync 0; @%p1 bra WAIT;
`)
	total := 0
	load := func(dst, m string, boxes [][2]int, bytes int) {
		for i, x := range boxes {
			fmt.Fprintf(&s, "mov.u32 %%r2, %s; add.u32 %%r2, %%r2, %d; mov.u32 %%r3, %d; mov.u32 %%r4, %d;\n", dst, i*bytes, x[0], x[1])
			fmt.Fprintf(&s, "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%%r2], [%s, {%%r3, %%r4}], [%%r1];\n", m)
			total += bytes
		}
	}
	load("sb", "%rd2", boxesB, bytesB)
	if !fromRegisters {
		load("sa", "%rd1", boxesA, bytesA)
	}
	desc := func(reg, sym string, l operandLayout, lbo, sbo int) {
		mode := map[int]uint64{0: 0, 128: 1, 64: 2, 32: 3}[l.swizzle]
		fmt.Fprintf(&s, "mov.u64 %s, %s; shr.u64 %s, %s, 4; or.b64 %s, %s, %#x;\n", reg, sym, reg, reg, reg, reg,
			uint64(lbo>>4)<<16|uint64(sbo>>4)<<32|mode<<62)
	}
	fmt.Fprintf(&s, "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%%r1], %d;\nWAIT: mbarrier.try_wait.parity.shared::cta.b64 %%p2, [%%r1], 0; @!%%p2 bra WAIT;\n", total)
	desc("%rd4", "sa", la, lboA, sboA)
	desc("%rd5", "sb", lb, lboB, sboB)
	a, trans := "%rd4", fmt.Sprintf("%d, %d", flag(la.mnMajor), flag(lb.mnMajor))
	if fromRegisters {
		s.WriteString("ld.param.u64 %rd7, [frag]; mad.wide.u32 %rd7, %r0, 16, %rd7; ld.global.v4.b32 {%r10, %r11, %r12, %r13}, [%rd7];\n")
		a, trans = "{%r10, %r11, %r12, %r13}", itoa(flag(lb.mnMajor))
	}
	s.WriteString("wgmma.fence.sync.aligned;\nwgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " + registers("%f", 0, 32) + ", " + a + ", %rd5, 0, 1, 1, " + trans + ";\n")
	s.WriteString("wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;\nld.param.u64 %rd6, [out]; mad.wide.u32 %rd6, %r0, 128, %rd6;\n")
	for i := range 32 {
		fmt.Fprintf(&s, "st.global.f32 [%%rd6+%d], %%f%d;\n", 4*i, i)
	}
	mod, err := b.dev.LoadModule("wgmma.ptx", []byte(s.String()+"ret;\n}\n"))
	if err != nil {
		t.Fatal(err)
	}
	b.mod = mod
	frag := make([]uint32, 4*128)
	for tid := range 128 {
		for q := range 4 {
			row, k := tid/32*16+tid%32/4+q%2*8, tid%4*2+q/2*8
			frag[4*tid+q] = bf16(u32(float32(atA(row, k)))) | bf16(u32(float32(atA(row, k+1))))<<16
		}
	}
	out := b.alloc("out", 128*128)
	b.run("k", grid(1, 1, 128), new(driver.Args).TensorMap(ma).TensorMap(mb).Addr(out.Addr()).Addr(b.putU32("frag", frag...).Addr()))
	got := b.getF32(out)
	for tid := range 128 {
		for i := range 32 {
			row, col := tid/32*16+tid%32/4+i/2%2*8, i/4*8+tid%4*2+i%2
			want, abs := 0.0, 0.0
			for k := range 16 {
				want += atA(row, k) * atB(col, k)
				abs += math.Abs(atA(row, k) * atB(col, k))
			}
			if g := float64(got[32*tid+i]); math.Abs(g-want) > 1e-6*abs {
				t.Fatalf("A %+v, B %+v, registers %v: [%d,%d] = %g, want %g", la, lb, fromRegisters, row, col, g, want)
			}
		}
	}
}

func TestTensorMapsAreChecked(t *testing.T) {
	d := New(Options{})
	good := driver.TensorMap{Type: driver.TensorBF16, Addr: 1 << windowShift, Dims: []uint64{64, 64}, Strides: []uint64{128}, Box: []uint32{64, 8}, Swizzle: 128}
	if _, err := d.EncodeTensorMap(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(m *driver.TensorMap){
		"not 16-byte aligned": func(m *driver.TensorMap) { m.Addr += 8 },
		"stride 1 of 120":     func(m *driver.TensorMap) { m.Strides = []uint64{120} },
		"in a swizzle of":     func(m *driver.TensorMap) { m.Box = []uint32{128, 8} },
		"box 300":             func(m *driver.TensorMap) { m.Box = []uint32{64, 300} },
		"not a multiple":      func(m *driver.TensorMap) { m.Box = []uint32{4, 8} },
		"swizzle 96":          func(m *driver.TensorMap) { m.Swizzle = 96 },
		"0 strides":           func(m *driver.TensorMap) { m.Strides = nil },
	} {
		m := good
		change(&m)
		if _, err := d.EncodeTensorMap(m); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A box that extends beyond every edge of a 3-D tensor reads zeros there and writes nothing.
func TestTensorBoxesOverTheEdge(t *testing.T) {
	text := `.version 8.0
.target sm_90a
.address_size 64
.visible .entry k(.param .align 64 .b8 tin[128], .param .align 64 .b8 tout[128], .param .u32 x, .param .u32 y, .param .u32 z)
{
.reg .pred %p<4>; .reg .b32 %r<20>; .reg .b64 %rd<20>;
.shared .align 128 .b8 s[512]; .shared .align 8 .b64 bar;
	mov.u32 %r1, bar; mov.u32 %r2, s;
	mbarrier.init.shared::cta.b64 [%r1], 1; fence.mbarrier_init.release.cluster;
	mov.b64 %rd1, tin; cvta.param.u64 %rd1, %rd1; mov.b64 %rd2, tout; cvta.param.u64 %rd2, %rd2;
	ld.param.u32 %r3, [x]; ld.param.u32 %r4, [y]; ld.param.u32 %r5, [z];
	mbarrier.arrive.expect_tx.shared::cta.b64 %rd3, [%r1], 128;
	cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%r2], [%rd1, {%r3, %r4, %r5}], [%r1];
W:	mbarrier.try_wait.shared::cta.b64 %p1, [%r1], %rd3; @!%p1 bra W;
	cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [%rd2, {%r3, %r4, %r5}], [%r2];
	cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;
	ret;
}`
	const nx, ny, nz = 8, 3, 2 // float32; the box is 4 x 4 x 2
	in := make([]float32, nx*ny*nz)
	for i := range in {
		in[i] = float32(i + 1)
	}
	for _, at := range [][3]int32{{0, 0, 0}, {4, 0, 0}, {-2, -1, 1}, {6, 2, -1}, {20, 0, 0}} {
		b := newBench(t, Options{}, text)
		out := b.putF32("out", make([]float32, len(in)))
		m := func(mem driver.Memory) *driver.EncodedTensorMap {
			return mapOf(b, driver.TensorMap{Type: driver.TensorF32, Addr: mem.Addr(), Dims: []uint64{nx, ny, nz}, Strides: []uint64{4 * nx, 4 * nx * ny}, Box: []uint32{4, 4, 2}})
		}
		b.run("k", grid(1, 1, 1), new(driver.Args).TensorMap(m(b.putF32("in", in))).TensorMap(m(out)).I32(at[0]).I32(at[1]).I32(at[2]))
		for i, got := range b.getF32(out) {
			x, y, z := int32(i%nx)-at[0], int32(i/nx%ny)-at[1], int32(i/(nx*ny))-at[2]
			want := float32(0)
			if x >= 0 && x < 4 && y >= 0 && y < 4 && z >= 0 && z < 2 {
				want = in[i]
			}
			if got != want {
				t.Errorf("box at %v, element %d: %g, want %g", at, i, got, want)
			}
		}
	}
}
