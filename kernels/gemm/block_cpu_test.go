package gemm

import (
	"math"
	"math/rand/v2"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/simd"
)

// TestMultiplier: blocks of products are those of float64, for every unit, for A by rows and by
// columns, and nothing outside of the block is touched.
func TestMultiplier(t *testing.T) {
	if simd.Unit() == "" {
		t.Skip("no unit for bf16")
	}
	defer simd.ForceUnit(simd.Unit())
	r := rand.New(rand.NewPCG(1, 2))
	for _, unit := range simd.Units() {
		simd.ForceUnit(unit)
		var x Multiplier
		var panels Panels
		for range 60 {
			m, n, k := 1+r.IntN(70), 1+r.IntN(80), 1+r.IntN(140)
			b := Block{I1: m, J0: n / 2 / panelColumns * panelColumns, J1: n, K0: k / 2 / pairStep * pairStep, K1: k}
			b.I0 = r.IntN(m)
			for _, tr := range []Transpose{NN, NT, TN} {
				add := r.IntN(2) == 1
				rows, lda := m, k+r.IntN(9)
				if tr == TN {
					rows, lda = k, m+r.IntN(9)
				}
				ldc := n + r.IntN(5)
				a, bs, c := randomHalves(r, rows*lda), randomHalves(r, n*k), make([]float32, m*ldc)
				for i := range c {
					c[i] = float32(r.NormFloat64())
				}
				before := append([]float32(nil), c...)
				packed := NN
				of := Dense(driver.FromHost(bs), k, n)
				if tr == NT {
					packed, of = NT, Dense(driver.FromHost(bs), n, k)
				}
				panels.Repack(packed, of)
				x.Multiply(tr, BF16{driver.FromHost(a), rows, lda, lda}, &panels, add, F32{driver.FromHost(c), m, n, ldc}, b)
				for i := range m {
					for j := range ldc {
						want, size := float64(before[i*ldc+j]), 0.0
						if i >= b.I0 && i < b.I1 && j >= b.J0 && j < b.J1 {
							if !add {
								want = 0
							}
							for p := b.K0; p < b.K1; p++ {
								term := wide(a[offsetOf(tr == TN, i, p, lda)]) * wide(bs[offsetOf(tr == NT, p, j, of.Ld)])
								want += term
								size += math.Abs(term)
							}
						}
						if got := float64(c[i*ldc+j]); math.Abs(got-want) > (size+math.Abs(want))*0x1p-24*float64(k+2) {
							t.Fatalf("%s %v, %d x %d x %d, %+v, add %v: (%d, %d) is %v, want %v", unit, tr, m, n, k, b, add, i, j, got, want)
						}
					}
				}
			}
		}
	}
}

// offsetOf is where element (i, j) of a matrix lies, or of its transpose.
func offsetOf(transposed bool, i, j, ld int) int {
	if transposed {
		i, j = j, i
	}
	return i*ld + j
}

func wide(x driver.BF16) float64 { return float64(math.Float32frombits(uint32(x) << 16)) }

func randomHalves(r *rand.Rand, n int) []driver.BF16 {
	x := make([]driver.BF16, n)
	for i := range x {
		x[i] = driver.BF16(math.Float32bits(float32(r.NormFloat64())) >> 16)
	}
	return x
}
