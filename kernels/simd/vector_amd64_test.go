package simd

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"dataflex.dev/dataflex/kernels/simd/asmtest"
)

func load(t *testing.T, path string) asmtest.Program {
	t.Helper()
	p, err := asmtest.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// loops are the AVX2 functions that write floats to dst, with x as the other operand.
var loops = map[string]func(n int, dst, x *float32){
	"axpy":    func(n int, dst, x *float32) { axpyY(n, 1.3, x, dst) },
	"scale":   func(n int, dst, _ *float32) { scaleY(n, 1.3, dst) },
	"add":     func(n int, dst, x *float32) { addY(n, dst, dst, x) },
	"mul":     func(n int, dst, x *float32) { mulY(n, dst, dst, x) },
	"rotate":  func(n int, dst, x *float32) { rotateY(n, -1, dst, x, &rotation[0], &rotation[160]) },
	"exp":     func(n int, dst, x *float32) { expY(n, dst, x, &expConstants[0][0]) },
	"sigmoid": func(n int, dst, x *float32) { sigmoidY(n, dst, x, &expConstants[0][0]) },
	"silu":    func(n int, dst, x *float32) { siluY(n, dst, x, &expConstants[0][0]) },
	"siluGradients": func(n int, dst, x *float32) {
		siluGradientsY(n, dst, x, dst, x, x, &expConstants[0][0])
	},
}

// rotation is the cosines and sines of the largest case.
var rotation = normal(rand.New(rand.NewPCG(11, 12)), 320)

// arguments are what the loop of that name takes.
func arguments(name string, n int, dst, x *float32) []any {
	switch name {
	case "axpy":
		return []any{n, float32(1.3), x, dst}
	case "scale":
		return []any{n, float32(1.3), dst}
	case "rotate":
		return []any{n, float32(-1), dst, x, &rotation[0], &rotation[160]}
	case "add", "mul":
		return []any{n, dst, dst, x}
	case "siluGradients":
		return []any{n, dst, x, dst, x, x, &expConstants[0][0]}
	}
	return []any{n, dst, x, &expConstants[0][0]}
}

// The interpreted AVX2 and AVX-512 loops give the bits of the AVX2 loops on the
// processor: element by element they do the same operations.
func TestInterpretedLoops(t *testing.T) {
	if !slices.Contains(Levels(), "avx2") {
		t.Skip("needs AVX2 to compare with")
	}
	y, z := load(t, "vector_avx2_amd64.s"), load(t, "vector_avx512_amd64.s")
	r := rand.New(rand.NewPCG(1, 2))
	for name, run := range loops {
		for _, floats := range []int{16, 48, 160} {
			x, start := normal(r, floats), normal(r, floats)
			for i := range x {
				x[i] *= 40
			}
			copy(x, []float32{float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()), 0, -104, 89, 1e-40})
			want, wantX := slices.Clone(start), slices.Clone(x)
			run(floats/8, &want[0], &wantX[0])
			for _, v := range []struct {
				f     *asmtest.Function
				lanes int
			}{{y[name+"Y"], 8}, {z[name+"Z"], 16}} {
				got, gotX := slices.Clone(start), slices.Clone(x)
				c := (*[14 * 16]float32)(unsafe.Pointer(expConstants))
				if err := v.f.Call([][]float32{got, gotX, c[:], rotation}, arguments(name, floats/v.lanes, &got[0], &gotX[0])...); err != nil {
					t.Fatal(err)
				}
				got, want := append(got, gotX...), append(want, wantX...) // siluGradients writes both
				for i := range want {
					if math.Float32bits(got[i]) != math.Float32bits(want[i]) && (got[i] == got[i] || want[i] == want[i]) {
						t.Fatalf("%s, %d lanes: element %d is %v, on the processor %v (x = %v)", name, v.lanes, i, got[i], want[i], x[i%floats])
					}
				}
			}
		}
	}
}

// reductions are the functions that leave one value per lane: what AVX2 leaves
// on the processor, and the exact total of the lanes.
var reductions = map[string]struct {
	run   func(n int, x, y, out *float32)
	total func(x, y []float32) float64
}{
	"dot": {
		func(n int, x, y, out *float32) { dotY(n, x, y, out) },
		func(x, y []float32) (s float64) {
			for i := range x {
				s += float64(x[i]) * float64(y[i])
			}
			return s
		},
	},
	"max": {
		func(n int, x, _, out *float32) { maxY(n, x, out) },
		func(x, _ []float32) float64 { return float64(slices.Max(x)) },
	},
	"expSum": {
		func(n int, x, y, out *float32) { expSumY(n, y, x, 0.5, &expConstants[0][0], out) },
		func(x, _ []float32) (s float64) {
			for i := range x {
				s += math.Exp(float64(x[i] - 0.5))
			}
			return s
		},
	},
}

func TestInterpretedReductions(t *testing.T) {
	if !slices.Contains(Levels(), "avx2") {
		t.Skip("needs AVX2 to compare with")
	}
	yp, zp := load(t, "vector_avx2_amd64.s"), load(t, "vector_avx512_amd64.s")
	r := rand.New(rand.NewPCG(3, 4))
	for name, red := range reductions {
		for _, floats := range []int{16, 64, 80, 144} {
			x, y := normal(r, floats), normal(r, floats)
			want := red.total(x, y)
			run := func(f *asmtest.Function, lanes int) []float32 {
				out, dst := slices.Repeat([]float32{0}, 16), slices.Clone(y)
				args := []any{floats / lanes, &x[0], &dst[0], &out[0]}
				switch name {
				case "max":
					for i := range out {
						out[i] = float32(math.Inf(-1))
					}
					args = []any{floats / lanes, &x[0], &out[0]}
				case "expSum":
					args = []any{floats / lanes, &dst[0], &x[0], float32(0.5), &expConstants[0][0], &out[0]}
				}
				if f == nil {
					red.run(floats/lanes, &x[0], &dst[0], &out[0])
				} else if err := f.Call(nil, args...); err != nil {
					t.Fatal(err)
				}
				return out
			}
			if real, mine := run(nil, 8), run(yp[name+"Y"], 8); !slices.Equal(real, mine) {
				t.Fatalf("%sY of %d: interpreted %v, on the processor %v", name, floats, mine, real)
			}
			out := run(zp[name+"Z"], 16)
			got := float64(slices.Max(out))
			if name != "max" {
				got = 0
				for _, v := range out {
					got += float64(v)
				}
			}
			if math.Abs(got-want) > 1e-5*(1+math.Abs(want)) {
				t.Errorf("%sZ of %d: the lanes make %v, want %v", name, floats, got, want)
			}
		}
	}
}

func TestInterpretedSumSquares(t *testing.T) {
	y, z := load(t, "vector_avx2_amd64.s"), load(t, "vector_avx512_amd64.s")
	x := normal(rand.New(rand.NewPCG(5, 6)), 160)
	want := SumSquares(x)
	for _, v := range []struct {
		f     *asmtest.Function
		lanes int
	}{{y["sumSquaresY"], 8}, {z["sumSquaresZ"], 16}} {
		var out [8]float64
		if err := v.f.Call(nil, len(x)/v.lanes, &x[0], &out[0]); err != nil {
			t.Fatal(err)
		}
		got := 0.0
		for i, s := range out {
			if i >= v.lanes/2 && s != 0 {
				t.Errorf("%d lanes: wrote sum %d", v.lanes, i)
			}
			got += s
		}
		if math.Abs(got-want) > 1e-13*want {
			t.Errorf("%d lanes: %v, want %v", v.lanes, got, want)
		}
	}
}

// TestInterpretedBF16: narrowing and widening, interpreted, have the bits of the processor's
// and of the portable versions.
func TestInterpretedBF16(t *testing.T) {
	y, r := load(t, "vector_avx2_amd64.s"), rand.New(rand.NewPCG(3, 4))
	const n = 8 * 40
	x, half := make([]float32, n), make([]uint16, n)
	for i := range x {
		x[i], half[i] = math.Float32frombits(r.Uint32()), uint16(r.Uint32())
		if i%3 == 0 {
			x[i] = math.Float32frombits(math.Float32bits(x[i])&^0xffff | uint32(0x7fff+i%9/3)) // a tie, or beside one
		}
	}
	copy(x, []float32{float32(math.NaN()), float32(math.Inf(-1)), math.MaxFloat32, math.Float32frombits(0x7f800001), math.Float32frombits(0xffffffff), 1e-45})
	narrow, wide := make([]uint16, n), make([]float32, n)
	if err := y["narrowY"].CallWithin([]asmtest.Region{asmtest.In(x), asmtest.In(narrow)}, n/8, &narrow[0], &x[0]); err != nil {
		t.Fatal(err)
	}
	if err := y["widenY"].CallWithin([]asmtest.Region{asmtest.In(half), asmtest.In(wide)}, n/8, &wide[0], &half[0]); err != nil {
		t.Fatal(err)
	}
	defer Force(Level())
	for _, l := range Levels() {
		Force(l)
		down, up := make([]uint16, n), make([]float32, n)
		Narrow(down, x)
		Widen(up, half)
		for i := range x {
			if down[i] != narrow[i] || math.Float32bits(up[i]) != math.Float32bits(wide[i]) {
				t.Fatalf("%s: %#x narrows to %#x, interpreted %#x; %#x widens to %#x", l, math.Float32bits(x[i]), down[i], narrow[i], half[i], math.Float32bits(up[i]))
			}
		}
	}
}

// TestInterpretedSoftmax: the loops of attention in bf16 do what the AVX2 loops do one after the
// other: multiply, add, exp, narrow.
func TestInterpretedSoftmax(t *testing.T) {
	if !slices.Contains(Levels(), "avx2") {
		t.Skip("needs AVX2 to compare with")
	}
	z, r := load(t, "vector_avx512_amd64.s"), rand.New(rand.NewPCG(7, 8))
	const n, factor, minus = 80, 0.125, float32(-1.5)
	s, dp, lse, delta := normal(r, n), normal(r, n), normal(r, n), normal(r, n)
	for i := range s {
		s[i] *= 100
	}
	copy(s, []float32{float32(math.Inf(-1)), -2000, 712})
	c := (*[14 * 16]float32)(unsafe.Pointer(expConstants))
	within := func(halves [][]uint16, floats ...[]float32) (all []asmtest.Region) {
		for _, x := range halves {
			all = append(all, asmtest.In(x))
		}
		for _, x := range append(floats, c[:]) {
			all = append(all, asmtest.In(x))
		}
		return all
	}

	half, sums := make([]uint16, n), make([]float32, 32)
	if err := z["expSumHalfZ"].CallWithin(within([][]uint16{half}, s, sums), n/16, &half[0], &s[0], float32(factor), minus, &expConstants[0][0], &sums[0]); err != nil {
		t.Fatal(err)
	}
	e, want, wantSums := make([]float32, n), make([]uint16, n), make([]float32, 32)
	for i, v := range s {
		e[i] = v*factor + minus // the factor is a power of two
	}
	expY(n/8, &e[0], &e[0], &expConstants[0][0])
	for i, v := range e {
		wantSums[i%16] += v
	}
	narrowY(n/8, &want[0], &e[0])
	for i, v := range want {
		wantSums[16+i%16] += math.Float32frombits(uint32(v) << 16)
	}
	if !slices.Equal(half, want) || !slices.Equal(sums, wantSums) {
		t.Errorf("expSumHalfZ: %x with sums %v, want %x with %v", half, sums, want, wantSums)
	}

	p, ds := make([]uint16, n), make([]uint16, n)
	if err := z["softmaxGradientsZ"].CallWithin(within([][]uint16{p, ds}, s, dp, lse, delta), n/16, &p[0], &ds[0], &s[0], &dp[0], &lse[0], &delta[0], float32(factor), &expConstants[0][0]); err != nil {
		t.Fatal(err)
	}
	g, wantDS := make([]float32, n), make([]uint16, n)
	for i, v := range s {
		e[i] = v*factor - lse[i]
	}
	expY(n/8, &e[0], &e[0], &expConstants[0][0])
	for i := range g {
		g[i] = (dp[i] - delta[i]) * e[i] * factor
	}
	narrowY(n/8, &want[0], &e[0])
	narrowY(n/8, &wantDS[0], &g[0])
	if !slices.Equal(p, want) || !slices.Equal(ds, wantDS) {
		t.Errorf("softmaxGradientsZ: %x and %x, want %x and %x", p, ds, want, wantDS)
	}
}
