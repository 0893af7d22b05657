package simd

import "unsafe"

//go:generate go run ./asm -set avx2 -out vector_avx2_amd64.s -stubs vector_avx2_amd64.go -pkg simd
//go:generate go run ./asm -set avx512 -out vector_avx512_amd64.s -stubs vector_avx512_amd64.go -pkg simd

// The functions here cut their slices into whole vectors for the assembly and a
// tail. The tail of an element-wise function goes through the same assembly, on
// a copy, so that its elements get the same bits; that of a reduction is added
// to the first lanes.

// constants are the vectors that asm/exp.go reads, in its order.
type constants [14][16]float32

var expConstants = fill(expMax, expMin, log2e, roundAdd, ln2Hi, ln2Lo, 1, expP0, expP1, expP2, expP3, expP4, expP5, -1)

func fill(values ...float32) *constants {
	c := new(constants)
	for i, v := range values {
		for l := range c[i] {
			c[i][l] = v
		}
	}
	return c
}

// lanes is the number of floats in a vector at the level in use.
func lanes() int {
	if level == avx512 {
		return 16
	}
	return 8
}

// cut is the number of whole vectors in n floats, and of floats in them.
func cut(n int) (vectors, whole int) {
	w := lanes()
	return n / w, n / w * w
}

func axpy(a float32, x, y []float32) {
	n, whole := cut(len(x))
	if n > 0 {
		axpyVectors(n, a, &x[0], &y[0])
	}
	if whole < len(x) {
		var s, t [16]float32
		copy(s[:], x[whole:])
		copy(t[:], y[whole:])
		axpyVectors(1, a, &s[0], &t[0])
		copy(y[whole:], t[:])
	}
}

func axpyVectors(n int, a float32, x, y *float32) {
	if level == avx512 {
		axpyZ(n, a, x, y)
	} else {
		axpyY(n, a, x, y)
	}
}

func scale(a float32, x []float32) {
	n, whole := cut(len(x))
	if n > 0 {
		if level == avx512 {
			scaleZ(n, a, &x[0])
		} else {
			scaleY(n, a, &x[0])
		}
	}
	scaleGeneric(a, x[whole:]) // a single rounding: the same bits
}

func add(dst, x, y []float32) {
	n, whole := cut(len(x))
	if n > 0 {
		if level == avx512 {
			addZ(n, &dst[0], &x[0], &y[0])
		} else {
			addY(n, &dst[0], &x[0], &y[0])
		}
	}
	addGeneric(dst[whole:], x[whole:], y[whole:])
}

func mul(dst, x, y []float32) {
	n, whole := cut(len(x))
	if n > 0 {
		if level == avx512 {
			mulZ(n, &dst[0], &x[0], &y[0])
		} else {
			mulY(n, &dst[0], &x[0], &y[0])
		}
	}
	mulGeneric(dst[whole:], x[whole:], y[whole:])
}

func rotate(sign float32, x, y, cos, sin []float32) {
	n, whole := cut(len(x))
	if n > 0 {
		if level == avx512 {
			rotateZ(n, sign, &x[0], &y[0], &cos[0], &sin[0])
		} else {
			rotateY(n, sign, &x[0], &y[0], &cos[0], &sin[0])
		}
	}
	rotateGeneric(sign, x[whole:], y[whole:], cos[whole:], sin[whole:])
}

func dot(x, y []float32) float32 {
	n, whole := cut(len(x))
	var s [16]float32
	if n > 0 {
		if level == avx512 {
			dotZ(n, &x[0], &y[0], &s[0])
		} else {
			dotY(n, &x[0], &y[0], &s[0])
		}
	}
	for i, v := range x[whole:] {
		s[i] += v * y[whole+i]
	}
	return total(&s)
}

func sumSquares(x []float32) float64 {
	n, whole := cut(len(x))
	var s [8]float64
	if n > 0 {
		if level == avx512 {
			sumSquaresZ(n, &x[0], &s[0])
		} else {
			sumSquaresY(n, &x[0], &s[0])
		}
	}
	for i, v := range x[whole:] {
		s[i&7] += float64(v) * float64(v)
	}
	for w := 4; w > 0; w /= 2 {
		for i := range w {
			s[i] += s[i+w]
		}
	}
	return s[0]
}

func largest(x []float32) float32 {
	n, whole := cut(len(x))
	m := maxGeneric(x[whole:])
	if n > 0 {
		var s [16]float32
		for i := range s {
			s[i] = m
		}
		if level == avx512 {
			maxZ(n, &x[0], &s[0])
		} else {
			maxY(n, &x[0], &s[0])
		}
		m = maxGeneric(s[:])
	}
	return m
}

func expSum(dst, src []float32, max float32) float32 {
	n, whole := cut(len(src))
	var s [16]float32
	if n > 0 {
		expSumVectors(n, &dst[0], &src[0], max, &s)
	}
	if whole < len(src) {
		var t, u [16]float32
		k := copy(t[:], src[whole:])
		expSumVectors(1, &t[0], &t[0], max, &u)
		copy(dst[whole:], t[:])
		for i, e := range t[:k] {
			s[i] += e
		}
	}
	return total(&s)
}

func expSumVectors(n int, dst, src *float32, max float32, s *[16]float32) {
	if level == avx512 {
		expSumZ(n, dst, src, max, &expConstants[0][0], &s[0])
	} else {
		expSumY(n, dst, src, max, &expConstants[0][0], &s[0])
	}
}

func exp(dst, src []float32) {
	n, whole := cut(len(src))
	if n > 0 {
		expVectors(n, &dst[0], &src[0])
	}
	if whole < len(src) {
		var t [16]float32
		copy(t[:], src[whole:])
		expVectors(1, &t[0], &t[0])
		copy(dst[whole:], t[:])
	}
}

func expVectors(n int, dst, src *float32) {
	if level == avx512 {
		expZ(n, dst, src, &expConstants[0][0])
	} else {
		expY(n, dst, src, &expConstants[0][0])
	}
}

func sigmoid(dst, x []float32) {
	n, whole := cut(len(x))
	if n > 0 {
		sigmoidVectors(n, &dst[0], &x[0])
	}
	if whole < len(x) {
		var t [16]float32
		copy(t[:], x[whole:])
		sigmoidVectors(1, &t[0], &t[0])
		copy(dst[whole:], t[:])
	}
}

func sigmoidVectors(n int, dst, x *float32) {
	if level == avx512 {
		sigmoidZ(n, dst, x, &expConstants[0][0])
	} else {
		sigmoidY(n, dst, x, &expConstants[0][0])
	}
}

func silu(dst, x []float32) {
	n, whole := cut(len(x))
	if n > 0 {
		siluVectors(n, &dst[0], &x[0])
	}
	if whole < len(x) {
		var t [16]float32
		copy(t[:], x[whole:])
		siluVectors(1, &t[0], &t[0])
		copy(dst[whole:], t[:])
	}
}

func siluVectors(n int, dst, x *float32) {
	if level == avx512 {
		siluZ(n, dst, x, &expConstants[0][0])
	} else {
		siluY(n, dst, x, &expConstants[0][0])
	}
}

func siluGradients(dgate, dup, dout, gate, up []float32) {
	n, whole := cut(len(gate))
	if n > 0 {
		siluGradientVectors(n, &dgate[0], &dup[0], &dout[0], &gate[0], &up[0])
	}
	if whole < len(gate) {
		var d, g, u [16]float32
		copy(d[:], dout[whole:])
		copy(g[:], gate[whole:])
		copy(u[:], up[whole:])
		siluGradientVectors(1, &g[0], &u[0], &d[0], &g[0], &u[0])
		copy(dgate[whole:], g[:])
		copy(dup[whole:], u[:])
	}
}

func siluGradientVectors(n int, dgate, dup, dout, gate, up *float32) {
	if level == avx512 {
		siluGradientsZ(n, dgate, dup, dout, gate, up, &expConstants[0][0])
	} else {
		siluGradientsY(n, dgate, dup, dout, gate, up, &expConstants[0][0])
	}
}

// expSumHalf takes AVX-512.
func expSumHalf[B ~uint16](dst []B, src []float32, factor, minus float32) (sum, rounded float32) {
	n, whole := cut(len(src))
	var s [2][16]float32
	if n > 0 {
		expSumHalfZ(n, (*uint16)(unsafe.Pointer(&dst[0])), &src[0], factor, minus, &expConstants[0][0], &s[0][0])
	}
	if whole < len(src) {
		var t [16]float32
		var u [2][16]float32
		var half [16]uint16
		copy(t[:], src[whole:])
		expSumHalfZ(1, &half[0], &t[0], factor, minus, &expConstants[0][0], &u[0][0])
		for i := range len(src) - whole {
			dst[whole+i] = B(half[i])
			s[0][i] += u[0][i]
			s[1][i] += u[1][i]
		}
	}
	return total(&s[0]), total(&s[1])
}

// softmaxGradients takes AVX-512.
func softmaxGradients[B ~uint16](p, ds []B, s, dp, lse, delta []float32, factor float32) {
	n, whole := cut(len(s))
	if n > 0 {
		softmaxGradientsZ(n, (*uint16)(unsafe.Pointer(&p[0])), (*uint16)(unsafe.Pointer(&ds[0])), &s[0], &dp[0], &lse[0], &delta[0], factor, &expConstants[0][0])
	}
	if whole < len(s) {
		var x [4][16]float32
		var half [2][16]uint16
		for i, from := range [4][]float32{s, dp, lse, delta} {
			copy(x[i][:], from[whole:])
		}
		softmaxGradientsZ(1, &half[0][0], &half[1][0], &x[0][0], &x[1][0], &x[2][0], &x[3][0], factor, &expConstants[0][0])
		for i := range len(s) - whole {
			p[whole+i], ds[whole+i] = B(half[0][i]), B(half[1][i])
		}
	}
}

func narrow(n int, dst *uint16, src *float32) { narrowY(n, dst, src) }
func widen(n int, dst *float32, src *uint16)  { widenY(n, dst, src) }
