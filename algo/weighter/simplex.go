package weighter

import (
	"fmt"
	"math"
	"slices"
)

// response returns softmax((s - βSw)/τ).
func response(s []float64, gram [][]float64, beta, tau float64, w []float64) []float64 {
	f := make([]float64, len(s))
	for i := range f {
		f[i] = s[i]
		if beta != 0 {
			f[i] -= beta * inner(gram[i], w)
		}
	}
	most := slices.Max(f)
	var sum float64
	for i, x := range f {
		f[i] = math.Exp((x - most) / tau)
		sum += f[i]
	}
	for i := range f {
		f[i] /= sum
	}
	return f
}

// damped returns (1-ρ)·w + ρ·to.
func damped(w, to []float64, rho float64) []float64 {
	out := make([]float64, len(w))
	for i := range w {
		out[i] = (1-rho)*w[i] + rho*to[i]
	}
	return out
}

// Limits of the solver: the 1-norm of the last change, and the number of iterations.
const (
	solved   = 1e-7
	mostMaps = 1_000_000
)

// solveExactly computes the unique solution of w = softmax((s - βSw)/τ), for S positive
// semidefinite and β >= 0, by damped fixed-point iteration. Restricted to the simplex, the
// derivative of the right side has its eigenvalues in [-ℓ, 0] with ℓ = (β/τ)·λmax(PSP)/2 and P
// = I - 11ᵀ/n, because the derivative of softmax is at most 1/2; so with ρ = 1/(1+ℓ) the
// iteration is a contraction.
func solveExactly(s []float64, gram [][]float64, beta, tau float64) ([]float64, error) {
	w := even(len(s))
	if beta == 0 {
		return response(s, gram, 0, tau, w), nil
	}
	l := beta / tau * largestEigenvalue(gram) / 2
	before := math.Inf(1)
	for range mostMaps {
		to := response(s, gram, beta, tau, w)
		var change float64
		for i := range w {
			change += math.Abs(to[i] - w[i])
		}
		switch {
		case math.IsNaN(change):
			return nil, fmt.Errorf("the rows' hidden states are not finite")
		case change < solved:
			return to, nil
		case change > 2*before: // the eigenvalue was underestimated
			l *= 2
		}
		before = change
		w = damped(w, to, 1/(1+l))
	}
	return nil, fmt.Errorf("no solution after %d steps: beta %v is too large for tau %v", mostMaps, beta, tau)
}

// largestEigenvalue returns λmax(PSP) by power iteration, increased by a margin for its error.
func largestEigenvalue(gram [][]float64) float64 {
	n := len(gram)
	v := make([]float64, n)
	for i := range v {
		v[i] = math.Sin(float64(i + 1)) // a generic direction
	}
	var value float64
	for range 100 {
		centre(v)
		length := math.Sqrt(inner(v, v))
		if length == 0 {
			return 0
		}
		next := make([]float64, n)
		for i := range v {
			v[i] /= length
		}
		for i := range next {
			next[i] = inner(gram[i], v)
		}
		centre(next)
		value, v = inner(v, next), next
	}
	return 1.05 * max(value, 0)
}

// centre subtracts the mean from every entry.
func centre(v []float64) {
	var mean float64
	for _, x := range v {
		mean += x / float64(len(v))
	}
	for i := range v {
		v[i] -= mean
	}
}
