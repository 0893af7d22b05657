package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// ones is a register of vectors of 32 ones, from which constants are shifted.
func ones() reg.VecVirtual {
	r := vec()
	VPCMPEQD(r, r, r)
	return r
}

// narrow rounds to nearest, ties to even, by adding just less than half a step of bf16, or
// half of one where the number above is odd. NaN becomes 0x7fff.
func narrow() {
	n := begin("narrow", "dst *uint16, src *float32", "dst = bf16(src)")
	dst, src := pointer("dst"), pointer("src")
	all := ones()
	one, nan, magnitude, infinity := vec(), vec(), vec(), vec()
	VPSRLD(Imm(31), all, one)
	VPSRLD(Imm(17), all, nan)
	VPSRLD(Imm(1), all, magnitude)
	VPSRLD(Imm(24), all, infinity)
	VPSLLD(Imm(23), infinity, infinity)
	x, up, isNaN := vec(), vec(), vec()
	Label("loop")
	VMOVUPS(at(src), x)
	VPAND(magnitude, x, isNaN)
	VPCMPGTD(infinity, isNaN, isNaN)
	VPSRLD(Imm(16), x, up)
	VPAND(one, up, up)
	VPADDD(nan, up, up) // 0x7fff
	VPADDD(up, x, x)
	VPSRLD(Imm(16), x, x)
	VPBLENDVB(isNaN, nan, x, x)
	VPACKUSDW(x, x, x)
	VPERMQ(Imm(0xd8), x, x)
	VMOVUPS(x.AsX(), at(dst))
	ADDQ(Imm(32), src)
	ADDQ(Imm(16), dst)
	DECQ(n)
	JNE(LabelRef("loop"))
	end()
}

func widen() {
	n := begin("widen", "dst *float32, src *uint16", "dst = float32(src)")
	dst, src := pointer("dst"), pointer("src")
	x := vec()
	Label("loop")
	VPMOVZXWD(at(src), x)
	VPSLLD(Imm(16), x, x)
	VMOVUPS(x, at(dst))
	ADDQ(Imm(16), src)
	ADDQ(Imm(32), dst)
	DECQ(n)
	JNE(LabelRef("loop"))
	end()
}
