package sim

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// floats are operands at every edge: zeros, subnormals, ties, infinities, NaN.
var floats = []float32{
	0, float32(math.Copysign(0, -1)), 1, -1, 0.5, 1.5, 2.5, -2.5, 3, 1e-3, -7.25, 1e10, -1e10, 3.4e38, 1e-38, -1e-40,
	1e-45, float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()), 0.1, 0.3333333, 65504, 65520, 100000, 255.5, 1.00390625, 1.0000001, 16777217, 448, 500, 0.0009765625,
}

func bitsOf(x []float32) []uint32 {
	w := make([]uint32, len(x))
	for i := range x {
		w[i] = math.Float32bits(x[i])
	}
	return w
}

// exactFma is a·b + c rounded once to float32 by math/big.
func exactFma(a, b, c float32) float32 {
	x := new(big.Float).SetPrec(500).Mul(new(big.Float).SetPrec(500).SetFloat64(float64(a)), new(big.Float).SetPrec(500).SetFloat64(float64(b)))
	x.Add(x, new(big.Float).SetPrec(500).SetFloat64(float64(c)))
	f, _ := x.Float32()
	return f
}

func TestFmaIsRoundedOnce(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 200000 {
		a := math.Float32frombits(r.Uint32()&0x007fffff | uint32(100+r.IntN(56))<<23)
		b := math.Float32frombits(r.Uint32()&0x007ff800 | uint32(100+r.IntN(56))<<23)
		c := math.Float32frombits(r.Uint32()&0x807fff00 | uint32(80+r.IntN(96))<<23)
		if r.IntN(4) == 0 { // in the range of subnormals
			a, b = a*0x1p-60, b*0x1p-70
			c *= 0x1p-110
		}
		if got, want := fma32(a, b, c), exactFma(a, b, c); got != want {
			t.Fatalf("fma(%x, %x, %x) = %x, want %x", a, b, c, got, want)
		}
	}
}

func TestFloatInstructions(t *testing.T) {
	type fn = func(a, b, c float32) float32
	flushTo := func(x float32) float32 {
		if math.Abs(float64(x)) < 0x1p-126 {
			return float32(math.Copysign(0, float64(x)))
		}
		return x
	}
	f := math.Float32frombits
	cases := []struct {
		code string
		want fn
		rel  float64 // allowed relative error
	}{
		{"add.rn.f32 %f0, %f1, %f2;", func(a, b, _ float32) float32 { return a + b }, 0},
		{"sub.f32 %f0, %f1, %f2;", func(a, b, _ float32) float32 { return a - b }, 0},
		{"mul.f32 %f0, %f1, %f2;", func(a, b, _ float32) float32 { return a * b }, 0},
		{"mul.ftz.f32 %f0, %f1, %f2;", func(a, b, _ float32) float32 { return flushTo(flushTo(a) * flushTo(b)) }, 0},
		{"add.sat.f32 %f0, %f1, %f2;", func(a, b, _ float32) float32 {
			if s := a + b; s == s {
				return min(max(s, 0), 1)
			}
			return 0
		}, 0},
		{"div.rn.f32 %f0, %f1, %f2;", func(a, b, _ float32) float32 { return a / b }, 0},
		{"fma.rn.f32 %f0, %f1, %f2, %f3;", func(a, b, c float32) float32 { return float32(math.FMA(float64(a), float64(b), float64(c))) }, 1.3e-7},
		{"max.f32 %f0, %f1, %f2;", func(a, b, _ float32) float32 {
			if a != a {
				return b
			}
			if b != b {
				return a
			}
			return max(a, b)
		}, 0},
		{"min.f32 %f0, %f1, %f2;", func(a, b, _ float32) float32 {
			if a != a {
				return b
			}
			if b != b {
				return a
			}
			return min(a, b)
		}, 0},
		{"max.NaN.f32 %f0, %f1, %f2;", func(a, b, _ float32) float32 { return max(a, b) }, 0},
		{"neg.f32 %f0, %f1;", func(a, _, _ float32) float32 { return -a }, 0},
		{"abs.f32 %f0, %f1;", func(a, _, _ float32) float32 { return float32(math.Abs(float64(a))) }, 0},
		{"sqrt.rn.f32 %f0, %f1;", func(a, _, _ float32) float32 { return float32(math.Sqrt(float64(a))) }, 0},
		{"rcp.rn.f32 %f0, %f1;", func(a, _, _ float32) float32 { return 1 / a }, 0},
		{"rsqrt.approx.f32 %f0, %f1;", func(a, _, _ float32) float32 { return float32(1 / math.Sqrt(float64(a))) }, 1e-7},
		{"ex2.approx.f32 %f0, %f1;", func(a, _, _ float32) float32 { return float32(math.Exp2(float64(a))) }, 1.3e-7},
		{"ex2.approx.ftz.f32 %f0, %f1;", func(a, _, _ float32) float32 { return flushTo(float32(math.Exp2(float64(a)))) }, 1.3e-7},
		{"lg2.approx.f32 %f0, %f1;", func(a, _, _ float32) float32 { return float32(math.Log2(float64(a))) }, 1e-7},
		{"tanh.approx.f32 %f0, %f1;", func(a, _, _ float32) float32 { return float32(math.Tanh(float64(a))) }, 1e-7},
		{"sin.approx.f32 %f0, %f1;", func(a, _, _ float32) float32 { return float32(math.Sin(float64(a))) }, 1e-7},
		{"cos.approx.ftz.f32 %f0, %f1;", func(a, _, _ float32) float32 { return float32(math.Cos(float64(flushTo(a)))) }, 1e-7},
		{"copysign.f32 %f0, %f1, %f2;", func(a, b, _ float32) float32 { return float32(math.Copysign(float64(b), float64(a))) }, 0},
		{"setp.lt.f32 %p1, %f1, %f2; selp.f32 %f0, 0f3F800000, 0f00000000, %p1;", func(a, b, _ float32) float32 {
			if a < b {
				return 1
			}
			return 0
		}, 0},
		{"setp.geu.f32 %p1, %f1, %f2; selp.f32 %f0, 0f3F800000, 0f00000000, %p1;", func(a, b, _ float32) float32 {
			if !(a < b) {
				return 1
			}
			return 0
		}, 0},
		{"cvt.f64.f32 %fd1, %f1; cvt.f64.f32 %fd2, %f2; cvt.f64.f32 %fd3, %f3; mul.rn.f64 %fd4, %fd1, %fd2; sub.f64 %fd4, %fd4, %fd3; cvt.rn.f32.f64 %f0, %fd4;", func(a, b, c float32) float32 {
			return float32(float64(float64(a)*float64(b)) - float64(c))
		}, 0},
		{"cvt.rni.f32.f32 %f0, %f1;", func(a, _, _ float32) float32 { return float32(math.RoundToEven(float64(a))) }, 0},
		{"cvt.rmi.f32.f32 %f0, %f1;", func(a, _, _ float32) float32 { return float32(math.Floor(float64(a))) }, 0},
		{"cvt.rna.tf32.f32 %r4, %f1; mov.b32 %f0, %r4;", func(a, _, _ float32) float32 { // ties away, 10 bits
			if math.IsInf(float64(a), 0) || a != a {
				return a
			}
			return f((math.Float32bits(a) + 0x1000) &^ 0x1fff)
		}, 0},
	}
	a, b, c := floats, make([]float32, 32), make([]float32, 32)
	for _, turn := range [][2]int{{0, 1}, {5, 9}, {19, 3}} {
		for i := range a {
			b[i], c[i] = a[(i+turn[0])%32], a[(i+turn[1])%32]
		}
		for _, k := range cases {
			got := run3(t, k.code+"mov.b32 %r0, %f0;", bitsOf(a), bitsOf(b), bitsOf(c))
			for i, u := range got {
				x, want := f(u), k.want(a[i], b[i], c[i])
				same := x == want && math.Signbit(float64(x)) == math.Signbit(float64(want)) || x != x && want != want
				if !same && !(math.Abs(float64(x)-float64(want)) <= k.rel*math.Abs(float64(want))+1e-45*k.rel*1e7) {
					t.Errorf("%s of %g, %g, %g: %g, want %g", k.code, a[i], b[i], c[i], x, want)
				}
			}
		}
	}
}

// nearest16 finds the nearest value of a small format by search over all finite values, ties
// to even bits: slow, and independent of encode.
func nearest16(x float64, decode func(uint32) float64, magnitudes int) uint32 {
	if x != x {
		return 0x7fff
	}
	neg := math.Signbit(x)
	x = math.Abs(x)
	lo, hi := 0, magnitudes // decode(lo) <= x
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; decode(uint32(mid)) <= x {
			lo = mid
		} else {
			hi = mid
		}
	}
	r := uint32(lo)
	if lo+1 <= magnitudes && !math.IsInf(x, 0) {
		below, above := x-decode(uint32(lo)), decode(uint32(lo+1))-x
		if math.IsInf(decode(uint32(lo+1)), 0) { // as if the next power existed
			above = 2*(decode(uint32(lo))-decode(uint32(lo-1))) - below - (decode(uint32(lo)) - decode(uint32(lo-1)))
		}
		if above < below || above == below && lo&1 == 1 {
			r++
		}
	} else if math.IsInf(x, 0) {
		r = uint32(magnitudes)
	}
	if neg {
		r |= 0x8000
	}
	return r
}

func TestConversionsToSmallFloats(t *testing.T) {
	f16 := func(u uint32) float64 {
		e, m := int(u>>10&31), float64(u&1023)
		switch {
		case e == 31:
			return math.Inf(1)
		case e == 0:
			return math.Ldexp(m, -24)
		}
		return math.Ldexp(1024+m, e-25)
	}
	bf := func(u uint32) float64 { return float64(math.Float32frombits(u << 16)) }
	r := rand.New(rand.NewPCG(1, 9))
	x := append([]float32(nil), floats...)
	for len(x) < 640 {
		x = append(x, float32(math.Ldexp(r.Float64()*2-1, r.IntN(60)-30)))
	}
	for at := 0; at < len(x); at += 32 {
		in := x[at : at+32]
		got := run3(t, "cvt.rn.f16.f32 %h1, %f1; cvt.u32.u16 %r0, %h1;", bitsOf(in), bitsOf(in), bitsOf(in))
		gotB := run3(t, "cvt.rn.bf16x2.f32 %r0, %f1, %f2;", bitsOf(in), bitsOf(in), bitsOf(in))
		back := run3(t, "cvt.rn.f16.f32 %h1, %f1; cvt.f32.f16 %f0, %h1; mov.b32 %r0, %f0;", bitsOf(in), bitsOf(in), bitsOf(in))
		for i, v := range in {
			if want := nearest16(float64(v), f16, 0x7c00); got[i] != want {
				t.Errorf("f16 of %g: %#x, want %#x", v, got[i], want)
			}
			want := nearest16(float64(v), bf, 0x7f80)
			if gotB[i] != want|want<<16 {
				t.Errorf("bf16x2 of %g: %#x, want %#x twice", v, gotB[i], want)
			}
			if h := f16(got[i] & 0x7fff); v == v && math.Abs(float64(math.Float32frombits(back[i]))) != h {
				t.Errorf("f16 of %g and back: %g, want %g", v, math.Float32frombits(back[i]), h)
			}
		}
	}
}

func TestFP8Conversions(t *testing.T) {
	// OCP 8-bit formats: largest 448 and 57344, least subnormals 2^-9 and 2^-16.
	for _, c := range []struct {
		x    float32
		e4m3 uint32
		e5m2 uint32
	}{
		{1, 0x38, 0x3c},
		{-1, 0xb8, 0xbc},
		{448, 0x7e, 0x5f},
		{1e6, 0x7e, 0x7b},
		{57344, 0x7e, 0x7b},
		{0, 0, 0},
		{0.001953125, 0x01, 0x18},
		{1.0625, 0x38, 0x3c},
		{1.1875, 0x3a, 0x3d},
		{0.0009765625, 0, 0x14},
		{-0.0625, 0x98, 0xac},
	} {
		in := make([]uint32, 32)
		for i := range in {
			in[i] = math.Float32bits(c.x)
		}
		got := run3(t, "cvt.rn.satfinite.e4m3x2.f32 %h1, %f1, %f2; cvt.rn.satfinite.e5m2x2.f32 %h2, %f1, %f2; mov.b32 %r0, {%h1, %h2};", in, in, in)[0]
		if want := c.e4m3 | c.e4m3<<8 | c.e5m2<<16 | c.e5m2<<24; got != want {
			t.Errorf("%g: %#x, want %#x", c.x, got, want)
		}
	}
}

func TestConversionsOfIntegersAndFloats(t *testing.T) {
	a := bitsOf(floats)
	clamp := func(x, lo, hi float64) float64 {
		if x != x {
			return 0
		}
		return min(max(x, lo), hi)
	}
	got := run3(t, "cvt.rzi.s32.f32 %r0, %f1;", a, a, a)
	gotU := run3(t, "cvt.rni.u32.f32 %r0, %f1;", a, a, a)
	got8 := run3(t, "cvt.rzi.s8.f32 %r0, %f1;", a, a, a)
	for i, x := range floats {
		if want := int32(clamp(math.Trunc(float64(x)), -1<<31, 1<<31-1)); int32(got[i]) != want {
			t.Errorf("s32 of %g: %d, want %d", x, int32(got[i]), want)
		}
		if want := uint32(clamp(math.RoundToEven(float64(x)), 0, 1<<32-1)); gotU[i] != want {
			t.Errorf("u32 of %g: %d, want %d", x, gotU[i], want)
		}
		if want := int32(clamp(math.Trunc(float64(x)), -128, 127)); int32(got8[i]) != want {
			t.Errorf("s8 of %g: %d, want %d", x, int32(got8[i]), want)
		}
	}
	s := run3(t, "cvt.rn.f32.s32 %f0, %r1; mov.b32 %r0, %f0;", words, words, words)
	u := run3(t, "cvt.rz.f32.u32 %f0, %r1; mov.b32 %r0, %f0;", words, words, words)
	for i, w := range words {
		if want := float32(int32(w)); math.Float32frombits(s[i]) != want {
			t.Errorf("f32 of %d: %g", int32(w), math.Float32frombits(s[i]))
		}
		z := math.Float32frombits(u[i])
		if float64(z) > float64(w) || float64(math.Nextafter32(z, float32(math.Inf(1)))) <= float64(w) {
			t.Errorf("f32.rz of %d: %g", w, z)
		}
	}
}

func TestPackedHalfArithmetic(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 3))
	a, b, c := make([]uint32, 32), make([]uint32, 32), make([]uint32, 32)
	for i := range a {
		for _, p := range []*uint32{&a[i], &b[i], &c[i]} {
			lo, hi := math.Float32bits(float32(r.NormFloat64())), math.Float32bits(float32(r.NormFloat64()))
			*p = lo>>16 | hi&0xffff0000
		}
	}
	value := func(u uint32) float64 { return float64(math.Float32frombits(u << 16)) }
	for _, k := range []struct {
		code string
		f    func(a, b, c float64) float64
	}{
		{"fma.rn.bf16x2 %r0, %r1, %r2, %r3;", func(a, b, c float64) float64 { return a*b + c }},
		{"add.rn.bf16x2 %r0, %r1, %r2;", func(a, b, _ float64) float64 { return a + b }},
		{"mul.rn.bf16x2 %r0, %r1, %r2;", func(a, b, _ float64) float64 { return a * b }},
		{"max.bf16x2 %r0, %r1, %r2;", func(a, b, _ float64) float64 { return max(a, b) }},
		{"neg.bf16x2 %r0, %r1;", func(a, _, _ float64) float64 { return -a }},
	} {
		got := run3(t, k.code, a, b, c)
		for i := range got {
			for h := 0; h < 32; h += 16 {
				want := nearest16(k.f(value(a[i]>>h&0xffff), value(b[i]>>h&0xffff), value(c[i]>>h&0xffff)),
					func(u uint32) float64 { return float64(math.Float32frombits(u << 16)) }, 0x7f80)
				if got[i]>>h&0xffff != want {
					t.Errorf("%s lane %d: %#x, want %#x", k.code, i, got[i]>>h&0xffff, want)
				}
			}
		}
	}
}
