package adamw

import "dataflex.dev/dataflex/kernels/simd"

//go:generate go run ./asm -out step_avx2_amd64.s -stubs step_avx2_amd64.go -pkg adamw

const lanes = 8

// stepBlock passes whole vectors to the assembly, and the rest in a copy, so that an
// element's bits do not depend on its index.
func stepBlock(p, g, m, v []float32, f factors) {
	if simd.Level() == "generic" {
		stepPlain(p, g, m, v, f)
		return
	}
	whole := len(p) / lanes * lanes
	if whole > 0 {
		stepY(whole/lanes, &f.gradScale, &p[0], &g[0], &m[0], &v[0])
	}
	if whole == len(p) {
		return
	}
	var tp, tg, tm, tv [lanes]float32
	copy(tp[:], p[whole:])
	copy(tg[:], g[whole:])
	copy(tm[:], m[whole:])
	copy(tv[:], v[whole:])
	stepY(1, &f.gradScale, &tp[0], &tg[0], &tm[0], &tv[0])
	copy(p[whole:], tp[:])
	copy(m[whole:], tm[:])
	copy(v[whole:], tv[:])
}
