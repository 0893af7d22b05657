// Command asm writes the micro-kernels of package gemm: see kernel.go there for
// the go:generate lines.
//
// A micro-kernel computes one tile of C, rows x width floats, in registers: per
// step of k it loads one row of B and multiplies it by one broadcast element of
// A per row. A is read through two strides, so that the same kernel serves
// packed panels (row stride 4 bytes) and matrices where they lie; B through one.
package main

import (
	"flag"
	"fmt"
	"math/bits"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	set := flag.String("set", "avx2", "avx2, avx512 or bf16")
	flag.Parse()
	switch *set {
	case "avx2":
		for rows := 1; rows <= 6; rows++ {
			tile(ymm, rows, 2)
		}
		for rows := 1; rows <= 14; rows++ {
			tile(ymm, rows, 1)
		}
		peak(ymm, 12)
		copyRows()
		transpose()
	case "avx512":
		peak(zmm, 24)
		for rows := 1; rows <= 14; rows++ {
			tile(zmm, rows, 2)
			tile(zmm, rows, 1)
		}
	case "bf16":
		for _, t := range [][2]int{{1, 1}, {1, 2}, {2, 1}, {2, 2}} {
			amx(t[0], t[1])
		}
		for rows := 1; rows <= 14; rows++ {
			dot(rows, 2)
			dot(rows, 1)
		}
		pairRows()
	default:
		panic("unknown -set " + *set)
	}
	Generate()
}

// vector is a register width.
type vector struct {
	name   string
	bytes  int
	unroll int // steps of a turn of the loop
	alloc  func() reg.VecVirtual
	zero   func(reg.VecVirtual)
}

var (
	ymm = vector{"y", 32, 1, YMM, func(r reg.VecVirtual) { VXORPS(r, r, r) }}
	zmm = vector{"z", 64, 4, ZMM, func(r reg.VecVirtual) { VPXORD(r, r, r) }}
)

// tile writes the micro-kernel of a number of rows and of vectors per row.
func tile(v vector, rows, vectors int) {
	name := fmt.Sprintf("%s%dr%d", v.name, v.bytes/4*vectors, rows)
	TEXT(name, NOSPLIT, "func(k int, a *float32, rsa, csa uintptr, b *float32, rsb uintptr, c *float32, ldc uintptr, alpha float32, add bool, ahead *float32)")
	Doc(fmt.Sprintf("%s is the micro-kernel of %d rows and %d columns.", name, rows, v.bytes/4*vectors))
	Pragma("noescape")

	t := &loop{vector: v, rows: rows}
	if v.unroll == 1 {
		t.prefetchC(vectors)
	}
	t.k = Load(Param("k"), GP64())
	t.rsa, t.csa = Load(Param("rsa"), GP64()), Load(Param("csa"), GP64())
	t.b, t.rsb = Load(Param("b"), GP64()), Load(Param("rsb"), GP64())
	// One base for three rows: x86 addresses base, base+index, base+2*index.
	t.a = []reg.GPVirtual{Load(Param("a"), GP64()).(reg.GPVirtual)}
	for i := 3; i < rows; i += 3 {
		last, next := t.a[len(t.a)-1], GP64()
		LEAQ(Mem{Base: last, Index: t.rsa, Scale: 2}, next)
		ADDQ(t.rsa, next)
		t.a = append(t.a, next)
	}
	t.sum = make([][]reg.VecVirtual, rows)
	for i := range t.sum {
		for range vectors {
			s := v.alloc()
			v.zero(s)
			t.sum[i] = append(t.sum[i], s)
		}
	}
	for range vectors {
		t.row = append(t.row, v.alloc())
	}
	t.x = v.alloc()
	if v.unroll > 1 {
		unrolled(name, rows, vectors, v.unroll, t.k, "_store", t.step)
	} else {
		Label(name + "_loop")
		t.step()
		DECQ(t.k)
		JNE(LabelRef(name + "_loop"))
	}

	sums := make([][]Op, rows)
	for i, r := range t.sum {
		for _, s := range r {
			sums[i] = append(sums[i], s)
		}
	}
	Label(name + "_store")
	store(v.bytes, name, sums, t.x)
}

// loop is a micro-kernel's registers.
type loop struct {
	vector
	rows             int
	k, rsa, csa, rsb reg.Register
	a                []reg.GPVirtual
	b                reg.Register
	sum              [][]reg.VecVirtual
	row              []reg.VecVirtual // of B
	x                reg.VecVirtual   // an element of A
}

// width is the bytes of a row of the tile.
func (t *loop) width() int { return t.bytes * len(t.row) }

// prefetchC fetches the rows of C.
func (t *loop) prefetchC(vectors int) {
	c, ldc := Load(Param("c"), GP64()), Load(Param("ldc"), GP64())
	for range t.rows {
		PREFETCHT0(Mem{Base: c, Disp: t.bytes*vectors - 4})
		ADDQ(ldc, c)
	}
}

// unrolled writes the loops of several steps at a time, of k of them: the first fetches a row of
// C in each turn, as more at once would keep A and B waiting, the second goes without. Both fetch
// 64 bytes a turn of what comes next into the second-level cache. The steps left over follow, then
// the label after.
func unrolled(name string, rows, vectors, unroll int, k reg.Register, after string, step func()) {
	ahead, c, ldc := Load(Param("ahead"), GP64()), Load(Param("c"), GP64()), Load(Param("ldc"), GP64())
	next := func() {
		PREFETCHT1(Mem{Base: ahead})
		ADDQ(Imm(64), ahead)
	}
	rowOfC := func() {
		for j := range vectors {
			PREFETCHT0(Mem{Base: c, Disp: 64 * j})
		}
		ADDQ(ldc, c)
	}
	loop := func(label string, n reg.Register, also func(), steps int) {
		Label(name + label)
		also()
		for range steps {
			step()
		}
		DECQ(n)
		JNE(LabelRef(name + label))
	}
	turns := GP64()
	CMPQ(k, Imm(uint64(unroll*rows)))
	JL(LabelRef(name + "_short"))
	MOVQ(U32(rows), turns)
	loop("_first", turns, func() { rowOfC(); next() }, unroll)
	MOVQ(k, turns)
	SHRQ(Imm(uint64(bits.Len(uint(unroll))-1)), turns)
	SUBQ(Imm(uint64(rows)), turns)
	JMP(LabelRef(name + "_more"))

	Label(name + "_short")
	for range rows {
		rowOfC()
	}
	MOVQ(k, turns)
	SHRQ(Imm(uint64(bits.Len(uint(unroll))-1)), turns)
	Label(name + "_more")
	TESTQ(turns, turns)
	JE(LabelRef(name + "_rest"))
	loop("_main", turns, next, unroll)
	Label(name + "_rest")
	ANDQ(Imm(uint64(unroll-1)), k)
	JE(LabelRef(name + after))
	loop("_loop", k, func() {}, 1)
}

// step adds the products of one row of B.
func (t *loop) step() {
	for j, r := range t.row {
		VMOVUPS(Mem{Base: t.b, Disp: j * t.bytes}, r)
	}
	PREFETCHT0(Mem{Base: t.b, Index: t.rsb, Scale: 8})
	if t.width() > 64 {
		PREFETCHT0(Mem{Base: t.b, Index: t.rsb, Scale: 8, Disp: 64})
	}
	PREFETCHT0(Mem{Base: t.a[0], Index: t.csa, Scale: 8})
	ADDQ(t.rsb, t.b)
	for i := range t.sum {
		at := Mem{Base: t.a[i/3]}
		if i%3 > 0 {
			at.Index, at.Scale = t.rsa, uint8(i%3)
		}
		VBROADCASTSS(at, t.x)
		for j, r := range t.row {
			VFMADD231PS(r, t.x, t.sum[i][j])
		}
	}
	for _, p := range t.a {
		ADDQ(t.csa, p)
	}
}

// store writes alpha times the sums to C, or adds them to it.
func store(bytes int, name string, sum [][]Op, alpha reg.Register) {
	c, ldc := Load(Param("c"), GP64()), Load(Param("ldc"), GP64())
	scale, err := Param("alpha").Resolve()
	if err != nil {
		panic(err)
	}
	VBROADCASTSS(scale.Addr, alpha)
	add := Load(Param("add"), GP8())
	TESTB(add, add)
	overwrite := name + "_overwrite"
	JE(LabelRef(overwrite))
	for _, r := range sum {
		for j, s := range r {
			VFMADD213PS(Mem{Base: c, Disp: j * bytes}, alpha, s)
			VMOVUPS(s, Mem{Base: c, Disp: j * bytes})
		}
		ADDQ(ldc, c)
	}
	VZEROUPPER()
	RET()
	Label(overwrite)
	for _, r := range sum {
		for j, s := range r {
			VMULPS(alpha, s, s)
			VMOVUPS(s, Mem{Base: c, Disp: j * bytes})
		}
		ADDQ(ldc, c)
	}
	VZEROUPPER()
	RET()
}

// peak writes a loop of multiply-adds that wait for nothing: what no product can exceed.
func peak(v vector, sums int) {
	name := v.name + "peak"
	TEXT(name, NOSPLIT, "func(n int)")
	Doc(fmt.Sprintf("%s does n times %d multiply-adds of %d floats.", name, sums, v.bytes/4))
	Pragma("noescape")
	n := Load(Param("n"), GP64())
	sum, x := make([]reg.VecVirtual, sums), v.alloc()
	v.zero(x)
	for i := range sum {
		sum[i] = v.alloc()
		v.zero(sum[i])
	}
	Label(name + "_loop")
	for _, s := range sum {
		VFMADD231PS(x, x, s)
	}
	DECQ(n)
	JNE(LabelRef(name + "_loop"))
	VZEROUPPER()
	RET()
}

// copyRows writes the packer of B's columns where B is stored by rows. A row is
// one cache line in another page: the processor's prefetcher is of no help.
func copyRows() {
	TEXT("copy16", NOSPLIT, "func(rows int, src *float32, lds uintptr, dst *float32, ldd uintptr)")
	Doc("copy16 copies rows of 16 floats.")
	Pragma("noescape")
	rows := Load(Param("rows"), GP64())
	src, lds := Load(Param("src"), GP64()), Load(Param("lds"), GP64())
	dst, ldd := Load(Param("dst"), GP64()), Load(Param("ldd"), GP64())
	ahead := GP64()
	LEAQ(Mem{Base: src, Index: lds, Scale: 8, Disp: 60}, ahead)
	low, high := YMM(), YMM()
	Label("copy16_loop")
	VMOVUPS(Mem{Base: src}, low)
	VMOVUPS(Mem{Base: src, Disp: 32}, high)
	PREFETCHT0(Mem{Base: ahead, Index: lds, Scale: 8})
	VMOVUPS(low, Mem{Base: dst})
	VMOVUPS(high, Mem{Base: dst, Disp: 32})
	for _, p := range []reg.Register{src, ahead} {
		ADDQ(lds, p)
	}
	ADDQ(ldd, dst)
	DECQ(rows)
	JNE(LabelRef("copy16_loop"))
	VZEROUPPER()
	RET()
}

// transpose writes the packer of B's columns where B is stored by columns:
// eight rows of src become eight columns of dst.
func transpose() {
	TEXT("transpose8", NOSPLIT, "func(blocks int, src *float32, lds uintptr, dst *float32, ldd uintptr)")
	Doc("transpose8 copies 8 rows of 8*blocks floats to 8*blocks rows of 8.")
	Pragma("noescape")
	blocks := Load(Param("blocks"), GP64())
	src, lds := Load(Param("src"), GP64()), Load(Param("lds"), GP64())
	dst, ldd := Load(Param("dst"), GP64()), Load(Param("ldd"), GP64())
	src3, src4, src7 := GP64(), GP64(), GP64()
	LEAQ(Mem{Base: src, Index: lds, Scale: 2}, src3)
	ADDQ(lds, src3)
	LEAQ(Mem{Base: src, Index: lds, Scale: 4}, src4)
	LEAQ(Mem{Base: src3, Index: lds, Scale: 4}, src7)
	low := []Mem{{Base: src}, {Base: src, Index: lds, Scale: 1}, {Base: src, Index: lds, Scale: 2}, {Base: src3}}
	high := []Mem{{Base: src4}, {Base: src4, Index: lds, Scale: 1}, {Base: src4, Index: lds, Scale: 2}, {Base: src7}}
	Label("transpose8_loop")
	for half := range 2 {
		var r, t [4]reg.VecVirtual
		for i := range r {
			x := XMM()
			r[i] = YMM()
			lo, hi := low[i], high[i]
			lo.Disp, hi.Disp = 16*half, 16*half
			VMOVUPS(lo, x)
			VINSERTF128(Imm(1), hi, x.AsY(), r[i])
			t[i] = YMM()
		}
		VUNPCKLPS(r[1], r[0], t[0])
		VUNPCKHPS(r[1], r[0], t[1])
		VUNPCKLPS(r[3], r[2], t[2])
		VUNPCKHPS(r[3], r[2], t[3])
		for i := range r {
			// Imm 0x44 takes the lower halves of both, 0xEE the upper ones.
			VSHUFPS(Imm([]uint64{0x44, 0xEE}[i%2]), t[2+i/2], t[i/2], r[i])
			VMOVUPS(r[i], Mem{Base: dst})
			ADDQ(ldd, dst)
		}
	}
	for _, p := range []reg.Register{src, src3, src4, src7} {
		ADDQ(Imm(32), p)
	}
	DECQ(blocks)
	JNE(LabelRef("transpose8_loop"))
	VZEROUPPER()
	RET()
}
