package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// single puts a float32 constant into the data section, once per lane.
func single(name string, x float64) Mem {
	return constant(name, math.Float32bits(float32(x)))
}

// horner evaluates a polynomial in x, the highest coefficient first.
func horner(name string, x VecVirtual, coefficients ...float64) VecVirtual {
	y := YMM()
	VMOVUPS(single(name+"0", coefficients[0]), y)
	for i, c := range coefficients[1:] {
		VMULPS(x, y, y)
		VADDPS(single(name+string(rune('1'+i)), c), y, y)
	}
	return y
}

// boxMuller is gaussian.go's normalPair on eight pairs of words at once.
func boxMuller() {
	begin("boxMullerAVX2", "func(x *uint32, n int, scale *float32)",
		"boxMullerAVX2 replaces n groups x [2][8] of random words by 8 pairs of normals times *scale, cosines first.")
	x, n, scale := Load(Param("x"), GP64()), Load(Param("n"), GP64()), Load(Param("scale"), GP64())
	half := single("half", 0.5)
	Label("normal_loop")
	r := radius(x, half)
	s, c := angle(x, half)
	k := YMM()
	VBROADCASTSS(Mem{Base: scale}, k)
	VMULPS(k, r, r)
	VMULPS(r, c, c)
	VMULPS(r, s, s)
	VMOVUPS(c, Mem{Base: x})
	VMOVUPS(s, Mem{Base: x, Disp: 32})
	ADDQ(Imm(64), x)
	DECQ(n)
	JNE(LabelRef("normal_loop"))
	VZEROUPPER()
	RET()
}

// radius is sqrt(-2 ln u).
func radius(x Register, half Mem) VecVirtual {
	f := YMM()
	VMOVDQU(Mem{Base: x}, f)
	VPSRLD(Imm(9), f, f)
	VCVTDQ2PS(f, f)
	VADDPS(half, f, f) // u * 2^23
	// f = m 2^e with m in [sqrt(1/2), sqrt(2)): subtract the bits of sqrt(1/2), split, add back
	bits, e, m := YMM(), YMM(), YMM()
	VPSUBD(constant("rootHalfBits", 0x3f3504f3), f, bits)
	VPSRAD(Imm(23), bits, e)
	VPSLLD(Imm(23), e, m)
	VPSUBD(m, f, m)
	VCVTDQ2PS(e, e)
	VSUBPS(single("exponent23", 23), e, e)
	VSUBPS(single("one", 1), m, m)
	z := YMM()
	VMULPS(m, m, z)
	y := horner("logP", m, 7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1)
	VMULPS(m, y, y)
	VMULPS(z, y, y)
	t := YMM()
	VMULPS(single("ln2Lo", -2.12194440e-4), e, t)
	VADDPS(t, y, y)
	VMULPS(half, z, z)
	VSUBPS(z, y, y)
	VADDPS(y, m, y)
	VMULPS(single("ln2Hi", 0.693359375), e, t)
	VADDPS(t, y, y)
	VMULPS(single("minusTwo", -2), y, y)
	VSQRTPS(y, y)
	return y
}

// angle is sine and cosine of the turn: two bits choose the quadrant, 23 the
// place in it.
func angle(x Register, half Mem) (s, c VecVirtual) {
	w, t := YMM(), YMM()
	VMOVDQU(Mem{Base: x, Disp: 32}, w)
	VPSLLD(Imm(2), w, t)
	VPSRLD(Imm(9), t, t)
	VCVTDQ2PS(t, t)
	VSUBPS(single("middle", 4194303.5), t, t)
	VMULPS(single("quarterTurn", math.Pi/2/8388608), t, t)
	z := YMM()
	VMULPS(t, t, z)
	s = horner("sinP", z, -1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
	VMULPS(z, s, s)
	VMULPS(t, s, s)
	VADDPS(t, s, s)
	c = horner("cosP", z, 2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
	VMULPS(z, c, c)
	VMULPS(z, c, c)
	VMULPS(half, z, z)
	VSUBPS(z, c, c)
	VADDPS(single("one", 1), c, c)
	// quadrant q = w>>30: odd swaps, cosine changes sign for 1 and 2, sine for 2 and 3
	swap, cs, ss := YMM(), YMM(), YMM()
	VPSLLD(Imm(1), w, swap) // bit 30 to the sign
	s2, c2 := YMM(), YMM()
	VBLENDVPS(swap, c, s, s2)
	VBLENDVPS(swap, s, c, c2)
	sign := constant("signBit", 0x80000000)
	VPXOR(w, swap, cs)
	VPAND(sign, cs, cs)
	VPAND(sign, w, ss)
	VXORPS(cs, c2, c2)
	VXORPS(ss, s2, s2)
	return s2, c2
}
