// Command asm writes package sim's AVX2 rows; the go:generate line is in rows_amd64.go
// there. A row is 32 lanes: four vectors of 32-bit or eight of 64-bit values.
package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	integers()
	floats()
	widening()
	exponential()
	mulTile()
	Generate()
}

// pointers to the rows of the function that is being written.
type rows struct{ d, a, b, c reg.Register }

const (
	row   = "*[32]uint32"
	row64 = "*[32]uint64"
)

// begin opens a function over rows of these types.
func begin(name, d, ab, c string) rows {
	TEXT(name+"Y", NOSPLIT, "func(d "+d+", a, b "+ab+", c "+c+")")
	Doc(name + "Y is " + name + " of rows.go.")
	Pragma("noescape")
	p := func(s string) reg.Register { return Load(Param(s), GP64()) }
	return rows{p("d"), p("a"), p("b"), p("c")}
}

func end() {
	VZEROUPPER()
	RET()
}

func at(base reg.Register, byte int) Mem { return Mem{Base: base, Disp: byte} }

// constant is a vector of one 32-bit value, loaded once.
func constant(name string, v uint32) reg.VecVirtual {
	m := GLOBL(name, RODATA|NOPTR)
	DATA(0, U32(v))
	y := YMM()
	VPBROADCASTD(m, y)
	return y
}

func constant64(name string, v uint64) reg.VecVirtual {
	m := GLOBL(name, RODATA|NOPTR)
	DATA(0, U64(v))
	y := YMM()
	VPBROADCASTQ(m, y)
	return y
}

// binary writes d = f(a, b), vector by vector; f leaves its result in a.
func binary(name, typ string, vectors int, f func(b Op, a reg.VecVirtual)) {
	r := begin(name, typ, typ, typ)
	for v := range vectors {
		x := YMM()
		VMOVDQU(at(r.a, 32*v), x)
		f(at(r.b, 32*v), x)
		VMOVDQU(x, at(r.d, 32*v))
	}
	end()
}

func integers() {
	binary("add32", row, 4, func(b Op, a reg.VecVirtual) { VPADDD(b, a, a) })
	binary("sub32", row, 4, func(b Op, a reg.VecVirtual) { VPSUBD(b, a, a) })
	binary("mul32", row, 4, func(b Op, a reg.VecVirtual) { VPMULLD(b, a, a) })
	binary("and32", row, 4, func(b Op, a reg.VecVirtual) { VPAND(b, a, a) })
	binary("or32", row, 4, func(b Op, a reg.VecVirtual) { VPOR(b, a, a) })
	binary("xor32", row, 4, func(b Op, a reg.VecVirtual) { VPXOR(b, a, a) })
	binary("shl32", row, 4, func(b Op, a reg.VecVirtual) { VPSLLVD(b, a, a) })
	binary("shrU32", row, 4, func(b Op, a reg.VecVirtual) { VPSRLVD(b, a, a) })
	binary("shrS32", row, 4, func(b Op, a reg.VecVirtual) { VPSRAVD(b, a, a) })
	binary("add64", row64, 8, func(b Op, a reg.VecVirtual) { VPADDQ(b, a, a) })
	binary("sub64", row64, 8, func(b Op, a reg.VecVirtual) { VPSUBQ(b, a, a) })
	binary("and64", row64, 8, func(b Op, a reg.VecVirtual) { VPAND(b, a, a) })
	binary("or64", row64, 8, func(b Op, a reg.VecVirtual) { VPOR(b, a, a) })
	binary("xor64", row64, 8, func(b Op, a reg.VecVirtual) { VPXOR(b, a, a) })

	r := begin("mad32", row, row, row)
	for v := range 4 {
		x := YMM()
		VMOVDQU(at(r.a, 32*v), x)
		VPMULLD(at(r.b, 32*v), x, x)
		VPADDD(at(r.c, 32*v), x, x)
		VMOVDQU(x, at(r.d, 32*v))
	}
	end()

	// The high halves of the even lanes' products, then of the odd ones'.
	binary("mulHiU32", row, 4, func(b Op, a reg.VecVirtual) {
		y, odd := YMM(), YMM()
		VMOVDQU(b, y)
		VPSRLQ(Imm(32), a, odd)
		VPMULUDQ(y, a, a)
		VPSRLQ(Imm(32), y, y)
		VPMULUDQ(y, odd, odd)
		VPSRLQ(Imm(32), a, a)
		VPBLENDD(Imm(0xaa), odd, a, a)
	})
}

// unordered and equal are predicates of VCMPPS.
const (
	equal     = 0
	less      = 1
	unordered = 3
)

// canonical turns every NaN into NVIDIA's.
func canonical(x, nan reg.VecVirtual) {
	m := YMM()
	VCMPPS(Imm(unordered), x, x, m)
	VBLENDVPS(m, nan, x, x)
}

func floats() {
	arithmetic := func(name string, f func(b Op, a reg.VecVirtual)) {
		r := begin(name, row, row, row)
		nan := constant(name+"_nan", 0x7fffffff)
		for v := range 4 {
			x := YMM()
			VMOVUPS(at(r.a, 32*v), x)
			f(at(r.b, 32*v), x)
			canonical(x, nan)
			VMOVUPS(x, at(r.d, 32*v))
		}
		end()
	}
	arithmetic("addF", func(b Op, a reg.VecVirtual) { VADDPS(b, a, a) })
	arithmetic("subF", func(b Op, a reg.VecVirtual) { VSUBPS(b, a, a) })
	arithmetic("mulF", func(b Op, a reg.VecVirtual) { VMULPS(b, a, a) })
	arithmetic("maxF", func(b Op, a reg.VecVirtual) {
		extreme(b, a, func(y, x, d reg.VecVirtual) { VMAXPS(y, x, d) }, func(y, x, d reg.VecVirtual) { VANDPS(y, x, d) })
	})
	arithmetic("minF", func(b Op, a reg.VecVirtual) {
		extreme(b, a, func(y, x, d reg.VecVirtual) { VMINPS(y, x, d) }, func(y, x, d reg.VecVirtual) { VORPS(y, x, d) })
	})

	r := begin("fmaF", row, row, row)
	nan := constant("fmaF_nan", 0x7fffffff)
	for v := range 4 {
		x, y := YMM(), YMM()
		VMOVUPS(at(r.a, 32*v), x)
		VMOVUPS(at(r.b, 32*v), y)
		VFMADD213PS(at(r.c, 32*v), y, x)
		canonical(x, nan)
		VMOVUPS(x, at(r.d, 32*v))
	}
	end()
}

// extreme is max or min: the processor's gives its second operand where one is a NaN or
// both are zeros, PTX the number, and orders the zeros: same says how from their bits.
func extreme(b Op, x reg.VecVirtual, pick, same func(y, x, d reg.VecVirtual)) {
	y, m, t := YMM(), YMM(), YMM()
	VMOVUPS(b, y)
	pick(y, x, t)
	VCMPPS(Imm(unordered), y, y, m)
	VBLENDVPS(m, x, t, t)
	VCMPPS(Imm(equal), y, x, m)
	same(y, x, y)
	VBLENDVPS(m, y, t, x)
}

func widening() {
	for _, s := range []struct {
		suffix          string
		extend, product func(...Op)
	}{{"U", VPMOVZXDQ, VPMULUDQ}, {"S", VPMOVSXDQ, VPMULDQ}} {
		for _, mad := range []bool{false, true} {
			name := "wide" + s.suffix
			if mad {
				name = "madWide" + s.suffix
			}
			r := begin(name, row64, row, row64)
			for v := range 8 {
				x, y := YMM(), YMM()
				s.extend(at(r.a, 16*v), x)
				s.extend(at(r.b, 16*v), y)
				s.product(y, x, x)
				if mad {
					VPADDQ(at(r.c, 32*v), x, x)
				}
				VMOVDQU(x, at(r.d, 32*v))
			}
			end()
		}
	}
}

// exponential is ex2F and ex2FtzF: exp2 of float.go, four lanes at a time, operation by
// operation.
func exponential() {
	table := GLOBL("exp2_table", RODATA|NOPTR)
	for i := range 64 {
		DATA(8*i, F64(math.Exp2(float64(i)/64)))
	}
	for _, ftz := range []bool{false, true} {
		name := "ex2F"
		if ftz {
			name = "ex2FtzF"
		}
		r := begin(name, row, row, row)
		double := func(s string, v float64) reg.VecVirtual { return constant64(name+"_"+s, math.Float64bits(v)) }
		low, high, steps, shift, ln2 := double("low", -160), double("high", 129), double("steps", 64), double("shift", 0x1.8p52), double("ln2", math.Ln2/64)
		one, half, sixth := double("one", 1), double("half", 1./2), double("sixth", 1./6)
		index := constant64(name+"_index", 63)
		base := GP64()
		LEAQ(table, base)
		for v := range 8 {
			x, k, t, p, m := YMM(), YMM(), YMM(), YMM(), YMM()
			VCVTPS2PD(at(r.a, 16*v), x)
			VMAXPD(low, x, x)
			VMINPD(high, x, x)
			VMULPD(steps, x, x)
			VADDPD(shift, x, k)
			VSUBPD(shift, k, t)
			VSUBPD(t, x, t)
			VMULPD(ln2, t, t)
			VMULPD(sixth, t, p)
			VADDPD(half, p, p)
			VMULPD(t, p, p)
			VADDPD(one, p, p)
			VMULPD(t, p, p)
			VADDPD(one, p, p)
			VPAND(index, k, t)
			VPCMPEQQ(m, m, m)
			VGATHERQPD(m, Mem{Base: base, Index: t, Scale: 8}, x)
			VMULPD(x, p, p)
			VPANDN(k, index, k) // the integer's upper bits go to the exponent
			VPSLLQ(Imm(46), k, k)
			VPADDQ(k, p, p)
			f := XMM()
			VCVTPD2PSY(p, f)
			finish(at(r.a, 16*v), f, ftz)
			VMOVUPS(f, at(r.d, 16*v))
		}
		end()
	}
}

// finish puts NaN where the operand was one, and zero for a subnormal if ftz.
func finish(a Mem, f reg.VecVirtual, ftz bool) {
	x, m, c := XMM(), XMM(), XMM()
	if ftz {
		VBROADCASTSS(float("smallest", 0x00800000), c)
		VCMPPS(Imm(less), c, f, m)
		VANDNPS(f, m, f)
	}
	VMOVUPS(a, x)
	VCMPPS(Imm(unordered), x, x, m)
	VBROADCASTSS(float("nan", 0x7fffffff), c)
	VBLENDVPS(m, c, f, f)
}

var known = map[string]Mem{}

// float is the place of a constant.
func float(name string, v uint32) Mem {
	m, ok := known[name]
	if !ok {
		m = GLOBL("f32_"+name, RODATA|NOPTR)
		DATA(0, U32(v))
		known[name] = m
	}
	return m
}

// mulTile is 16 rows of a times 8 columns, which lie as rows of b: each sum over k in
// order, products rounded by themselves. Rows are 32 floats.
func mulTile() {
	TEXT("mulTileY", NOSPLIT, "func(s *[16][8]float32, a *[16][32]float32, b *[8][32]float32, k int)")
	Doc("mulTileY is mulTile of decode_matrix.go.")
	Pragma("noescape")
	s, a, b, k := Load(Param("s"), GP64()), Load(Param("a"), GP64()), Load(Param("b"), GP64()), Load(Param("k"), GP64())
	columns := GLOBL("columns", RODATA|NOPTR)
	for i := range 8 {
		DATA(4*i, U32(uint32(128*i)))
	}
	index := YMM()
	VMOVDQU(columns, index)
	for half := range 2 {
		label := []string{"upper", "lower"}[half]
		var sums [8]reg.VecVirtual
		for r := range sums {
			sums[r] = YMM()
			VXORPS(sums[r], sums[r], sums[r])
		}
		pa, pb, n := GP64(), GP64(), GP64()
		LEAQ(at(a, 8*128*half), pa)
		MOVQ(b, pb)
		MOVQ(k, n)
		Label(label)
		y, m := YMM(), YMM()
		VPCMPEQD(m, m, m)
		VGATHERDPS(m, Mem{Base: pb, Index: index, Scale: 1}, y)
		for r := range sums {
			x := YMM()
			VBROADCASTSS(at(pa, 128*r), x)
			VMULPS(y, x, x)
			VADDPS(x, sums[r], sums[r])
		}
		ADDQ(Imm(4), pa)
		ADDQ(Imm(4), pb)
		DECQ(n)
		JNE(LabelRef(label))
		for r := range sums {
			VMOVUPS(sums[r], at(s, 32*(8*half+r)))
		}
	}
	end()
}
