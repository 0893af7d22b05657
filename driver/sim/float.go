package sim

import "math"

// Scalar floating point: PTX's roundings and small formats.

func f32(u uint32) float32 { return math.Float32frombits(u) }
func u32(f float32) uint32 { return math.Float32bits(f) }
func f64(u uint64) float64 { return math.Float64frombits(u) }
func u64(f float64) uint64 { return math.Float64bits(f) }

// canonicalNaN is the NaN that NVIDIA's instructions return.
const canonicalNaN = 0x7fffffff

// number is the bits of a result.
func number(f float32) uint32 {
	if f != f {
		return canonicalNaN
	}
	return u32(f)
}

// flush is .ftz: subnormals become zeros of their sign.
func flush(u uint32) uint32 {
	if u&0x7f800000 == 0 {
		return u & 0x80000000
	}
	return u
}

func isNaN32(u uint32) bool { return u&0x7fffffff > 0x7f800000 }

// saturate is .sat: to [0, 1], NaN to 0.
func saturate(u uint32) uint32 {
	f := f32(u)
	switch {
	case !(f > 0):
		return 0
	case f > 1:
		return u32(1)
	}
	return u
}

// fma32 is a·b + c rounded once. The product is exact in float64; the sum's rounding to
// float64 only changes the result of the second rounding if it is a tie between two float32
// or subnormal, and is then corrected to round to odd.
func fma32(a, b, c float32) float32 {
	p := float64(a) * float64(b)
	s := p + float64(c)
	if needsOdd(s) {
		return float32(toOdd(p, float64(c), s))
	}
	return float32(s)
}

func needsOdd(s float64) bool {
	u := math.Float64bits(s)
	return u&0x1fffffff == 0x10000000 || u<<1-1 < 0x3810000000000000<<1-1
}

// toOdd corrects s = p + c, rounded to nearest, to round to odd. Rounding that to at most 51
// bits gives the same as rounding the exact sum.
func toOdd(p, c, s float64) float64 {
	if math.IsInf(s, 0) || math.IsNaN(s) {
		return s
	}
	bb := s - p
	e := (p - (s - bb)) + (c - bb)
	u := math.Float64bits(s)
	if e == 0 || u&1 != 0 {
		return s
	}
	if (e > 0) == (s > 0) {
		u++
	} else {
		u--
	}
	return math.Float64frombits(u)
}

// max32 and min32 return the other operand if one is NaN, and order -0 below +0.
func max32(a, b uint32) uint32 {
	x, y := f32(a), f32(b)
	switch {
	case x != x && y != y:
		return canonicalNaN
	case x != x:
		return b
	case y != y:
		return a
	case x > y:
		return a
	case y > x:
		return b
	}
	return a & b // equal, or zeros: +0 wins
}

func min32(a, b uint32) uint32 {
	x, y := f32(a), f32(b)
	switch {
	case x != x && y != y:
		return canonicalNaN
	case x != x:
		return b
	case y != y:
		return a
	case x < y:
		return a
	case y < x:
		return b
	}
	return a | b
}

// exp2Table is 2^(i/64).
var exp2Table = func() (t [64]float64) {
	for i := range t {
		t[i] = math.Exp2(float64(i) / 64)
	}
	return t
}()

// exp2Shift rounds a number it is added to: the integer is in the low bits of the sum.
const exp2Shift = 0x1.8p52

// exp2 is 2^x to 1e-10: ex2.approx promises 2^-22.5.
func exp2(x float32) float32 {
	switch {
	case x != x:
		return f32(canonicalNaN)
	case x >= 128:
		return float32(math.Inf(1))
	case x < -151:
		return 0
	}
	f := float64(x) * 64
	k := f + exp2Shift
	n := int64(int32(math.Float64bits(k)))
	t := (f - (k - exp2Shift)) * (math.Ln2 / 64)
	p := exp2Table[n&63] * (1 + t*(1+t*(1./2+t*(1./6))))
	return float32(p * math.Float64frombits(uint64(1023+n>>6)<<52))
}

// format is a small binary floating-point format.
type format struct {
	exp, man int
	bias     int
	finite   bool // no infinities: e4m3, whose largest is 448
}

var (
	formatF16  = format{5, 10, 15, false}
	formatBF16 = format{8, 7, 127, false}
	formatE4M3 = format{4, 3, 7, true}
	formatE5M2 = format{5, 2, 15, false}
	formatF32  = format{8, 23, 127, false}
)

// Rounding modes.
type rounding uint8

const (
	nearestEven rounding = iota
	nearestAway
	towardZero
	down
	up
)

var roundingNames = map[string]rounding{"rn": nearestEven, "rna": nearestAway, "rz": towardZero, "rm": down, "rp": up}

func (f format) nan() uint32 {
	switch f {
	case formatE4M3:
		return 0x7f
	case formatE5M2:
		return 0x7f
	}
	return 1<<(f.exp+f.man) - 1 // 0x7fff
}

func (f format) largest() float64 {
	if f.finite {
		return 448
	}
	return math.Ldexp(2-math.Ldexp(1, -f.man), 1<<f.exp-2-f.bias)
}

// encode rounds x to the format; sat clamps values that are too large to the largest.
func (f format) encode(x float64, r rounding, sat bool) uint32 {
	if math.IsNaN(x) {
		return f.nan()
	}
	sign := uint32(0)
	if math.Signbit(x) {
		sign, x = 1<<(f.exp+f.man), -x
		switch r {
		case down:
			r = up
		case up:
			r = down
		}
	}
	if x == 0 {
		return sign
	}
	if !math.IsInf(x, 0) {
		_, e := math.Frexp(x) // x in [2^(e-1), 2^e)
		e = max(e-1, 1-f.bias)
		unit := math.Ldexp(1, e-f.man)
		x = roundInt(x/unit, r) * unit
	}
	if big := f.largest(); x > big {
		switch {
		case sat || r == towardZero || r == down:
			x = big
		case f.finite:
			return sign | f.nan()
		default:
			return sign | (1<<f.exp-1)<<f.man
		}
	}
	if x == 0 {
		return sign
	}
	_, e := math.Frexp(x)
	e--
	if e < 1-f.bias { // subnormal
		return sign | uint32(math.Ldexp(x, f.bias-1+f.man))
	}
	m := uint32(math.Ldexp(x, f.man-e)) & (1<<f.man - 1)
	return sign | uint32(e+f.bias)<<f.man | m
}

func roundInt(x float64, r rounding) float64 {
	switch r {
	case nearestEven:
		return math.RoundToEven(x)
	case nearestAway:
		return math.Round(x)
	case down:
		return math.Floor(x)
	case up:
		return math.Ceil(x)
	}
	return math.Trunc(x)
}

// decode is the value of the format's bits, exact in float32.
func (f format) decode(u uint32) float32 {
	e := u >> f.man & (1<<f.exp - 1)
	m := u & (1<<f.man - 1)
	v := 0.0
	switch {
	case f.finite && e == 1<<f.exp-1 && m == 1<<f.man-1, !f.finite && e == 1<<f.exp-1 && m != 0:
		return f32(canonicalNaN)
	case !f.finite && e == 1<<f.exp-1:
		v = math.Inf(1)
	case e == 0:
		v = math.Ldexp(float64(m), 1-f.bias-f.man)
	default:
		v = math.Ldexp(float64(m|1<<f.man), int(e)-f.bias-f.man)
	}
	if u>>(f.exp+f.man)&1 != 0 {
		v = -v
	}
	return float32(v)
}

// bf16 rounds a float32 to nearest even.
func bf16(u uint32) uint32 {
	if isNaN32(u) {
		return 0x7fff
	}
	return (u + 0x7fff + u>>16&1) >> 16
}

// half16 is f16 to float32, by table.
var half16 = func() *[1 << 16]float32 {
	t := new([1 << 16]float32)
	for i := range t {
		t[i] = formatF16.decode(uint32(i))
	}
	return t
}()
