package simd

import "slices"

// unit is the part of the processor that multiplies bf16.
var unit = newest(units())

func newest(u []string) string {
	if len(u) == 0 {
		return ""
	}
	return u[len(u)-1]
}

// Unit is the part of the processor that multiplies bf16: "amx", "avx512_bf16", or "" where
// there is none and bf16 is widened to float32. Below level avx512 there is none.
func Unit() string {
	if level != avx512 {
		return ""
	}
	return unit
}

// Units lists what this machine has, slowest first; it may be empty.
func Units() []string { return units() }

// ForceUnit switches to a unit, or with "" to none, and panics if the machine has no such
// one. It is for tests: nothing else may be running.
func ForceUnit(name string) {
	if name != "" && !slices.Contains(Units(), name) {
		panic("simd: this machine has no unit " + name)
	}
	unit = name
}
