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
		copyRows()
		transpose()
	case "avx512":
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
	name  string
	bytes int
	alloc func() reg.VecVirtual
	zero  func(reg.VecVirtual)
}

var (
	ymm = vector{"y", 32, YMM, func(r reg.VecVirtual) { VXORPS(r, r, r) }}
	zmm = vector{"z", 64, ZMM, func(r reg.VecVirtual) { VPXORD(r, r, r) }}
)

// tile writes the micro-kernel of a number of rows and of vectors per row.
func tile(v vector, rows, vectors int) {
	name := fmt.Sprintf("%s%dr%d", v.name, v.bytes/4*vectors, rows)
	TEXT(name, NOSPLIT, "func(k int, a *float32, rsa, csa uintptr, b *float32, rsb uintptr, c *float32, ldc uintptr, alpha float32, add bool)")
	Doc(fmt.Sprintf("%s is the micro-kernel of %d rows and %d columns.", name, rows, v.bytes/4*vectors))
	Pragma("noescape")

	c, ldc := Load(Param("c"), GP64()), Load(Param("ldc"), GP64())
	for range rows {
		PREFETCHT0(Mem{Base: c, Disp: v.bytes*vectors - 4})
		ADDQ(ldc, c)
	}
	k := Load(Param("k"), GP64())
	rsa, csa := Load(Param("rsa"), GP64()), Load(Param("csa"), GP64())
	b, rsb := Load(Param("b"), GP64()), Load(Param("rsb"), GP64())
	// One base for three rows: x86 addresses base, base+index, base+2*index.
	a := []reg.GPVirtual{Load(Param("a"), GP64()).(reg.GPVirtual)}
	for i := 3; i < rows; i += 3 {
		last, next := a[len(a)-1], GP64()
		LEAQ(Mem{Base: last, Index: rsa, Scale: 2}, next)
		ADDQ(rsa, next)
		a = append(a, next)
	}
	sum := make([][]reg.VecVirtual, rows)
	for i := range sum {
		for range vectors {
			s := v.alloc()
			v.zero(s)
			sum[i] = append(sum[i], s)
		}
	}
	row := make([]reg.VecVirtual, vectors)
	for j := range row {
		row[j] = v.alloc()
	}
	x := v.alloc()

	loop := name + "_loop"
	Label(loop)
	for j, r := range row {
		VMOVUPS(Mem{Base: b, Disp: j * v.bytes}, r)
	}
	PREFETCHT0(Mem{Base: b, Index: rsb, Scale: 8})
	if v.bytes*vectors > 64 {
		PREFETCHT0(Mem{Base: b, Index: rsb, Scale: 8, Disp: 64})
	}
	PREFETCHT0(Mem{Base: a[0], Index: csa, Scale: 8})
	ADDQ(rsb, b)
	for i := range sum {
		at := Mem{Base: a[i/3]}
		if i%3 > 0 {
			at.Index, at.Scale = rsa, uint8(i%3)
		}
		VBROADCASTSS(at, x)
		for j, r := range row {
			VFMADD231PS(r, x, sum[i][j])
		}
	}
	for _, p := range a {
		ADDQ(csa, p)
	}
	DECQ(k)
	JNE(LabelRef(loop))

	sums := make([][]Op, rows)
	for i, r := range sum {
		for _, s := range r {
			sums[i] = append(sums[i], s)
		}
	}
	store(v.bytes, name, sums, x)
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
