package simd

import "slices"

// level is the instruction set in use.
var level = slices.Max(levels())

type set int

const (
	generic set = iota // portable Go
	avx2               // AVX2 and FMA, 8 floats at a time
	avx512             // AVX-512 F, 16 floats at a time
)

func (s set) String() string { return [...]string{"generic", "avx2", "avx512"}[s] }

// Level is the instruction set in use: "generic", "avx2" or "avx512". Package
// gemm follows it.
func Level() string { return level.String() }

// Levels lists what this machine can run, slowest first.
func Levels() []string {
	var names []string
	for _, l := range levels() {
		names = append(names, l.String())
	}
	return names
}

// Force switches to a level and panics if the machine cannot run it. It is for
// tests: nothing else may be running.
func Force(name string) {
	i := slices.Index(Levels(), name)
	if i < 0 {
		panic("simd: this machine cannot run level " + name)
	}
	level = levels()[i]
}
