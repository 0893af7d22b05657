package attention_test

import (
	"fmt"
	"math"
	"testing"

	"dataflex.dev/dataflex/kernels/attention"
	"dataflex.dev/dataflex/kernels/optest"
)

// Operations are counted over the pairs a token attends to: 4·D per pair and head forward,
// 10·D backward.
func BenchmarkAttention(b *testing.B) {
	for _, c := range []struct {
		name     string
		segments []int32
		heads    int
		kv       int
		dim      int
	}{
		{"1x1024 16/16 heads of 64", []int32{0, 1024}, 16, 16, 64},
		{"1x1024 14/2 heads of 64", []int32{0, 1024}, 14, 2, 64},
		{"1x2048 8/2 heads of 128", []int32{0, 2048}, 8, 2, 128},
		{"8x128 14/2 heads of 64", []int32{0, 128, 256, 384, 512, 640, 768, 896, 1024}, 14, 2, 64},
	} {
		x := newProblem(1, attention.Params{
			Segments: c.segments, Heads: c.heads, KVHeads: c.kv, HeadDim: c.dim, Scale: float32(1 / math.Sqrt(float64(c.dim))),
		}, 1)
		var pairs float64
		for s, lo := range c.segments[:len(c.segments)-1] {
			n := float64(c.segments[s+1] - lo)
			pairs += n * (n + 1) / 2
		}
		pairs *= float64(c.heads)
		f := optest.Dev
		o, lse := garbage(len(x.q)), garbage(c.heads*len(x.q)/c.heads/c.dim)
		dq, dk, dv := garbage(len(x.q)), garbage(len(x.k)), garbage(len(x.k))
		for _, threads := range []int{1, 2} {
			dev := optest.CPU(b, threads)
			b.Run(fmt.Sprintf("forward/%s/threads=%d", c.name, threads), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					attention.Forward(dev, x.p, attention.Inputs[float32]{Q: f(x.q), K: f(x.k), V: f(x.v)}, f(o), f(lse))
				}
				optest.GFLOPS(b, 4*float64(c.dim)*pairs)
			})
			b.Run(fmt.Sprintf("backward/%s/threads=%d", c.name, threads), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					attention.Backward(dev, x.p, attention.Inputs[float32]{Q: f(x.q), K: f(x.k), V: f(x.v)}, f(o), f(lse), f(x.do), attention.Gradients{Q: f(dq), K: f(dk), V: f(dv)})
				}
				optest.GFLOPS(b, 10*float64(c.dim)*pairs)
			})
		}
	}
}
