package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// rows is the order of type constants in package simd: one 64-byte row each.
var rows = []string{"expMax", "expMin", "log2e", "round", "ln2Hi", "ln2Lo", "one", "p0", "p1", "p2", "p3", "p4", "p5", "minusOne"}

// exponential is e^x in registers; the maths is with exp32 in generic.go. The
// constants used most stay in registers, the polynomial's are read.
type exponential struct {
	c                                   reg.Register
	max, min, log2e, round, hi, lo, one reg.VecVirtual
}

func newExponential() *exponential {
	e := &exponential{c: pointer("c")}
	for i, r := range []*reg.VecVirtual{&e.max, &e.min, &e.log2e, &e.round, &e.hi, &e.lo, &e.one} {
		*r = vec()
		VMOVUPS(e.row(rows[i]), *r)
	}
	return e
}

// row is where a constant lies.
func (e *exponential) row(name string) Mem {
	for i, r := range rows {
		if r == name {
			return Mem{Base: e.c, Disp: 64 * i}
		}
	}
	panic("no constant " + name)
}

// of computes e^x; x is destroyed. NaN stays NaN: VMINPS and VMAXPS return their
// second operand (the first as written here) where either is NaN.
func (e *exponential) of(x reg.VecVirtual) reg.VecVirtual {
	t, p, q := vec(), vec(), vec()
	VMINPS(x, e.max, x)
	VMAXPS(x, e.min, x)
	VMOVAPS(e.round, t)
	VFMADD231PS(e.log2e, x, t)
	VSUBPS(e.round, t, q)
	VFNMADD231PS(e.hi, q, x)
	VFNMADD231PS(e.lo, q, x)
	VMOVUPS(e.row("p0"), p)
	for _, c := range []string{"p1", "p2", "p3", "p4", "p5"} {
		VFMADD213PS(e.row(c), x, p)
	}
	VADDPS(e.one, x, q)
	VMULPS(x, x, x)
	VFMADD213PS(q, x, p)
	// n = bits(t) - bits(round) is split in two factors 2^h and 2^(n-h).
	VPSUBD(e.round, t, t)
	VPSRAD(Imm(1), t, q)
	VPSUBD(q, t, t)
	for _, n := range []reg.VecVirtual{q, t} {
		VPSLLD(Imm(23), n, n)
		VPADDD(e.one, n, n)
		VMULPS(n, p, p)
	}
	return p
}
