package optest

import "math"

// Attention is causal attention over packed segments, written out.
type Attention[F Float] struct {
	Segments                []int32
	Heads, KVHeads, HeadDim int
	Scale                   F
	Window                  int
	SoftCap                 F
	ValueDim                int // width of a value; 0 = HeadDim
	Q, K, V                 []F
	Sinks                   []F // [Heads], logits with values of zero; nil = none

	// Round is applied to p and ds before they are multiplied by v, do, q and k; nil is
	// nothing.
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

// row calls f for each key j to which query i of head h attends, with its probability and
// the derivative of the capped score; it returns lse.
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
	if a.Sinks != nil {
		top = max(top, a.Sinks[h])
		sum = exp(a.Sinks[h] - top)
	}
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

// values is the width of a value.
func (a *Attention[F]) values() int {
	if a.ValueDim > 0 {
		return a.ValueDim
	}
	return a.HeadDim
}

// Forward returns o and lse [Heads, T].
func (a *Attention[F]) Forward() (o, lse []F) {
	n := a.values()
	o, lse = make([]F, a.Heads*a.T()*n), make([]F, a.Heads*a.T())
	for i := range a.T() {
		for h := range a.Heads {
			lse[h*a.T()+i] = a.row(i, h, func(j int, p, _ F) {
				p = a.round(p)
				for l := range n {
					o[a.at(i, h)/a.HeadDim*n+l] += p * a.V[a.kv(j, h)/a.HeadDim*n+l]
				}
			})
		}
	}
	return o, lse
}

// Backward returns the gradients of q, k and v.
func (a *Attention[F]) Backward(do []F) (dq, dk, dv []F) {
	o, _ := a.Forward()
	n := a.values()
	dq, dk, dv = make([]F, len(a.Q)), make([]F, len(a.K)), make([]F, len(a.V))
	for i := range a.T() {
		for h := range a.Heads {
			q := a.at(i, h)
			delta, at := a.delta(do, o, i, h), q/a.HeadDim*n
			a.row(i, h, func(j int, p, slope F) {
				k := a.kv(j, h)
				v := k / a.HeadDim * n
				var dp F
				for l := range n {
					dp += do[at+l] * a.V[v+l]
				}
				ds, p := a.round(p*(dp-delta)*slope), a.round(p)
				for l := range n {
					dv[v+l] += p * do[at+l]
				}
				for l := range a.HeadDim {
					dq[q+l] += ds * a.Scale * a.K[k+l]
					dk[k+l] += ds * a.Scale * a.Q[q+l]
				}
			})
		}
	}
	return dq, dk, dv
}

// delta is do·o of query i of head h.
func (a *Attention[F]) delta(do, o []F, i, h int) (sum F) {
	n := a.values()
	at := (i*a.Heads + h) * n
	for l := range n {
		sum += do[at+l] * o[at+l]
	}
	return sum
}

// SinksGradient returns the gradient of Sinks.
func (a *Attention[F]) SinksGradient(do []F) []F {
	o, lse := a.Forward()
	d := make([]F, a.Heads)
	for i := range a.T() {
		for h := range a.Heads {
			d[h] -= exp(a.Sinks[h]-lse[h*a.T()+i]) * a.delta(do, o, i, h)
		}
	}
	return d
}
