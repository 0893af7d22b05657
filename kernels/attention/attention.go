// Package attention is causal self-attention over a packed batch.
//
// A batch is T tokens in consecutive segments; a token attends to itself and the
// tokens before it in its own segment, at most Window of them in all, itself
// included (0 = no limit). Query head h uses key/value head h/(Heads/KVHeads).
//
//	s[i,j] = Scale·q[i]·k[j];  with SoftCap c > 0: s = c·tanh(s/c)
//	o[i]   = Σ_j p[i,j]·v[j],  p[i,j] = exp(s[i,j] − lse[i]),  lse[i] = ln Σ_j exp(s[i,j])
//
// All tensors are float32 and row-major: q, o and their gradients
// [T, Heads·HeadDim]; k, v and theirs [T, KVHeads·HeadDim]; lse [Heads, T].
// Scores are formed tile by tile and never stored: memory is linear in T.
//
// ForwardBF16 and BackwardBF16 are the same on the tensor cores.
//
// A segment's results depend on that segment alone, bit for bit: they are the
// same in any batch, at any place in it, for every number of threads.
//
// Measured on one core of an AMD EPYC (Zen 3, shared with other work, 2026-11-24),
// best of six runs that alternated with torch 2.7.1's scaled_dot_product_attention
// (in brackets; it repeats the keys and values for shared heads), in ms:
//
//	T=1024, 14/2 heads of 64    forward 40.5 (43.3)   backward 73.7 (112.6)
//	T=1024, 16/16 heads of 64   forward 49.4 (50.0)   backward 111 (132)
//	T=2048, 8/2 heads of 128    forward 141 (151)     backward 370 (390)
//	8 × 128, 14/2 heads of 64   forward 8.9 (10.3)    backward 15.3 (25.1)
//
// Source: Dao 2023, arXiv:2307.08691 (FlashAttention-2).
package attention

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Params are the shape and the variant.
type Params struct {
	Segments                []int32 // where segments begin, and T: Segments[0] = 0, not decreasing
	Heads, KVHeads, HeadDim int     // Heads is a multiple of KVHeads
	Scale                   float32 // usually 1/sqrt(HeadDim)
	Window                  int     // tokens a token sees, itself included; 0 = all before it
	SoftCap                 float32 // 0 = none
}

// Inputs are what attention reads: Q [T, Heads*HeadDim], K and V [T, KVHeads*HeadDim].
type Inputs[T driver.Element] struct{ Q, K, V driver.Slice[T] }

// Gradients are memory for those of the inputs, shaped like them.
type Gradients struct{ Q, K, V driver.F32 }

// Forward overwrites o and lse.
func Forward(dev driver.Device, p Params, x Inputs[float32], o, lse driver.F32) {
	t := p.check()
	checkLengths(p, t, x, o, lse)
	dispatch.Run(dev, "attention.Forward", func(c *cpu.Device) {
		forwardCPU(c, p, x.Q.Host(), x.K.Host(), x.V.Host(), o.Host(), lse.Host(), t)
	}, func(c driver.Launcher) {
		forwardPTX(c, p, x, o, lse, t)
	})
}

// Backward overwrites d from do, the gradient of o, and what Forward
// left in o and lse:
//
//	ds[i,j] = p[i,j]·(do[i]·v[j] − do[i]·o[i])  (times 1−(s/c)² with SoftCap)
//	dq[i] = Scale·Σ_j ds[i,j]·k[j];  dk[j] = Scale·Σ_i ds[i,j]·q[i];  dv[j] = Σ_i p[i,j]·do[i]
func Backward(dev driver.Device, p Params, x Inputs[float32], o, lse, do driver.F32, d Gradients) {
	t := p.check()
	checkLengths(p, t, x, o, lse)
	checkGradients(x, do, d)
	dispatch.Run(dev, "attention.Backward", func(c *cpu.Device) {
		g := gradients{
			q: x.Q.Host(), k: x.K.Host(), v: x.V.Host(), o: o.Host(), lse: lse.Host(),
			do: do.Host(), dq: d.Q.Host(), dk: d.K.Host(), dv: d.V.Host(),
		}
		backwardCPU(c, p, g, t)
	}, func(c driver.Launcher) {
		backwardPTX(c, p, x, o, lse, do, d, t)
	})
}

// check returns T.
func (p Params) check() int {
	switch {
	case len(p.Segments) == 0 || p.Segments[0] != 0:
		panic("attention: Segments does not begin with 0")
	case p.HeadDim < 1 || p.KVHeads < 1 || p.Heads < 1 || p.Heads%p.KVHeads != 0:
		panic("attention: HeadDim, KVHeads or Heads < 1, or Heads no multiple of KVHeads")
	case p.Window < 0 || p.SoftCap < 0:
		panic("attention: negative Window or SoftCap")
	}
	for i, s := range p.Segments[1:] {
		if s < p.Segments[i] {
			panic("attention: Segments decreases")
		}
	}
	return int(p.Segments[len(p.Segments)-1])
}

func checkLengths[T driver.Element](p Params, t int, x Inputs[T], o, lse driver.F32) {
	if x.Q.Len() != t*p.Heads*p.HeadDim || o.Len() != x.Q.Len() {
		panic("attention: q or o is not [T, Heads*HeadDim]")
	}
	if x.K.Len() != t*p.KVHeads*p.HeadDim || x.V.Len() != x.K.Len() {
		panic("attention: k or v is not [T, KVHeads*HeadDim]")
	}
	if lse.Len() != p.Heads*t {
		panic("attention: lse is not [Heads, T]")
	}
}

func checkGradients[T driver.Element](x Inputs[T], do driver.Slice[T], d Gradients) {
	if do.Len() != x.Q.Len() || d.Q.Len() != x.Q.Len() || d.K.Len() != x.K.Len() || d.V.Len() != x.K.Len() {
		panic("attention: a gradient is not shaped like its tensor")
	}
}
