package decoder

import (
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver/sim"
)

// scaled is a llama of Llama-3-8B's proportions: keys and values a quarter of the width, an
// MLP of 3.5 times it.
func scaled(layers int) Config {
	c := small()
	c.Vocab, c.Layers, c.Hidden, c.Intermediate, c.Heads, c.KVHeads, c.HeadDim = 61, layers, 256, 896, 4, 1, 64
	c.Window = make([]int, layers)
	c.AttentionScale = attentionScale(64)
	return c
}

// cost is what one pass with LoRA on all linear layers launches, and the bytes that it moves.
type cost struct {
	launches uint64
	bytes    float64 // of kernels other than products, attention and the loss
}

func costOf(t *testing.T, c Config, tokens int) (sum cost) {
	dev := sim.New(sim.Options{Capability: 90})
	t.Cleanup(func() { dev.Close() })
	m := randomOn(t, dev, c, true)
	adapt(t, m, LoRA{Rank: 16, Alpha: 16, Targets: []string{"all"}})
	b := sequences(m, 1, tokens)
	dev.ResetCounters()
	if _, err := m.Backward(b, Objective{Weight: make([]float32, tokens)}); err != nil {
		t.Fatal(err)
	}
	for _, k := range dev.Totals() {
		if sum.launches += k.Launches; k.Kernel == "cast_narrow_list" {
			t.Errorf("%d launches narrow adapters in a pass: the step that updates them does", k.Launches)
		}
		if name := k.Kernel; !slices.ContainsFunc([]string{"gemm_", "experts_", "attention_", "xent_"}, func(p string) bool { return strings.HasPrefix(name, p) }) {
			sum.bytes += float64(k.GlobalBytes())
		}
	}
	return sum
}

// TestLaunches: a layer's launches for each micro-batch, and the bytes that its elementwise
// kernels move for each token, at Llama-3-8B's width of 4096. They are the difference of two
// models, of which one has a layer more.
func TestLaunches(t *testing.T) {
	const tokens = 32
	one, two := costOf(t, scaled(1), tokens), costOf(t, scaled(2), tokens)
	launches := two.launches - one.launches
	megabytes := (two.bytes - one.bytes) / tokens / float64(scaled(1).Hidden) * 4096 / 1e6
	t.Logf("%d launches, %.2f MB a token", launches, megabytes)
	if launches > 45 || megabytes > 0.75 {
		t.Errorf("%d launches a layer and micro-batch, want at most 45; elementwise kernels move %.2f MB a token and layer, want at most 0.75", launches, megabytes)
	}
}

// TestMixtureLaunches: a layer with 32 experts takes the launches of one with 16. LoRA is on all
// linears, the experts' too, and the forward pass is computed again. Expert by expert they were
// 249 and 277.
func TestMixtureLaunches(t *testing.T) {
	mixture := func(layers, experts int) Config {
		c := scaled(layers)
		c.ModelType, c.QKVBias, c.OutBias, c.MLPBias = "qwen3_moe", false, false, false
		c.MoE = MoE{Experts: experts, TopK: 2, Intermediate: 32, Normalize: true}
		for range layers {
			c.Sparse = append(c.Sparse, true)
		}
		return c
	}
	const tokens = 64
	of := func(experts int) uint64 {
		return costOf(t, mixture(2, experts), tokens).launches - costOf(t, mixture(1, experts), tokens).launches
	}
	few, many := of(16), of(32)
	t.Logf("%d and %d launches", few, many)
	if many > few || few > 90 {
		t.Errorf("a layer with 16 experts takes %d launches, one with 32 %d; want at most 90, and no more", few, many)
	}
}
