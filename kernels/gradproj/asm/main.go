// Command asm writes gradproj_amd64.s and gradproj_amd64.go, the AVX2 inner
// loops of kernels/gradproj. Run it through `go generate ./kernels/gradproj`.
//
// Every loop does the operations of its portable twin in the same order and
// never fuses a multiply with an add, so both give the same bits.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func main() {
	ConstraintExpr("amd64")
	philox()
	signTile()
	signTile512()
	buildTable()
	lookup()
	scatter()
	pack()
	adam()
	boxMuller()
	Generate()
}

// begin opens a function of the package.
func begin(name, signature, doc string) {
	attributes := NOSPLIT
	if name == "buildTableAVX2" {
		attributes = 0 // its frame may need the stack to grow
	}
	TEXT(name, attributes, signature)
	Pragma("noescape")
	Doc(doc)
}

var tables = map[string]Mem{} // in the data section, by name

// table32 puts eight 32-bit values into the data section, once.
func table32(name string, v [8]uint32) Mem {
	if m, ok := tables[name]; ok {
		return m
	}
	m := GLOBL(name, RODATA|NOPTR)
	tables[name] = m
	for i, x := range v {
		DATA(4*i, U32(x))
	}
	return m
}

func constant(name string, x uint32) Mem {
	return table32(name, [8]uint32{x, x, x, x, x, x, x, x})
}

// buildTable: table[i] = Σ_b (bit b of i ? +g[b] : -g[b]), lanes abreast.
func buildTable() {
	begin("buildTableAVX2", "func(rows, table *float32)",
		"buildTableAVX2 fills table [256][8] with the signed sums of rows [8][8].")
	g, t := Load(Param("rows"), GP64()), Load(Param("table"), GP64())
	scratch := AllocLocal(32 * 32) // A[16] of rows 0-3, B[16] of rows 4-7
	zero := YMM()
	VXORPS(zero, zero, zero)
	for half := range 2 {
		// sums[2*j+k] are the four signed sums of two rows
		var sums [8]VecVirtual
		for pair := range 2 {
			a, b := YMM(), YMM()
			VMOVUPS(Mem{Base: g, Disp: 32 * (4*half + 2*pair)}, a)
			VMOVUPS(Mem{Base: g, Disp: 32 * (4*half + 2*pair + 1)}, b)
			s, d := YMM(), YMM()
			VADDPS(b, a, s) // a+b
			VSUBPS(b, a, d) // a-b
			ns, nd := YMM(), YMM()
			VSUBPS(s, zero, ns)
			VSUBPS(a, b, nd) // b-a
			sums[4*pair], sums[4*pair+1], sums[4*pair+2], sums[4*pair+3] = ns, d, nd, s
		}
		for i := range 16 {
			x := YMM()
			VADDPS(sums[4+i>>2], sums[i&3], x)
			VMOVUPS(x, scratch.Offset(32*(16*half+i)))
		}
	}
	hi, i := GP64(), GP64()
	LEAQ(scratch.Offset(32*16), hi)
	MOVQ(U32(16), i)
	Label("table_loop")
	b := YMM()
	VMOVUPS(Mem{Base: hi}, b)
	for lo := range 16 {
		x := YMM()
		VADDPS(scratch.Offset(32*lo), b, x)
		VMOVUPS(x, Mem{Base: t, Disp: 32 * lo})
	}
	ADDQ(Imm(32), hi)
	ADDQ(U32(32*16), t)
	DECQ(i)
	JNE(LabelRef("table_loop"))
	VZEROUPPER()
	RET()
}

// lookup adds for each column the entries that its bytes name in several tables.
func lookup() {
	for _, groups := range []int{2, 4} {
		name := map[int]string{2: "lookup2AVX2", 4: "lookup4AVX2"}[groups]
		begin(name, "func(tables *float32, bits *byte, stride, cols int, acc *float32)",
			name+" adds to acc [cols][8] the table entries named by the columns' bytes; cols is a multiple of 8.")
		tab, bits := Load(Param("tables"), GP64()), Load(Param("bits"), GP64())
		stride, cols := Load(Param("stride"), GP64()), Load(Param("cols"), GP64())
		acc := Load(Param("acc"), GP64())
		var tabs []Register
		for g := range groups {
			t := tab
			if g > 0 {
				t = GP64()
				LEAQ(Mem{Base: tab, Disp: 8192 * g}, t)
			}
			tabs = append(tabs, t)
		}
		stride3 := GP64()
		if groups == 4 {
			LEAQ(Mem{Base: stride, Index: stride, Scale: 2}, stride3)
		}
		Label(name + "_loop")
		var q []GPVirtual
		for g := range groups {
			x := GP64()
			m := Mem{Base: bits}
			switch g {
			case 1:
				m.Index, m.Scale = stride, 1
			case 2:
				m.Index, m.Scale = stride, 2
			case 3:
				m.Index, m.Scale = stride3, 1
			}
			MOVQ(m, x)
			q = append(q, x)
		}
		for c := range 8 {
			var y []VecVirtual
			for g := range groups {
				i := GP64()
				RORXQ(Imm(uint64((8*c+64-5)%64)), q[g], i)
				ANDL(U32(0x1FE0), i.As32())
				m := Mem{Base: tabs[g], Index: i, Scale: 1}
				if g%2 == 0 {
					v := YMM()
					VMOVUPS(m, v)
					y = append(y, v)
				} else {
					VADDPS(m, y[g/2], y[g/2])
				}
			}
			if groups == 4 {
				VADDPS(y[1], y[0], y[0])
			}
			VADDPS(Mem{Base: acc, Disp: 32 * c}, y[0], y[0])
			VMOVUPS(y[0], Mem{Base: acc, Disp: 32 * c})
		}
		ADDQ(Imm(8), bits)
		ADDQ(U32(256), acc)
		SUBQ(Imm(8), cols)
		JNE(LabelRef(name + "_loop"))
		VZEROUPPER()
		RET()
	}
}
