package gradproj

import (
	"math"
	"math/rand/v2"
	"testing"

	"dataflex.dev/dataflex/kernels/optest"
)

// nearestBF16 rounds by the definition: eight significant bits, ties to even.
func nearestBF16(x float64) float64 {
	_, e := math.Frexp(x)
	ulp := math.Ldexp(1, e-8)
	return math.RoundToEven(x/ulp) * ulp
}

// TestRoundBF16 compares with the definition.
func TestRoundBF16(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 7))
	x := make([]float32, 100000)
	for i := range x {
		x[i] = float32(math.Ldexp(r.Float64()*2-1, r.IntN(80)-40))
		if i%4 == 0 { // ties
			x[i] = math.Float32frombits(math.Float32bits(x[i])&^0xffff | 0x8000)
		}
	}
	y := append([]float32(nil), x...)
	roundBF16(y)
	for i := range x {
		if want := nearestBF16(float64(x[i])); float64(y[i]) != want {
			t.Fatalf("bf16(%v) = %v, want %v", x[i], y[i], want)
		}
	}
	special := []float32{float32(math.NaN()), math.MaxFloat32, 0}
	roundBF16(special)
	if special[0] == special[0] || !math.IsInf(float64(special[1]), 1) || special[2] != 0 {
		t.Errorf("NaN, the largest and 0 became %v", special)
	}
}

// TestBF16IsAsExactAsBF16: gradients in bf16, on the CPU and by the kernels, are at
// most twice as far from float64 as the plain product of bf16 factors, rounded to bf16.
func TestBF16IsAsExactAsBF16(t *testing.T) {
	dev := optest.Device(t, 80)
	pr := newPair(rand.New(rand.NewPCG(15, 16)), 272, 64, 16, 0, 60, 5, 44)
	const dim = 96
	rounded := pr
	for _, x := range []*[]float32{&rounded.x, &rounded.u, &rounded.dy, &rounded.v} {
		y := make([]float32, len(*x))
		for i, v := range *x {
			y[i] = float32(nearestBF16(float64(v)))
		}
		*x = y
	}
	r := make([][dim]float64, pr.size())
	for row := range r {
		for c := range dim {
			r[row][c] = entry(Rademacher, 42, dim, 0, row, c)
		}
	}
	var ref []float64
	var plain []float32
	for i := range 3 {
		exact, g := pr.gradient(i), rounded.gradient(i)
		for c := range dim {
			var e, p float64
			for row := range r {
				e += exact[row] * r[row][c]
				p += nearestBF16(g[row]) * r[row][c]
			}
			ref, plain = append(ref, e), append(plain, float32(p))
		}
	}
	p := mustNew(t, Rademacher, dim, pr.size(), Options{BF16: true})
	onCPU, _ := run(t, p, 2, []pair{pr}, false, 0, 3)
	optest.Within(t, "cpu", onCPU, plain, ref)
	onDevice, _ := runPTX(t, dev, p, []pair{pr}, false, 0, 3)
	optest.Within(t, "device", onDevice, plain, ref)
}
