package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// pack transposes eight rows of samples into lanes.
func pack() {
	begin("packAVX2", "func(src **float32, n int, dst *float32)",
		"packAVX2 writes dst [n][8] from the n values behind each of src [8]; n is a multiple of 8.")
	src, n, dst := Load(Param("src"), GP64()), Load(Param("n"), GP64()), Load(Param("dst"), GP64())
	var p [8]GPVirtual
	for l := range p {
		p[l] = GP64()
		MOVQ(Mem{Base: src, Disp: 8 * l}, p[l])
	}
	off := GP64()
	XORQ(off, off)
	Label("pack_loop")
	// rows l and l+4 share a register: after that a 4x4 transpose per half is all
	var r [8]VecVirtual
	for l := range 4 {
		for h := range 2 {
			x := YMM()
			VMOVUPS(Mem{Base: p[l], Index: off, Scale: 1, Disp: 16 * h}, x.AsX())
			VINSERTF128(Imm(1), Mem{Base: p[l+4], Index: off, Scale: 1, Disp: 16 * h}, x, x)
			r[4*h+l] = x
		}
	}
	for h := range 2 {
		a, b, c, d := YMM(), YMM(), YMM(), YMM()
		VUNPCKLPS(r[4*h+1], r[4*h], a)
		VUNPCKHPS(r[4*h+1], r[4*h], b)
		VUNPCKLPS(r[4*h+3], r[4*h+2], c)
		VUNPCKHPS(r[4*h+3], r[4*h+2], d)
		for i, pair := range [][2]VecVirtual{{a, c}, {b, d}} {
			lo, hi := YMM(), YMM()
			VUNPCKLPD(pair[1], pair[0], lo)
			VUNPCKHPD(pair[1], pair[0], hi)
			VMOVUPS(lo, Mem{Base: dst, Disp: 32 * (4*h + 2*i)})
			VMOVUPS(hi, Mem{Base: dst, Disp: 32 * (4*h + 2*i + 1)})
		}
	}
	ADDQ(Imm(32), off)
	ADDQ(U32(256), dst)
	SUBQ(Imm(8), n)
	JNE(LabelRef("pack_loop"))
	VZEROUPPER()
	RET()
}

// adam replaces gradients by Adam directions.
func adam() {
	begin("adamAVX2", "func(grad, m, v *float32, n int, c *float32)",
		"adamAVX2 replaces n gradients by Adam directions; c holds the seven numbers of direction; n is a multiple of 8.")
	g, m, v := Load(Param("grad"), GP64()), Load(Param("m"), GP64()), Load(Param("v"), GP64())
	n, c := Load(Param("n"), GP64()), Load(Param("c"), GP64())
	var k [8]VecVirtual
	for i := range k {
		k[i] = YMM()
		VBROADCASTSS(Mem{Base: c, Disp: 4 * i}, k[i])
	}
	Label("adam_loop")
	x, num, den := YMM(), YMM(), YMM()
	VMOVUPS(Mem{Base: g}, x)
	VMULPS(Mem{Base: m}, k[1], num)
	VMULPS(Mem{Base: v}, k[3], den)
	a, b := YMM(), YMM()
	VMULPS(k[0], x, a)
	VADDPS(num, a, num)
	VMULPS(k[4], num, num)
	VMULPS(x, x, b)
	VMULPS(k[2], b, b)
	VADDPS(b, den, den)
	VMULPS(k[5], den, den)
	VADDPS(k[6], den, den)
	VSQRTPS(den, den)
	VADDPS(k[7], den, den)
	VDIVPS(den, num, num)
	VMOVUPS(num, Mem{Base: g})
	for _, p := range []Register{g, m, v} {
		ADDQ(Imm(32), p)
	}
	SUBQ(Imm(8), n)
	JNE(LabelRef("adam_loop"))
	VZEROUPPER()
	RET()
}

// scatter adds rows of lanes to buckets.
func scatter() {
	begin("scatterAVX2", "func(grad *float32, plan *uint32, rows, entries int, acc *float32)",
		"scatterAVX2 adds each row of grad [rows][8] to the buckets of acc [dim][8] that plan [rows][entries] names: bucket*2, plus 1 to subtract.")
	g, plan := Load(Param("grad"), GP64()), Load(Param("plan"), GP64())
	rows, entries := Load(Param("rows"), GP64()), Load(Param("entries"), GP64())
	acc := Load(Param("acc"), GP64())
	j := GP64()
	Label("scatter_row")
	x := YMM()
	VMOVUPS(Mem{Base: g}, x)
	MOVQ(entries, j)
	Label("scatter_entry")
	e, sign := GP32(), YMM()
	MOVL(Mem{Base: plan}, e)
	VMOVD(e, sign.AsX())
	VPBROADCASTD(sign.AsX(), sign)
	VPSLLD(Imm(31), sign, sign)
	VPXOR(sign, x, sign)
	ANDL(I32(-2), e)
	SHLQ(Imm(4), e.As64())
	VADDPS(Mem{Base: acc, Index: e.As64(), Scale: 1}, sign, sign)
	VMOVUPS(sign, Mem{Base: acc, Index: e.As64(), Scale: 1})
	ADDQ(Imm(4), plan)
	DECQ(j)
	JNE(LabelRef("scatter_entry"))
	ADDQ(Imm(32), g)
	DECQ(rows)
	JNE(LabelRef("scatter_row"))
	VZEROUPPER()
	RET()
}
