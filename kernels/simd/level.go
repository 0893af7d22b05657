package simd

import "slices"

// level is the instruction set in use.
var level = levels()[len(levels())-1]

const (
	generic = "generic" // portable Go
	avx2    = "avx2"    // AVX2 and FMA, 8 floats at a time
	avx512  = "avx512"  // AVX-512 F and VL, 16 floats at a time
)

// Level is the instruction set in use: "generic", "avx2" or "avx512". Package
// gemm follows it.
func Level() string { return level }

// Levels lists what this machine can run, slowest first.
func Levels() []string { return levels() }

// Force switches to a level and panics if the machine cannot run it. It is for
// tests: nothing else may be running.
func Force(to string) {
	if !slices.Contains(levels(), to) {
		panic("simd: this machine cannot run level " + to)
	}
	level = to
}
