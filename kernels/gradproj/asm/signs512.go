package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// xor3 is VPTERNLOGD's table of a^b^c.
const xor3 = 0x96

// table64 puts sixteen 32-bit values into the data section.
func table64(name string, v [16]uint32) Mem {
	m := GLOBL(name, RODATA|NOPTR)
	for i, x := range v {
		DATA(4*i, U32(x))
	}
	return m
}

// rounds512 is rounds on sixteen states; the keys are those of rounds.
func rounds512(keys Register, m0, m1 VecVirtual, states ...*half) {
	for r := range 10 {
		for _, s := range states {
			p0, p1, t, u := ZMM(), ZMM(), ZMM(), ZMM()
			VPMULUDQ(m0, s[0], p0)
			VPMULUDQ(m1, s[2], p1)
			VPSRLQ(Imm(32), p1, t)
			VPTERNLOGD_BCST(Imm(xor3), Mem{Base: keys, Disp: 64 * r}, s[1], t)
			VPSRLQ(Imm(32), p0, u)
			VPTERNLOGD_BCST(Imm(xor3), Mem{Base: keys, Disp: 64*r + 32}, s[3], u)
			*s = half{t, p1, u, p0}
		}
	}
}

// signTile512 is signTile of 32 columns at a time: two calls of eight states side by side.
func signTile512() {
	begin("signTileAVX512", "func(keys *uint32, ctr *uint32, pair, twice int, dst *byte, stride int)",
		"signTileAVX512 is signTileAVX2 of twice that many blocks.")
	keys, ctr := Load(Param("keys"), GP64()), Load(Param("ctr"), GP64())
	pair := GP64()
	Load(Param("pair"), pair)
	n, dst, stride := Load(Param("twice"), GP64()), Load(Param("dst"), GP64()), Load(Param("stride"), GP64())
	s3, s5, s7 := GP64(), GP64(), GP64()
	LEAQ(Mem{Base: stride, Index: stride, Scale: 2}, s3)
	LEAQ(Mem{Base: stride, Index: stride, Scale: 4}, s5)
	LEAQ(Mem{Base: s3, Index: stride, Scale: 4}, s7)
	load := func(name string, v [16]uint32) VecVirtual {
		r := ZMM()
		VMOVDQU32(table64(name, v), r)
		return r
	}
	lanes := load("lanePairs16", [16]uint32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
	quarter := [4]uint32{0x0c080400, 0x0d090501, 0x0e0a0602, 0x0f0b0703}
	var bytes [16]uint32
	for i := range bytes {
		bytes[i] = quarter[i%4]
	}
	bytesOf := load("gatherBytes16", bytes)
	dwords := load("gatherDwords16", [16]uint32{0, 4, 1, 5, 8, 12, 9, 13, 2, 6, 3, 7, 10, 14, 11, 15})
	m0, m1 := ZMM(), ZMM()
	VPBROADCASTD(constant("philoxM0", 0xD2511F53), m0)
	VPBROADCASTD(constant("philoxM1", 0xCD9E8D57), m1)
	odds := K()
	eachOdd := GP32()
	MOVL(U32(0xAAAA), eachOdd)
	KMOVW(eachOdd, odds)

	Label("sign512_loop")
	var even, odd half
	for k, at := range []int{0, 4, -1, 8} {
		even[k], odd[k] = ZMM(), ZMM()
		if at < 0 {
			VPBROADCASTD(pair.As32(), even[k])
			VPADDD(lanes, even[k], even[k])
			VPSRLQ(Imm(32), even[k], odd[k])
			continue
		}
		VPBROADCASTD(Mem{Base: ctr, Disp: at}, even[k])
		VMOVDQA32(even[k], odd[k])
	}
	rounds512(keys, m0, m1, &even, &odd)
	for k := range 4 {
		w := ZMM()
		VPSLLQ(Imm(32), odd[k], w)
		VPBLENDMD(w, even[k], odds, w)
		VPSHUFB(bytesOf, w, w)
		VPERMD(w, dwords, w)
		at := []Mem{{Base: dst}, {Base: dst, Index: stride, Scale: 2}, {Base: dst, Index: stride, Scale: 4}, {Base: dst, Index: s3, Scale: 2}}[k]
		VMOVDQU(w.AsY(), at)
		next := []Mem{{Base: dst, Index: stride, Scale: 1}, {Base: dst, Index: s3, Scale: 1}, {Base: dst, Index: s5, Scale: 1}, {Base: dst, Index: s7, Scale: 1}}[k]
		VEXTRACTI64X4(Imm(1), w, next)
	}
	ADDQ(Imm(32), dst)
	ADDL(Imm(16), pair.As32())
	DECQ(n)
	JNE(LabelRef("sign512_loop"))
	VZEROUPPER()
	RET()
}
