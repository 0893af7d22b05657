package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// half is four Philox states, one in the low 32 bits of each 64-bit lane; the
// high bits hold what the multiplications left there and are never looked at.
type half [4]VecVirtual

// rounds runs the ten rounds on the even and the odd lanes of eight states.
// keys [10][2][8]uint32 are the round keys, each in every lane.
func rounds(keys Register, m0, m1 VecVirtual, states ...*half) {
	for r := range 10 {
		for _, s := range states {
			p0, p1, t := YMM(), YMM(), YMM()
			VPMULUDQ(m0, s[0], p0)
			VPMULUDQ(m1, s[2], p1)
			VPSRLQ(Imm(32), p1, t)
			VPXOR(s[1], t, t)
			VPXOR(Mem{Base: keys, Disp: 64 * r}, t, t)
			u := YMM()
			VPSRLQ(Imm(32), p0, u)
			VPXOR(s[3], u, u)
			VPXOR(Mem{Base: keys, Disp: 64*r + 32}, u, u)
			*s = half{t, p1, u, p0}
		}
	}
}

// words interleaves the two halves of word k again: eight 32-bit lanes in order.
func words(even, odd *half, k int) VecVirtual {
	w := YMM()
	VPSLLQ(Imm(32), odd[k], w)
	VPBLENDD(Imm(0xAA), w, even[k], w)
	return w
}

func multipliers() (m0, m1 VecVirtual) {
	m0, m1 = YMM(), YMM()
	VMOVDQU(constant("philoxM0", 0xD2511F53), m0)
	VMOVDQU(constant("philoxM1", 0xCD9E8D57), m1)
	return m0, m1
}

// philox replaces n groups of eight counters by their random words.
func philox() {
	begin("philoxAVX2", "func(keys *uint32, x *uint32, n int)",
		"philoxAVX2 replaces each of n groups x [4][8] of eight counters by their random words.")
	keys, x, n := Load(Param("keys"), GP64()), Load(Param("x"), GP64()), Load(Param("n"), GP64())
	m0, m1 := multipliers()
	Label("philox_loop")
	var even, odd half
	for k := range 4 {
		even[k], odd[k] = YMM(), YMM()
		VMOVDQU(Mem{Base: x, Disp: 32 * k}, even[k])
		VPSRLQ(Imm(32), even[k], odd[k])
	}
	rounds(keys, m0, m1, &even, &odd)
	for k := range 4 {
		VMOVDQU(words(&even, &odd, k), Mem{Base: x, Disp: 32 * k})
	}
	ADDQ(U32(128), x)
	DECQ(n)
	JNE(LabelRef("philox_loop"))
	VZEROUPPER()
	RET()
}

// signTile writes the signs of 64 rows and 16*blocks columns.
func signTile() {
	begin("signTileAVX2", "func(keys *uint32, ctr *uint32, pair, blocks int, dst *byte, stride int)",
		"signTileAVX2 writes the signs of 64 rows and 16*blocks columns, eight rows to a byte: dst [8][stride]; ctr holds counter words 0, 1 and 3, pair is word 2 of the first call.")
	keys := Load(Param("keys"), GP64())
	ctr := Load(Param("ctr"), GP64())
	pair := GP64()
	Load(Param("pair"), pair)
	n := Load(Param("blocks"), GP64())
	dst := Load(Param("dst"), GP64())
	stride := Load(Param("stride"), GP64())
	s3, s5, s7 := GP64(), GP64(), GP64()
	LEAQ(Mem{Base: stride, Index: stride, Scale: 2}, s3)
	LEAQ(Mem{Base: stride, Index: stride, Scale: 4}, s5)
	LEAQ(Mem{Base: s3, Index: stride, Scale: 4}, s7)
	laneIDs := table32("lanePairs", [8]uint32{0, 1, 2, 3, 4, 5, 6, 7})
	bytesOf := table32("gatherBytes", [8]uint32{0x0c080400, 0x0d090501, 0x0e0a0602, 0x0f0b0703, 0x0c080400, 0x0d090501, 0x0e0a0602, 0x0f0b0703})
	dwords := table32("gatherDwords", [8]uint32{0, 4, 1, 5, 2, 6, 3, 7})
	m0, m1 := multipliers()
	Label("sign_loop")
	var even, odd half
	for k, at := range []int{0, 4, -1, 8} {
		even[k], odd[k] = YMM(), YMM()
		if at < 0 {
			VMOVD(pair.As32(), even[k].AsX())
			VPBROADCASTD(even[k].AsX(), even[k])
			VPADDD(laneIDs, even[k], even[k])
			VPSRLQ(Imm(32), even[k], odd[k])
			continue
		}
		VPBROADCASTD(Mem{Base: ctr, Disp: at}, even[k])
		VMOVDQA(even[k], odd[k])
	}
	rounds(keys, m0, m1, &even, &odd)
	for k := range 4 {
		w, d := words(&even, &odd, k), YMM()
		VPSHUFB(bytesOf, w, w)
		VMOVDQU(dwords, d)
		VPERMD(w, d, w)
		at := []Mem{{Base: dst}, {Base: dst, Index: stride, Scale: 2}, {Base: dst, Index: stride, Scale: 4}, {Base: dst, Index: s3, Scale: 2}}[k]
		VMOVDQU(w.AsX(), at)
		next := []Mem{{Base: dst, Index: stride, Scale: 1}, {Base: dst, Index: s3, Scale: 1}, {Base: dst, Index: s5, Scale: 1}, {Base: dst, Index: s7, Scale: 1}}[k]
		VEXTRACTI128(Imm(1), w, next)
	}
	ADDQ(Imm(16), dst)
	ADDL(Imm(8), pair.As32())
	DECQ(n)
	JNE(LabelRef("sign_loop"))
	VZEROUPPER()
	RET()
}
