package simd

import (
	"math"
	"math/rand/v2"
	"testing"
)

// forLevels runs f at every level of this machine.
func forLevels(t *testing.T, f func(t *testing.T)) {
	now := Level()
	defer Force(now)
	for _, l := range Levels() {
		Force(l)
		t.Run(l, f)
	}
}

func normal(r *rand.Rand, n int) []float32 {
	s := make([]float32, n)
	for i := range s {
		s[i] = float32(r.NormFloat64())
	}
	return s
}

var lengths = []int{0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 256, 1000, 1023}

func TestElementwise(t *testing.T) {
	forLevels(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		for _, n := range lengths {
			x, y, dst := normal(r, n), normal(r, n), make([]float32, n)
			const a = 1.7
			axpy, scaled := append([]float32(nil), y...), append([]float32(nil), x...)
			Axpy(a, x, axpy)
			Scale(a, scaled)
			for i := range x {
				near(t, "Axpy", axpy[i], float64(y[i])+float64(float32(a))*float64(x[i]), float64(a*x[i]))
				near(t, "Scale", scaled[i], float64(float32(a))*float64(x[i]), 0)
			}
			Add(dst, x, y)
			for i := range x {
				near(t, "Add", dst[i], float64(x[i])+float64(y[i]), 0)
			}
			Mul(dst, x, y)
			for i := range x {
				near(t, "Mul", dst[i], float64(x[i])*float64(y[i]), 0)
			}
		}
	})
}

// near allows one rounding of the result and of a product as large as scale.
func near(t *testing.T, what string, got float32, want, scale float64) {
	t.Helper()
	if math.Abs(float64(got)-want) > (math.Abs(want)+2*math.Abs(scale))*0x1p-24+0x1p-149 {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

func TestReductions(t *testing.T) {
	forLevels(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 4))
		for _, n := range lengths {
			x, y := normal(r, n), normal(r, n)
			var dot, dotSize, squares float64
			var plain float32
			largest := math.Inf(-1)
			for i := range x {
				dot += float64(x[i]) * float64(y[i])
				dotSize += math.Abs(float64(x[i]) * float64(y[i]))
				plain += x[i] * y[i]
				squares += float64(x[i]) * float64(x[i])
				largest = max(largest, float64(x[i]))
			}
			if got := float64(Dot(x, y)); math.Abs(got-dot) > 2*math.Abs(float64(plain)-dot)+dotSize*0x1p-23 {
				t.Errorf("Dot of %d: %v, want %v", n, got, dot)
			}
			if got := SumSquares(x); math.Abs(got-squares) > squares*1e-14 {
				t.Errorf("SumSquares of %d: %v, want %v", n, got, squares)
			}
			if got := float64(Max(x)); got != largest {
				t.Errorf("Max of %d: %v, want %v", n, got, largest)
			}
		}
	})
}

func TestMaxIgnoresNaN(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	forLevels(t, func(t *testing.T) {
		for n := range 40 {
			x := make([]float32, n)
			for i := range x {
				x[i] = nan
			}
			if got := Max(x); got != -inf {
				t.Fatalf("Max of %d NaNs: %v", n, got)
			}
			for i := range x {
				x[i] = -3
				if got := Max(x); got != -3 {
					t.Fatalf("Max of -3 at %d of %d among NaNs: %v", i, n, got)
				}
				x[i] = nan
			}
		}
	})
}

// ulps is the error of got in units in the last place of want as a float32.
func ulps(got float32, want float64) float64 {
	w := float32(want)
	if got == w {
		return 0
	}
	unit := float64(math.Nextafter32(float32(math.Abs(want)), float32(math.Inf(1)))) - math.Abs(float64(float32(math.Abs(want))))
	return math.Abs(float64(got)-want) / unit
}

func TestExpOverTheWholeRange(t *testing.T) {
	forLevels(t, func(t *testing.T) {
		const step = 4099 // bit patterns between two arguments
		var src []float32
		for bits := uint64(0); bits < 1<<32; bits += step {
			if v := math.Float32frombits(uint32(bits)); v == v {
				src = append(src, v)
			}
		}
		for x := float32(-104.5); x < 89.5; x += 0.00117 {
			src = append(src, x)
		}
		dst := make([]float32, len(src))
		Exp(dst, src)
		worst := 0.0
		for i, x := range src {
			want := math.Exp(float64(x))
			switch {
			case float32(want) == 0 || math.IsInf(float64(float32(want)), 1):
				if dst[i] != float32(want) && ulps(dst[i], want) > 1 {
					t.Fatalf("e^%v = %v, want %v", x, dst[i], float32(want))
				}
			default:
				if u := ulps(dst[i], want); u > worst {
					worst = u
					if u > 2 {
						t.Fatalf("e^%v = %v, want %v: %v ulp", x, dst[i], want, u)
					}
				}
			}
		}
		t.Logf("largest error %.3f ulp over %d arguments", worst, len(src))
	})
}

func TestExpSpecialValues(t *testing.T) {
	inf := float32(math.Inf(1))
	src := []float32{-inf, inf, 0, float32(math.Copysign(0, -1)), -1000, 1000, -math.MaxFloat32, math.MaxFloat32, 88.72283, 88.722855, -104, 1e-30, float32(math.NaN())}
	want := []float32{0, inf, 1, 1, 0, inf, 0, inf, float32(math.Exp(float64(float32(88.72283)))), inf, 0, 1}
	forLevels(t, func(t *testing.T) {
		dst := make([]float32, len(src))
		Exp(dst, src)
		for i, w := range want {
			if dst[i] != w && ulps(dst[i], float64(w)) > 2 {
				t.Errorf("e^%v = %v, want %v", src[i], dst[i], w)
			}
		}
		if last := dst[len(dst)-1]; last == last {
			t.Errorf("e^NaN = %v", last)
		}
	})
}

func TestExpSumSigmoidSilu(t *testing.T) {
	forLevels(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 6))
		for _, n := range lengths {
			x, dst := normal(r, n), make([]float32, n)
			for i := range x {
				x[i] *= 6
			}
			sum := float64(ExpSum(dst, x, 2.5))
			var want float64
			for i := range x {
				e := math.Exp(float64(x[i] - 2.5))
				want += e
				if u := ulps(dst[i], e); u > 2 {
					t.Fatalf("ExpSum: e^(%v-2.5) = %v: %v ulp", x[i], dst[i], u)
				}
			}
			if math.Abs(sum-want) > want*float64(4+n/8)*0x1p-24 {
				t.Errorf("ExpSum of %d: %v, want %v", n, sum, want)
			}
			Sigmoid(dst, x)
			for i := range x {
				if u := ulps(dst[i], 1/(1+math.Exp(-float64(x[i])))); u > 3.5 {
					t.Fatalf("Sigmoid(%v) = %v: %v ulp", x[i], dst[i], u)
				}
			}
			Silu(dst, x)
			for i := range x {
				if u := ulps(dst[i], float64(x[i])/(1+math.Exp(-float64(x[i])))); u > 3.5 {
					t.Fatalf("Silu(%v) = %v: %v ulp", x[i], dst[i], u)
				}
			}
		}
	})
}

// The gradients of silu(z)*u from float64, to a few units of the largest of a formula's terms.
func TestSiluGradients(t *testing.T) {
	forLevels(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(9, 10))
		for _, n := range lengths {
			dout, gate, up := normal(r, n), normal(r, n), normal(r, n)
			dgate, dup := make([]float32, n), make([]float32, n)
			for i := range gate {
				gate[i] *= 6
			}
			SiluGradients(dgate, dup, dout, gate, up)
			for i := range gate {
				d, z, u := float64(dout[i]), float64(gate[i]), float64(up[i])
				s := 1 / (1 + math.Exp(-z))
				const unit = 0x1p-23
				if got, want := float64(dup[i]), d*s*z; math.Abs(got-want) > 4*unit*math.Abs(want) {
					t.Fatalf("dup of (%v, %v, %v) is %v, want %v", d, z, u, got, want)
				}
				want, size := d*s*u*(1+z*(1-s)), math.Abs(d*s*u)*(1+2*math.Abs(z))
				if got := float64(dgate[i]); math.Abs(got-want) > 5*unit*size {
					t.Fatalf("dgate of (%v, %v, %v) is %v, want %v", d, z, u, got, want)
				}
			}
		}
	})
}

// An element has the same bits at any index, so loops may be cut anywhere.
func TestElementsDoNotDependOnTheirPlace(t *testing.T) {
	type op struct {
		name string
		run  func(dst, x []float32)
	}
	ops := []op{
		{"Exp", Exp},
		{"Sigmoid", Sigmoid},
		{"Silu", Silu},
		{"SiluGradients, of the gate", func(dst, x []float32) { SiluGradients(dst, make([]float32, len(x)), x, x, x) }},
		{"SiluGradients, of the other", func(dst, x []float32) { SiluGradients(make([]float32, len(x)), dst, x, x, x) }},
		{"ExpSum", func(dst, x []float32) { ExpSum(dst, x, 0.3) }},
		{"Axpy", func(dst, x []float32) {
			for i := range dst {
				dst[i] = 0.1
			}
			Axpy(1.3, x, dst)
		}},
	}
	forLevels(t, func(t *testing.T) {
		x := normal(rand.New(rand.NewPCG(7, 8)), 133)
		for _, o := range ops {
			whole, part := make([]float32, len(x)), make([]float32, len(x))
			o.run(whole, x)
			for _, at := range []int{1, 3, 8, 21, 64, 130} {
				o.run(part[:at], x[:at])
				o.run(part[at:], x[at:])
				for i := range whole {
					if math.Float32bits(whole[i]) != math.Float32bits(part[i]) {
						t.Fatalf("%s: element %d is %v whole, %v when cut at %d", o.name, i, whole[i], part[i], at)
					}
				}
			}
			inPlace := append([]float32(nil), x...)
			if o.name != "Axpy" {
				o.run(inPlace, inPlace)
				for i := range whole {
					if whole[i] != inPlace[i] {
						t.Fatalf("%s in place: element %d is %v, want %v", o.name, i, inPlace[i], whole[i])
					}
				}
			}
		}
	})
}

func TestNoAllocation(t *testing.T) {
	x, y := make([]float32, 133), make([]float32, 133)
	if n := testing.AllocsPerRun(10, func() {
		Axpy(2, x, y)
		Exp(y, x)
		Silu(y, x)
		SiluGradients(y, y, x, x, x)
		ExpSum(y, x, 1)
		Dot(x, y)
		Max(x)
		SumSquares(x)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestForceRefusesWhatTheMachineLacks(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Force(\"sse9\") returned")
		}
	}()
	Force("sse9")
}

func TestDifferentLengthsPanic(t *testing.T) {
	a, b := make([]float32, 3), make([]float32, 4)
	for name, f := range map[string]func(){
		"Axpy": func() { Axpy(1, a, b) }, "Dot": func() { Dot(a, b) }, "Add": func() { Add(a, a, b) },
		"Mul": func() { Mul(b, a, a) }, "Exp": func() { Exp(a, b) }, "ExpSum": func() { ExpSum(a, b, 0) },
		"Sigmoid": func() { Sigmoid(a, b) }, "Silu": func() { Silu(a, b) },
		"SiluGradients": func() { SiluGradients(a, a, a, a, b) },
	} {
		func() {
			defer func() {
				if recover() != badLength {
					t.Errorf("%s did not refuse slices of 3 and 4", name)
				}
			}()
			f()
		}()
	}
}

// TestSoftmaxHalves: at every level and for any length the loops of attention in bf16 are near
// float64, and so are the sums of what they round, and of what that makes.
func TestSoftmaxHalves(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	defer Force(Level())
	for _, l := range Levels() {
		Force(l)
		for _, n := range []int{0, 1, 15, 16, 37, 64} {
			s, dp, lse, delta := normal(r, n), normal(r, n), normal(r, n), normal(r, n)
			dst, p, ds := make([]uint16, n), make([]uint16, n), make([]uint16, n)
			sum, rounded := ExpSumHalf(dst, s, 0.25, -0.5)
			var want, wantRounded float64
			SoftmaxGradients(p, ds, s, dp, lse, delta, 0.25)
			near := func(what string, got uint16, want float64) {
				t.Helper()
				// Half a step of bf16, of 8 bits, and the rounding of float32 before it.
				if x := float64(math.Float32frombits(uint32(got) << 16)); math.Abs(x-want) > math.Abs(want)*0x1.01p-8+1e-6 {
					t.Errorf("%s, %s of %d: %v, want %v", l, what, n, x, want)
				}
			}
			for i := range n {
				e := math.Exp(0.25*float64(s[i]) - 0.5)
				want += e
				wantRounded += float64(math.Float32frombits(uint32(dst[i]) << 16))
				near("e", dst[i], e)
				e = math.Exp(0.25*float64(s[i]) - float64(lse[i]))
				near("p", p[i], e)
				near("ds", ds[i], 0.25*e*(float64(dp[i])-float64(delta[i])))
			}
			if math.Abs(float64(sum)-want) > 1e-6*want || math.Abs(float64(rounded)-wantRounded) > 1e-6*want {
				t.Errorf("%s, sums of %d: %v and %v, want %v and %v", l, n, sum, rounded, want, wantRounded)
			}
		}
	}
}

// TestRotate: at every level the bits are those of products and sums in float32, each rounded, and
// turning back gives the points again.
func TestRotate(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	forLevels(t, func(t *testing.T) {
		for _, n := range []int{0, 1, 16, 32, 53} {
			x, y, cos, sin := normal(r, n), normal(r, n), make([]float32, n), make([]float32, n)
			for i := range n {
				angle := r.Float64() * 7
				cos[i], sin[i] = float32(math.Cos(angle)), float32(math.Sin(angle))
			}
			u, v := append([]float32(nil), x...), append([]float32(nil), y...)
			Rotate(1, u, v, cos, sin)
			for i := range n {
				a, b, c, d := x[i]*cos[i], y[i]*sin[i], y[i]*cos[i], x[i]*sin[i]
				if u[i] != a-b || v[i] != c+d {
					t.Fatalf("(%v, %v) became (%v, %v), want (%v, %v)", x[i], y[i], u[i], v[i], a-b, c+d)
				}
			}
			Rotate(-1, u, v, cos, sin)
			for i := range n {
				if math.Abs(float64(u[i]-x[i]))+math.Abs(float64(v[i]-y[i])) > 1e-5 {
					t.Fatalf("turned back: (%v, %v), want (%v, %v)", u[i], v[i], x[i], y[i])
				}
			}
		}
	})
}
