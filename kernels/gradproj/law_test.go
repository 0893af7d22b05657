package gradproj

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
)

// The Johnson-Lindenstrauss law: over seeds, ⟨xR, yR⟩ has mean ⟨x,y⟩ and variance
//
//	(|x|²|y|² + ⟨x,y⟩² - 2 Σ x²y²)/dim  for signs, sparse (any s | dim) or dense,
//	(|x|²|y|² + ⟨x,y⟩²)/dim             for normals.
//
// Sums of products of many independent entries are close to normal, so with N
// seeds the mean stays within 4.5σ/√N and the variance within 4.5·√(2/N) (a
// little more for the excess kurtosis).
func TestJohnsonLindenstrauss(t *testing.T) {
	const size, seeds = 128, 300
	r := rand.New(rand.NewPCG(10, 11))
	x, noise := normal(r, size, 1), normal(r, size, 1)
	for i := range x { // a few heavy entries, as gradients have
		x[i] *= float32(math.Exp(r.NormFloat64()))
	}
	dev := cpu.New(2)
	defer dev.Close()
	for _, cosine := range []float64{0, 0.3, 1} {
		y := make([]float32, size)
		var xx, yy, xy, cross float64
		for i := range y {
			y[i] = float32(cosine*float64(x[i]) + (1-cosine)*float64(noise[i]))
			a, b := float64(x[i]), float64(y[i])
			xx, yy, xy, cross = xx+a*a, yy+b*b, xy+a*b, cross+a*a*b*b
		}
		for _, kind := range []Kind{Rademacher, Gaussian, SJLT} {
			for _, dim := range []int{64, 256, 1024} {
				variance := (xx*yy + xy*xy - 2*cross) / float64(dim)
				if kind == Gaussian {
					variance = (xx*yy + xy*xy) / float64(dim)
				}
				var sum, square float64
				for seed := range seeds {
					p, err := New(kind, dim, uint64(seed), size, Options{})
					if err != nil {
						t.Fatal(err)
					}
					e := product(p, dev, x, y) - xy
					sum, square = sum+e, square+e*e
				}
				mean, got := sum/seeds, square/seeds
				if math.Abs(mean) > 4.5*math.Sqrt(variance/seeds) {
					t.Errorf("%s, dim %d, cosine %v: bias %.4g, its sd %.4g", kind, dim, cosine, mean, math.Sqrt(variance/seeds))
				}
				if math.Abs(got/variance-1) > 5*math.Sqrt(2.0/seeds) {
					t.Errorf("%s, dim %d, cosine %v: variance %.3f of the law's", kind, dim, cosine, got/variance)
				}
			}
		}
	}
}

// product is ⟨xR, yR⟩.
func product(p *Projection, dev driver.Device, x, y []float32) float64 {
	var norm float64
	a, b := make([]float32, p.Dim()), make([]float32, p.Dim())
	p.Dense(dev, driver.FromHost(x), 0, nil, driver.FromHost(a), &norm)
	p.Dense(dev, driver.FromHost(y), 0, nil, driver.FromHost(b), &norm)
	return dot64(a, b)
}

func ExampleProjection_Dense() {
	dev := cpu.New(1)
	defer dev.Close()
	p, _ := New(SJLT, 8, 1, 4, Options{Entries: 2})
	out, norm := make([]float32, 8), 0.0
	p.Dense(dev, driver.FromHost([]float32{3, 0, 0, 4}), 0, nil, driver.FromHost(out), &norm)
	fmt.Println(norm)
	// Output: 25
}
