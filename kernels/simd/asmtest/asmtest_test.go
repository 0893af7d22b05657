package asmtest

import (
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
)

// fma32 against arbitrary precision, with exponents that make the sum cancel,
// round at the last bit and become denormal.
func TestFMARoundsOnce(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := func(exponents int) float32 {
		return float32(math.Ldexp(float64(r.IntN(1<<24)-1<<23), r.IntN(exponents)-exponents/2))
	}
	for i := range 200_000 {
		x, y, z := random(30), random(30), random(120)
		if i%3 == 0 {
			x, y, z = random(150), random(150), random(280)
		}
		sum := new(big.Float).SetPrec(1000).SetFloat64(float64(x))
		sum.Mul(sum, new(big.Float).SetFloat64(float64(y)))
		sum.Add(sum, new(big.Float).SetFloat64(float64(z)))
		want, _ := sum.Float32()
		if got := fma32(x, y, z); got != want {
			t.Fatalf("fma32(%v, %v, %v) = %v, want %v", x, y, z, got, want)
		}
	}
}

const sample = `
#include "textflag.h"

// func double(n int, x *float32)
TEXT ·double(SB), NOSPLIT, $0-16
	MOVQ n+0(FP), AX
	MOVQ x+8(FP), CX

loop:
	VMOVUPS (CX), Y0
	VADDPS  Y0, Y0, Y0
	VMOVUPS Y0, (CX)
	ADDQ    $0x20, CX
	DECQ    AX
	JNE     loop
	VZEROUPPER
	RET
`

func TestCallStaysInsideItsOperands(t *testing.T) {
	p, err := Parse(sample)
	if err != nil {
		t.Fatal(err)
	}
	x := make([]float32, 24)
	for i := range x {
		x[i] = float32(i)
	}
	if err := p["double"].Call([][]float32{x[:16]}, 2, &x[0]); err != nil {
		t.Fatal(err)
	}
	if x[15] != 30 || x[16] != 16 {
		t.Errorf("x[15], x[16] = %v, %v, want 30, 16", x[15], x[16])
	}
	err = p["double"].Call([][]float32{x[:23]}, 3, &x[0])
	if err == nil || !strings.Contains(err.Error(), "outside the operands") {
		t.Errorf("a vector over the end of the slice: %v", err)
	}
}

func TestDirtyUpperHalvesAreFound(t *testing.T) {
	p, err := Parse(strings.Replace(sample, "\tVZEROUPPER\n", "", 1))
	if err != nil {
		t.Fatal(err)
	}
	x := []float32{1, 2, 3, 4, 5, 6, 7, 8}
	if err := p["double"].Call(nil, 1, &x[0]); err == nil {
		t.Error("a return without VZEROUPPER went unnoticed")
	}
}

func TestUnknownTextIsRefused(t *testing.T) {
	for _, line := range []string{"VFROB Y0, Y1", "JNE nowhere", "MOVQ n+x(FP), AX"} {
		if _, err := Parse("TEXT ·f(SB), NOSPLIT, $0\n\t" + line); err == nil {
			t.Errorf("%q was accepted", line)
		}
	}
}
