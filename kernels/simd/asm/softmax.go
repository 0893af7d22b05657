package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// rounder narrows vectors to bf16 as narrow does, but for NaN: it must be one that arithmetic
// made, or of bf16 numbers. Their lower halves are zeros, from which nothing is carried.
type rounder struct{ one, half, up reg.VecVirtual }

func newRounder() *rounder {
	r := &rounder{vec(), vec(), vec()}
	VPTERNLOGD(Imm(0xff), r.up, r.up, r.up) // all ones
	VPSRLD(Imm(31), r.up, r.one)
	VPSRLD(Imm(17), r.up, r.half) // just less than half a step
	return r
}

// store writes x in bf16; the numbers are left in the lower halves of x.
func (r *rounder) store(x reg.VecVirtual, to Mem) {
	VPSRLD(Imm(16), x, r.up)
	VPANDD(r.one, r.up, r.up)
	VPADDD(r.half, r.up, r.up)
	VPADDD(r.up, x, x)
	VPSRLD(Imm(16), x, x)
	VPMOVDW(x, to)
}

// repeatHalf is repeat with some pointers to bf16 numbers.
func repeatHalf(n reg.Register, floats, halves []reg.Register, body func()) {
	Label("loop")
	body()
	for _, p := range floats {
		ADDQ(Imm(uint64(bytes)), p)
	}
	for _, p := range halves {
		ADDQ(Imm(uint64(bytes/2)), p)
	}
	DECQ(n)
	JNE(LabelRef("loop"))
}

func expSumHalf() {
	n := begin("expSumHalf", "dst *uint16, src *float32, factor, minus float32, c *float32, sums *float32", "dst = bf16(e^(factor*src+minus)) and the lanes' sums before it is rounded, and after")
	dst, src := pointer("dst"), pointer("src")
	factor, minus := broadcast("factor"), broadcast("minus")
	e, r := newExponential(), newRounder()
	sum, rounded, x := zero(), zero(), vec()
	repeatHalf(n, []reg.Register{src}, []reg.Register{dst}, func() {
		VMULPS(at(src), factor, x) // rounded, so that a row's largest gives e^0
		VADDPS(minus, x, x)
		y := e.of(x)
		VADDPS(y, sum, sum)
		r.store(y, at(dst))
		VPSLLD(Imm(16), y, y)
		VADDPS(y, rounded, rounded)
	})
	sums := pointer("sums")
	VMOVUPS(sum, at(sums))
	VMOVUPS(rounded, Mem{Base: sums, Disp: bytes})
	end()
}

func softmaxGradients() {
	n := begin("softmaxGradients", "p, ds *uint16, s, dp, lse, delta *float32, factor float32, c *float32", "p = bf16(e^(factor*s-lse)) and ds = bf16(factor*p*(dp-delta)) with p before it is rounded")
	p, ds := pointer("p"), pointer("ds")
	s, dp, lse, delta := pointer("s"), pointer("dp"), pointer("lse"), pointer("delta")
	factor := broadcast("factor")
	e, r := newExponential(), newRounder()
	x, d := vec(), vec()
	repeatHalf(n, []reg.Register{s, dp, lse, delta}, []reg.Register{p, ds}, func() {
		VMULPS(at(s), factor, x)
		VSUBPS(at(lse), x, x)
		y := e.of(x)
		VMOVUPS(at(dp), d)
		VSUBPS(at(delta), d, d)
		VMULPS(y, d, d)
		VMULPS(factor, d, d)
		r.store(y, at(p))
		r.store(d, at(ds))
	})
	end()
}
