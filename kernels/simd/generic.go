package simd

import "math"

// The portable versions. float32(…) around a product keeps compilers that fuse
// multiply and add from doing so: the bits are the same on every machine.

func axpyGeneric(a float32, x, y []float32) {
	y = y[:len(x)]
	for i, v := range x {
		y[i] += float32(a * v)
	}
}

func dotGeneric(x, y []float32) float32 {
	var s [8]float32
	i := 0
	for ; i+8 <= len(x); i += 8 {
		p, q := (*[8]float32)(x[i:]), (*[8]float32)(y[i:])
		for l := range s {
			s[l] += float32(p[l] * q[l])
		}
	}
	for l := 0; i < len(x); i, l = i+1, l+1 {
		s[l] += float32(x[i] * y[i])
	}
	return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
}

func scaleGeneric(a float32, x []float32) {
	for i := range x {
		x[i] *= a
	}
}

func addGeneric(dst, x, y []float32) {
	dst, y = dst[:len(x)], y[:len(x)]
	for i, v := range x {
		dst[i] = v + y[i]
	}
}

func mulGeneric(dst, x, y []float32) {
	dst, y = dst[:len(x)], y[:len(x)]
	for i, v := range x {
		dst[i] = v * y[i]
	}
}

func rotateGeneric(sign float32, x, y, cos, sin []float32) {
	y, cos, sin = y[:len(x)], cos[:len(x)], sin[:len(x)]
	for i, u := range x {
		v, s := y[i], sign*sin[i]
		x[i] = float32(u*cos[i]) - float32(v*s)
		y[i] = float32(v*cos[i]) + float32(u*s)
	}
}

func sumSquaresGeneric(x []float32) float64 {
	var s [4]float64
	i := 0
	for ; i+4 <= len(x); i += 4 {
		p := (*[4]float32)(x[i:])
		for l := range s {
			s[l] += float64(p[l]) * float64(p[l])
		}
	}
	for l := 0; i < len(x); i, l = i+1, l+1 {
		s[l] += float64(x[i]) * float64(x[i])
	}
	return (s[0] + s[2]) + (s[1] + s[3])
}

func maxGeneric(x []float32) float32 {
	m := float32(math.Inf(-1))
	for _, v := range x {
		if v > m {
			m = v
		}
	}
	return m
}

// Constants of e^x = 2^n * e^r, n = round(x/ln 2), |r| <= ln(2)/2. ln 2 is split
// in two so that n*ln2Hi is exact; the polynomial is (e^r - 1 - r) / r², minimax
// (Cephes expf). Arguments are clamped to where the result is 0 or +Inf anyway.
const (
	expMax   = 89
	expMin   = -104
	log2e    = 1.44269504088896341
	ln2Hi    = 0.693359375
	ln2Lo    = -2.12194440e-4
	expP0    = 1.9875691500e-4
	expP1    = 1.3981999507e-3
	expP2    = 8.3334519073e-3
	expP3    = 4.1665795894e-2
	expP4    = 1.6666665459e-1
	expP5    = 5.0000001201e-1
	roundAdd = 12582912 // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
)

func exp32(x float32) float32 {
	if x != x {
		return x
	}
	x = min(max(x, expMin), expMax)
	t := float32(x*log2e) + roundAdd
	k := t - roundAdd
	n := int32(k)
	r := x - float32(k*ln2Hi)
	r -= float32(k * ln2Lo)
	p := float32(expP0)
	p = float32(p*r) + expP1
	p = float32(p*r) + expP2
	p = float32(p*r) + expP3
	p = float32(p*r) + expP4
	p = float32(p*r) + expP5
	p = float32(p*float32(r*r)) + r + 1
	// Two factors, because 2^n itself leaves the normal range at both ends.
	h := n >> 1
	return float32(p*pow2(h)) * pow2(n-h)
}

func pow2(n int32) float32 { return math.Float32frombits(uint32(n+127) << 23) }

func expGeneric(dst, src []float32) {
	dst = dst[:len(src)]
	for i, v := range src {
		dst[i] = exp32(v)
	}
}

func expSumGeneric(dst, src []float32, max float32) float32 {
	dst = dst[:len(src)]
	var s [8]float32
	for i, v := range src {
		e := exp32(v - max)
		dst[i] = e
		s[i&7] += e
	}
	return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
}

func expSumHalfGeneric[B ~uint16](dst []B, src []float32, factor, minus float32) (sum, rounded float32) {
	var s, r [16]float32
	for i, v := range src {
		e := exp32(float32(factor*v) + minus)
		dst[i] = B(narrowed(e))
		s[i&15] += e
		r[i&15] += math.Float32frombits(uint32(dst[i]) << 16)
	}
	return total(&s), total(&r)
}

// total adds the lanes as a tree.
func total(s *[16]float32) float32 {
	for w := 8; w > 0; w /= 2 {
		for i := range w {
			s[i] += s[i+w]
		}
	}
	return s[0]
}

func softmaxGradientsGeneric[B ~uint16](p, ds []B, s, dp, lse, delta []float32, factor float32) {
	for i, v := range s {
		e := exp32(float32(factor*v) - lse[i])
		p[i], ds[i] = B(narrowed(e)), B(narrowed(e*(dp[i]-delta[i])*factor))
	}
}

func sigmoidGeneric(dst, x []float32) {
	dst = dst[:len(x)]
	for i, v := range x {
		dst[i] = 1 / (1 + exp32(-v))
	}
}

func siluGeneric(dst, x []float32) {
	dst = dst[:len(x)]
	for i, v := range x {
		dst[i] = v / (1 + exp32(-v))
	}
}

func siluGradientsGeneric(dgate, dup, dout, gate, up []float32) {
	n := len(gate)
	dgate, dup, dout, up = dgate[:n], dup[:n], dout[:n], up[:n]
	for i, g := range gate {
		s := 1 / (1 + exp32(-g))
		ds := float32(dout[i] * s)
		dgate[i], dup[i] = float32(ds*up[i])*(1+float32(g*(1-s))), float32(ds*g)
	}
}

// narrowed is x in bf16.
func narrowed(x float32) uint16 {
	u := math.Float32bits(x)
	if u&^(1<<31) > 0x7f800000 {
		return 0x7fff
	}
	return uint16((u + 0x7fff + u>>16&1) >> 16)
}
