package simd

// Level is the instruction set in use: "generic", "avx2" or "avx512".
func Level() string { return "generic" }

// Levels lists what this machine can run, slowest first.
func Levels() []string { return []string{"generic"} }

// Force switches to a level and panics if the machine cannot run it. It is for
// tests: nothing else may be running.
func Force(level string) {
	if level != "generic" {
		panic("simd: level " + level + " is not one of this machine's")
	}
}
