package optest

import "math"

// Attention is causal attention over packed segments, written out.
type Attention[F Float] struct {
	Segments                []int32
	Heads, KVHeads, HeadDim int
	Scale                   F
	Window                  int
	SoftCap                 F
	Q, K, V                 []F

	// What p and ds pass through where they meet v, do, q and k; nil is nothing.
	Round func(F) F
}

func (a *Attention[F]) round(x F) F {
	if a.Round == nil {
		return x
	}
	return a.Round(x)
}

// T is the number of tokens.
func (a *Attention[F]) T() int { return int(a.Segments[len(a.Segments)-1]) }

// row calls f for each key j that query i of head h sees, with its probability
// and the derivative of the capped score; it returns lse.
func (a *Attention[F]) row(i, h int, f func(j int, p, slope F)) F {
	lo := 0
	for _, s := range a.Segments {
		if int(s) <= i {
			lo = int(s)
		}
	}
	if a.Window > 0 {
		lo = max(lo, i-a.Window+1)
	}
	s, slope := make([]F, i+1-lo), make([]F, i+1-lo)
	top := F(math.Inf(-1))
	for j := lo; j <= i; j++ {
		var dot F
		for l := range a.HeadDim {
			dot += a.Q[a.at(i, h)+l] * a.K[a.kv(j, h)+l]
		}
		dot *= a.Scale
		slope[j-lo] = 1
		if a.SoftCap > 0 {
			c := tanh(dot / a.SoftCap)
			dot, slope[j-lo] = a.SoftCap*c, 1-c*c
		}
		s[j-lo] = dot
		top = max(top, dot)
	}
	var sum F
	for _, v := range s {
		sum += exp(v - top)
	}
	lse := top + F(math.Log(float64(sum)))
	for j := range s {
		f(lo+j, exp(s[j]-top)/sum, slope[j])
	}
	return lse
}

func (a *Attention[F]) at(i, h int) int { return (i*a.Heads + h) * a.HeadDim }
func (a *Attention[F]) kv(j, h int) int {
	return (j*a.KVHeads + h/(a.Heads/a.KVHeads)) * a.HeadDim
}

// Forward returns o and lse [Heads, T].
func (a *Attention[F]) Forward() (o, lse []F) {
	o, lse = make([]F, len(a.Q)), make([]F, a.Heads*a.T())
	for i := range a.T() {
		for h := range a.Heads {
			lse[h*a.T()+i] = a.row(i, h, func(j int, p, _ F) {
				p = a.round(p)
				for l := range a.HeadDim {
					o[a.at(i, h)+l] += p * a.V[a.kv(j, h)+l]
				}
			})
		}
	}
	return o, lse
}

// Backward returns the gradients of q, k and v.
func (a *Attention[F]) Backward(do []F) (dq, dk, dv []F) {
	o, _ := a.Forward()
	dq, dk, dv = make([]F, len(a.Q)), make([]F, len(a.K)), make([]F, len(a.V))
	for i := range a.T() {
		for h := range a.Heads {
			q := a.at(i, h)
			var delta F
			for l := range a.HeadDim {
				delta += do[q+l] * o[q+l]
			}
			a.row(i, h, func(j int, p, slope F) {
				k := a.kv(j, h)
				var dp F
				for l := range a.HeadDim {
					dp += do[q+l] * a.V[k+l]
				}
				ds, p := a.round(p*(dp-delta)*slope), a.round(p)
				for l := range a.HeadDim {
					dv[k+l] += p * do[q+l]
					dq[q+l] += ds * a.Scale * a.K[k+l]
					dk[k+l] += ds * a.Scale * a.Q[q+l]
				}
			})
		}
	}
	return dq, dk, dv
}
