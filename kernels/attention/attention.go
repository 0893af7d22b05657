// Package attention is causal self-attention over a packed batch.
//
// A batch is T tokens in consecutive segments; a token attends to itself and the tokens
// before it in its own segment, to at most Window tokens including itself (0 = no limit).
// Query head h uses key/value head h/(Heads/KVHeads).
//
//	s[i,j] = Scale·q[i]·k[j];  with SoftCap c > 0: s = c·tanh(s/c)
//	o[i]   = Σ_j p[i,j]·v[j],  p[i,j] = exp(s[i,j] − lse[i]),  lse[i] = ln Σ_j exp(s[i,j])
//
// All tensors are float32 and row-major: q and its gradient [T, Heads·HeadDim], k and its
// gradient [T, KVHeads·HeadDim], v and its gradient [T, KVHeads·ValueDim], o and its
// gradient [T, Heads·ValueDim]; lse [Heads, T]. Scores are computed tile by tile and never
// stored: memory is linear in T.
//
// ForwardBF16 and BackwardBF16 compute the same on tensor cores.
//
// A segment's results only depend on that segment, bit for bit: they are the same in any
// batch, at any position in it, for every number of threads.
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
// Source: Dao 2023, arXiv:2307.08691 (FlashAttention-2); sinks: Xiao et al. 2023,
// arXiv:2309.17453, as in transformers 5's models/gpt_oss; values of another width than
// keys: DeepSeek-AI 2024, arXiv:2405.04434 (multi-head latent attention).
package attention

import (
	"cmp"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Params has the shape and the variant.
type Params struct {
	Segments                []int32 // start of each segment, then T: Segments[0] = 0, not decreasing
	Heads, KVHeads, HeadDim int     // Heads is a multiple of KVHeads
	Scale                   float32 // usually 1/sqrt(HeadDim)
	Window                  int     // tokens a token attends to, itself included; 0 = all before it
	SoftCap                 float32 // 0 = none
	ValueDim                int     // of a value and of a head of o; 0 = HeadDim. Devices have no kernel for other widths

	// Sinks [Heads] are logits in addition to every query's scores, with values of zero: a
	// head may attend to nothing. Nil = none. With SoftCap devices have no kernel for them.
	Sinks driver.F32
}

// Inputs are the tensors that attention reads: Q [T, Heads*HeadDim], K [T, KVHeads*HeadDim],
// V [T, KVHeads*ValueDim].
type Inputs[T driver.Element] struct{ Q, K, V driver.Slice[T] }

// Gradients are memory for the gradients of the inputs, with the same shapes.
type Gradients struct {
	Q, K, V driver.F32
	Sinks   driver.F32 // is added to; nil = not wanted
}

// Forward overwrites o and lse.
func Forward(dev driver.Device, p Params, x Inputs[float32], o, lse driver.F32) {
	t := p.check()
	checkLengths(p, t, x, o.Len(), lse)
	dispatch.Run(dev, "attention.Forward", func(c *cpu.Device) {
		forwardCPU(c, p, x.Q.Host(), x.K.Host(), x.V.Host(), o.Host(), lse.Host(), t)
		p.drainCPU(c, o.Host(), lse.Host(), t)
	}, func(c driver.Launcher) {
		p.mustHaveKernel()
		forwardPTX(c, p, x, o, lse, t)
		p.drainPTX(c, o, lse, t)
	})
}

// Backward overwrites d from do, the gradient of o, and from the o and lse that Forward
// computed:
//
//	ds[i,j] = p[i,j]·(do[i]·v[j] − do[i]·o[i])  (times 1−(s/c)² with SoftCap)
//	dq[i] = Scale·Σ_j ds[i,j]·k[j];  dk[j] = Scale·Σ_i ds[i,j]·q[i];  dv[j] = Σ_i p[i,j]·do[i]
func Backward(dev driver.Device, p Params, x Inputs[float32], o, lse, do driver.F32, d Gradients) {
	t := p.check()
	checkLengths(p, t, x, o.Len(), lse)
	checkGradients(x, o.Len(), do, Inputs[float32]{d.Q, d.K, d.V})
	dispatch.Run(dev, "attention.Backward", func(c *cpu.Device) {
		g := gradients{
			q: x.Q.Host(), k: x.K.Host(), v: x.V.Host(), o: o.Host(), lse: lse.Host(),
			do: do.Host(), dq: d.Q.Host(), dk: d.K.Host(), dv: d.V.Host(),
		}
		backwardCPU(c, p, g, t)
		p.sinksCPU(c, g, d.Sinks.Host(), t)
	}, func(c driver.Launcher) {
		p.mustHaveKernel()
		backwardPTX(c, p, x, o, lse, do, d, t)
	})
}

// check returns T.
func (p Params) check() int {
	switch {
	case len(p.Segments) == 0 || p.Segments[0] != 0:
		panic("attention: Segments does not begin with 0")
	case p.HeadDim < 1 || p.KVHeads < 1 || p.Heads < 1 || p.Heads%p.KVHeads != 0:
		panic("attention: HeadDim, KVHeads or Heads < 1, or Heads not a multiple of KVHeads")
	case p.Window < 0 || p.SoftCap < 0 || p.ValueDim < 0:
		panic("attention: negative Window, SoftCap or ValueDim")
	case !p.Sinks.IsNil() && p.Sinks.Len() != p.Heads:
		panic("attention: sinks are not [Heads]")
	}
	for i, s := range p.Segments[1:] {
		if s < p.Segments[i] {
			panic("attention: Segments decreases")
		}
	}
	return int(p.Segments[len(p.Segments)-1])
}

// checkLengths takes the number of o's elements.
func checkLengths[T driver.Element](p Params, t int, x Inputs[T], o int, lse driver.F32) {
	if x.Q.Len() != t*p.Heads*p.HeadDim || o != t*p.Heads*p.valueDim() {
		panic("attention: q is not [T, Heads*HeadDim], or o not [T, Heads*ValueDim]")
	}
	if x.K.Len() != t*p.KVHeads*p.HeadDim || x.V.Len() != t*p.KVHeads*p.valueDim() {
		panic("attention: k is not [T, KVHeads*HeadDim], or v not [T, KVHeads*ValueDim]")
	}
	if lse.Len() != p.Heads*t {
		panic("attention: lse is not [Heads, T]")
	}
}

func checkGradients[T, D driver.Element](x Inputs[T], o int, do driver.Slice[T], d Inputs[D]) {
	if do.Len() != o || d.Q.Len() != x.Q.Len() || d.K.Len() != x.K.Len() || d.V.Len() != x.V.Len() {
		panic("attention: a gradient is not shaped like its tensor")
	}
}

// valueDim is the width of a value and of a head of o.
func (p Params) valueDim() int { return cmp.Or(p.ValueDim, p.HeadDim) }

// mustHaveKernel panics for variants that only the CPU computes: models with them are
// refused for other devices when they are built.
func (p Params) mustHaveKernel() {
	if !p.Sinks.IsNil() && (p.SoftCap > 0 || p.HeadDim > TensorHeadDim) || p.valueDim() != p.HeadDim {
		panic("attention: no kernel for sinks with SoftCap or long heads, or for values of another width than keys")
	}
}

// Chunks cuts segments into pieces of at most size tokens: attention over the result only
// sees tokens in the same piece (llama4's attention_chunk_size).
func Chunks(segments []int32, size int) []int32 {
	cut := []int32{0}
	for i, to := range segments[1:] {
		for from := segments[i]; from < to; from = cut[len(cut)-1] {
			cut = append(cut, min(to, from+int32(size)))
		}
	}
	return cut
}
