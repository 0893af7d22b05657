package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"dataflex.dev/dataflex/kernels/simd/words"
)

// word writes an instruction that Go's assembler does not know.
func word(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	Comment(text)
	Instruction(&ir.Instruction{Opcode: words.Line(text)})
}

// amx writes the kernel of rows x columns of AMX's tiles, 16 x 16 sums each. A step is 32
// numbers of k: a tile of A is 16 rows of 64 bytes, one of B 16 pairs of k by 16 columns.
//
// Tiles are configured at the start and released at the end: no thread keeps any between
// calls, so that goroutines may change threads and switching threads stays cheap. Go does
// not interrupt assembly to run something else; signals save the tiles.
func amx(rows, columns int) {
	name := fmt.Sprintf("amx%dx%d", 16*rows, 16*columns)
	TEXT(name, NOSPLIT, "func(config *byte, blocks, steps int, a *uint16, lda uintptr, b *uint32, panel uintptr, c *float32, ldc uintptr, add bool)")
	Doc(fmt.Sprintf("%s is the AMX kernel of blocks of %d rows, and %d columns.", name, 16*rows, 16*columns))
	Pragma("noescape")
	Load(Param("config"), reg.RAX)
	word("LDTILECFG (AX)")
	Load(Param("blocks"), reg.RBX)
	Load(Param("a"), reg.RAX)
	Load(Param("lda"), reg.RDX)
	Load(Param("c"), reg.R8)
	Load(Param("ldc"), reg.R9)
	MOVQ(U32(64), reg.R10) // between the pairs of a panel of B
	sum := func(f func(c int, at string)) {
		for i := range rows {
			for j := range columns {
				f(2*i+j, []string{"", "64"}[j]+[]string{"(R8)", "(R13)"}[i]+"(R9*1)")
			}
		}
	}

	Label(name + "_block")
	MOVQ(reg.RAX, reg.RSI)
	lower(reg.RAX, reg.RDX, reg.R11)
	Load(Param("b"), reg.RDI)
	Load(Param("panel"), reg.R12)
	ADDQ(reg.RDI, reg.R12)
	lower(reg.R8, reg.R9, reg.R13)
	sum(func(c int, _ string) { word("TILEZERO T%d", c) })
	Load(Param("add"), reg.CL)
	TESTB(reg.CL, reg.CL)
	JE(LabelRef(name + "_start"))
	sum(func(c int, at string) { word("TILELOADD %s, T%d", at, c) })
	Label(name + "_start")
	Load(Param("steps"), reg.RCX)

	Label(name + "_step")
	for i := range rows {
		word("TILELOADD %s(DX*1), T%d", []string{"(SI)", "(R11)"}[i], 4+i)
		for j := range columns {
			if i == 0 {
				word("TILELOADD %s(R10*1), T%d", []string{"(DI)", "(R12)"}[j], 6+j)
			}
			word("TDPBF16PS T%d, T%d, T%d", 6+j, 4+i, 2*i+j)
		}
	}
	ADDQ(Imm(64), reg.RSI)
	ADDQ(Imm(64), reg.R11)
	ADDQ(U32(1024), reg.RDI)
	ADDQ(U32(1024), reg.R12)
	DECQ(reg.RCX)
	JNE(LabelRef(name + "_step"))

	sum(func(c int, at string) { word("TILESTORED T%d, %s", c, at) })
	for range rows {
		lower(reg.RAX, reg.RDX, reg.RAX)
		lower(reg.R8, reg.R9, reg.R8)
	}
	DECQ(reg.RBX)
	JNE(LabelRef(name + "_block"))
	word("TILERELEASE")
	RET()
}

// lower makes to the address 16 rows below from.
func lower(from, stride, to reg.GPPhysical) {
	LEAQ(Mem{Base: from, Index: stride, Scale: 8}, to)
	LEAQ(Mem{Base: to, Index: stride, Scale: 8}, to)
}

// dot writes the AVX512-BF16 kernel of a number of rows and of panels of 16 columns: Z28
// and Z29 hold a pair of k of B's columns, Z30 the pair of a row of A, the rest the sums. A
// second product, more pairs of k of other factors, is added to the same sums: a low-rank branch.
func dot(rows, panels int) {
	name := fmt.Sprintf("d%dr%d", 16*panels, rows)
	TEXT(name, NOSPLIT, "func(pairs int, a *uint16, rsa uintptr, b *uint32, panel uintptr, more int, a2 *uint16, rsa2 uintptr, b2 *uint32, panel2 uintptr, c *float32, ldc uintptr, alpha float32, add bool, ahead *uint32)")
	Doc(fmt.Sprintf("%s is the AVX512-BF16 kernel of %d rows and %d columns.", name, rows, 16*panels))
	Pragma("noescape")
	z := []reg.VecPhysical{
		reg.Z0, reg.Z1, reg.Z2, reg.Z3, reg.Z4, reg.Z5, reg.Z6, reg.Z7, reg.Z8, reg.Z9, reg.Z10, reg.Z11, reg.Z12, reg.Z13, reg.Z14, reg.Z15,
		reg.Z16, reg.Z17, reg.Z18, reg.Z19, reg.Z20, reg.Z21, reg.Z22, reg.Z23, reg.Z24, reg.Z25, reg.Z26, reg.Z27, reg.Z28, reg.Z29, reg.Z30,
	}
	sum := make([][]Op, rows)
	for i := range sum {
		for j := range panels {
			VPXORD(z[2*i+j], z[2*i+j], z[2*i+j])
			sum[i] = append(sum[i], z[2*i+j])
		}
	}
	f := loadDotFactors(rows, "pairs", "a", "rsa", "b", "panel")
	unrolled(name, rows, panels, 4, f.pairs, "_second", func() { f.step(z, panels, true) })
	Label(name + "_second")
	more := Load(Param("more"), GP64())
	TESTQ(more, more)
	JE(LabelRef(name + "_store"))
	f = loadDotFactors(rows, "more", "a2", "rsa2", "b2", "panel2")
	Label(name + "_more_pairs")
	f.step(z, panels, false)
	DECQ(f.pairs)
	JNE(LabelRef(name + "_more_pairs"))
	Label(name + "_store")
	store(64, name, sum, z[30])
}

// dotFactors are where the next pair of k lies: in A's rows, of which every third has a
// register, and in B's panels.
type dotFactors struct {
	rows       int
	pairs, rsa reg.Register
	a          []reg.GPVirtual
	b          []reg.Register
}

func loadDotFactors(rows int, pairs, a, rsa, b, panel string) *dotFactors {
	f := &dotFactors{rows: rows, pairs: Load(Param(pairs), GP64()), rsa: Load(Param(rsa), GP64())}
	f.b = []reg.Register{Load(Param(b), GP64()), Load(Param(panel), GP64())}
	ADDQ(f.b[0], f.b[1])
	f.a = []reg.GPVirtual{Load(Param(a), GP64()).(reg.GPVirtual)}
	for i := 3; i < rows; i += 3 {
		last, next := f.a[len(f.a)-1], GP64()
		LEAQ(Mem{Base: last, Index: f.rsa, Scale: 2}, next)
		ADDQ(f.rsa, next)
		f.a = append(f.a, next)
	}
	return f
}

// step adds the products of a pair of k.
func (f *dotFactors) step(z []reg.VecPhysical, panels int, fetch bool) {
	for j := range panels {
		VMOVUPS(Mem{Base: f.b[j]}, z[28+j])
		if fetch {
			PREFETCHT0(Mem{Base: f.b[j], Disp: 512})
		}
		ADDQ(Imm(64), f.b[j])
	}
	for i := range f.rows {
		at := Mem{Base: f.a[i/3]}
		if i%3 > 0 {
			at.Index, at.Scale = f.rsa, uint8(i%3)
		}
		VBROADCASTSS(at, z[30])
		for j := range panels {
			word("VDPBF16PS Z30, Z%d, Z%d", 28+j, 2*i+j)
		}
	}
	for _, p := range f.a {
		ADDQ(Imm(4), p)
	}
}

// pairRows writes the packer of B's columns where B is stored by rows: two rows become one
// of pairs.
func pairRows() {
	TEXT("pair16", NOSPLIT, "func(pairs int, src *uint16, lds uintptr, dst *uint32)")
	Doc("pair16 makes of 2*pairs rows of 16 bf16 pairs rows of 16 pairs: the even row's number in the lower half.")
	Pragma("noescape")
	pairs, src := Load(Param("pairs"), GP64()), Load(Param("src"), GP64())
	lds, dst := Load(Param("lds"), GP64()), Load(Param("dst"), GP64())
	Label("pair16_loop")
	for half := range 2 {
		even, odd := YMM(), YMM()
		VPMOVZXWD(Mem{Base: src, Disp: 16 * half}, even)
		VPMOVZXWD(Mem{Base: src, Index: lds, Scale: 1, Disp: 16 * half}, odd)
		VPSLLD(Imm(16), odd, odd)
		VPOR(even, odd, odd)
		VMOVUPS(odd, Mem{Base: dst, Disp: 32 * half})
	}
	LEAQ(Mem{Base: src, Index: lds, Scale: 2}, src)
	ADDQ(Imm(64), dst)
	DECQ(pairs)
	JNE(LabelRef("pair16_loop"))
	VZEROUPPER()
	RET()
}
