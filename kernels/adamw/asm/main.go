// Command asm writes package adamw's AVX2 loop; the go:generate line is in
// step_amd64.go there.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	TEXT("stepY", NOSPLIT, "func(n int, f, param, grad, m, v *float32)")
	Doc("stepY is stepPlain over n vectors of 8; f points to the first of factors' fields.")
	Pragma("noescape")
	n := Load(Param("n"), GP64())
	f := Load(Param("f"), GP64())
	scale, decay, omb1, beta2 := factor(f, 0), factor(f, 1), factor(f, 2), factor(f, 3)
	omb2, sqrtBC2, eps, step := factor(f, 4), factor(f, 5), factor(f, 6), factor(f, 7)
	p, gp := Load(Param("param"), GP64()), Load(Param("grad"), GP64())
	mp, vp := Load(Param("m"), GP64()), Load(Param("v"), GP64())
	g, m, v, t := YMM(), YMM(), YMM(), YMM()

	Label("loop")
	VMULPS(Mem{Base: gp}, scale, g)
	VMOVUPS(Mem{Base: mp}, m)
	VSUBPS(m, g, t)
	VFMADD231PS(t, omb1, m) // m += (1-b1)*(g-m)
	VMOVUPS(m, Mem{Base: mp})
	VMULPS(Mem{Base: vp}, beta2, v)
	VMULPS(g, omb2, t)
	VFMADD231PS(t, g, v) // v = b2*v + ((1-b2)*g)*g
	VMOVUPS(v, Mem{Base: vp})
	VSQRTPS(v, v)
	VDIVPS(sqrtBC2, v, v)
	VADDPS(eps, v, v)
	VMULPS(step, m, m)
	VDIVPS(v, m, m)
	VMULPS(Mem{Base: p}, decay, t)
	VADDPS(m, t, t)
	VMOVUPS(t, Mem{Base: p})
	for _, r := range []reg.Register{p, gp, mp, vp} {
		ADDQ(Imm(32), r)
	}
	DECQ(n)
	JNE(LabelRef("loop"))
	VZEROUPPER()
	RET()
	Generate()
}

// factor fills a register with the i-th field.
func factor(f reg.Register, i int) reg.VecVirtual {
	r := YMM()
	VBROADCASTSS(Mem{Base: f, Disp: 4 * i}, r)
	return r
}
