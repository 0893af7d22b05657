// Command asm writes package dropout's AVX2 loops; the go:generate line is in
// row_amd64.go there.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// state is four Philox states, one in the low 32 bits of each 64-bit lane; the high
// bits hold what the multiplications left there and are never looked at.
type state [4]VecVirtual

func main() {
	maskLoop("maskY", false)
	maskLoop("maskAddY", true)
	Generate()
}

// maskLoop masks n groups of 32 entries: four counters' words, 16 bits an entry. args
// are k0, k1, row, stream, threshold-1, scale; counters start at column block 0.
func maskLoop(name string, add bool) {
	TEXT(name, NOSPLIT, "func(n int, args *uint32, src, dst *float32)")
	Pragma("noescape")
	Doc(name + " is mask.row over n groups of 32 entries; args are k0, k1, row, stream, threshold-1 and scale.")
	n, args := Load(Param("n"), GP64()), Load(Param("args"), GP64())
	src, dst := Load(Param("src"), GP64()), Load(Param("dst"), GP64())
	threshold, scale, counter := YMM(), YMM(), YMM()
	VPBROADCASTD(Mem{Base: args, Disp: 16}, threshold)
	VBROADCASTSS(Mem{Base: args, Disp: 20}, scale)
	VMOVDQU(data("blocks", 0, 0, 1, 0, 2, 0, 3, 0), counter)

	Label(name + "_loop")
	w := philox(args, counter)
	for b, block := range blocks(w) {
		x, keep := YMM(), YMM()
		VPMOVZXWD(block, keep)
		VPCMPGTD(threshold, keep, keep)
		VMULPS(Mem{Base: src, Disp: 32 * b}, scale, x)
		VANDPS(keep, x, x)
		if add {
			VADDPS(Mem{Base: dst, Disp: 32 * b}, x, x)
		}
		VMOVUPS(x, Mem{Base: dst, Disp: 32 * b})
	}
	VPADDD(data("four", 4, 0, 4, 0, 4, 0, 4, 0), counter, counter)
	ADDQ(U32(128), src)
	ADDQ(U32(128), dst)
	DECQ(n)
	JNE(LabelRef(name + "_loop"))
	VZEROUPPER()
	RET()
}

// philox runs the ten rounds on the counters (counter, row, stream, 0).
func philox(args Register, counter VecVirtual) state {
	k0, k1, m0, m1, zero := YMM(), YMM(), YMM(), YMM(), YMM()
	VPBROADCASTD(Mem{Base: args, Disp: 0}, k0)
	VPBROADCASTD(Mem{Base: args, Disp: 4}, k1)
	VMOVDQU(repeated("m0", 0xD2511F53), m0)
	VMOVDQU(repeated("m1", 0xCD9E8D57), m1)
	row, stream := YMM(), YMM()
	VPBROADCASTD(Mem{Base: args, Disp: 8}, row)
	VPBROADCASTD(Mem{Base: args, Disp: 12}, stream)
	VPXOR(zero, zero, zero)
	s := state{counter, row, stream, zero}
	for r := range 10 {
		if r > 0 {
			VPADDD(repeated("w0", 0x9E3779B9), k0, k0)
			VPADDD(repeated("w1", 0xBB67AE85), k1, k1)
		}
		p0, p1, t, u := YMM(), YMM(), YMM(), YMM()
		VPMULUDQ(m0, s[0], p0)
		VPMULUDQ(m1, s[2], p1)
		VPSRLQ(Imm(32), p1, t)
		VPXOR(s[1], t, t)
		VPXOR(k0, t, t)
		VPSRLQ(Imm(32), p0, u)
		VPXOR(s[3], u, u)
		VPXOR(k1, u, u)
		s = state{t, p1, u, p0}
	}
	return s
}

// blocks are the 128 random bits of each of the four counters, in order.
func blocks(w state) [4]VecVirtual {
	a, b := pair(w[0], w[1]), pair(w[2], w[3])
	even, odd := YMM(), YMM() // counters 0 and 2, 1 and 3
	VPUNPCKLQDQ(b, a, even)
	VPUNPCKHQDQ(b, a, odd)
	out := [4]VecVirtual{XMM(), XMM(), XMM(), XMM()}
	VEXTRACTI128(Imm(0), even, out[0])
	VEXTRACTI128(Imm(0), odd, out[1])
	VEXTRACTI128(Imm(1), even, out[2])
	VEXTRACTI128(Imm(1), odd, out[3])
	return out
}

// pair puts the low words of hi above those of lo.
func pair(lo, hi VecVirtual) VecVirtual {
	p := YMM()
	VPSLLQ(Imm(32), hi, p)
	VPBLENDD(Imm(0xAA), p, lo, p)
	return p
}

var tables = map[string]Mem{} // in the data section, by name

// data puts eight 32-bit values into the data section, once.
func data(name string, v ...uint32) Mem {
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

func repeated(name string, x uint32) Mem { return data(name, x, x, x, x, x, x, x, x) }
