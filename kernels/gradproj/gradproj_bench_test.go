package gradproj

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
)

// BenchmarkProjection is one LoRA pair of SmolLM2-135M (gate_proj, rank 16,
// 33792 entries), 128 tokens a sample, projected to 4096. The metric scales to
// the whole model's 4.9 M entries.
func BenchmarkProjection(b *testing.B) {
	const in, out, rank, tokens, whole = 576, 1536, 16, 128, 4.9e6
	for _, n := range []int{8, 32} {
		lengths := make([]int, n)
		for i := range lengths {
			lengths[i] = tokens
		}
		pr := newPair(rand.New(rand.NewPCG(1, 1)), in, out, rank, 100*64, lengths...)
		adam := testAdam(rand.New(rand.NewPCG(2, 2)), pr.size())
		f := pr.factors(0, n)
		for _, kind := range []Kind{Rademacher, SJLT, Gaussian, None} {
			b.Run(fmt.Sprintf("%s/%d", kind, n), func(b *testing.B) {
				dev := cpu.New(0)
				defer dev.Close()
				dim := 4096
				if kind == None {
					dim = pr.offset + pr.size()
				}
				p := mustNew(b, kind, dim, pr.offset+pr.size(), Options{})
				dst, norm := driver.FromHost(make([]float32, n*dim)), make([]float64, n)
				for b.Loop() {
					p.Accumulate(dev, f, adam, dst, norm)
				}
				perSample := b.Elapsed().Seconds() / float64(b.N) / float64(n) / float64(pr.size()) * whole
				b.ReportMetric(1000*perSample, "ms/sample(4.9M)")
			})
		}
	}
}

// BenchmarkRademacherParts times the inner loops on one 64-row tile of 4096 columns.
func BenchmarkRademacherParts(b *testing.B) {
	const cols = 4096
	keys := newRoundKeys(1)
	bits, acc := make([]byte, 8*cols), make([]float32, cols*lanes)
	var s drawing
	b.Run("signs", func(b *testing.B) {
		for b.Loop() {
			signTile(&keys, 1, 0, cols/16, bits, cols)
		}
	})
	b.Run("lookups", func(b *testing.B) {
		signTile(&keys, 1, 0, cols/16, bits, cols)
		g := gradients{data: make([]float32, 8*64), n: 8, size: 64}
		for b.Loop() {
			s.addSigned(g, 0, cols, bits, acc)
		}
	})
}
