package decoder

import (
	"testing"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/sim"
)

// TestFamiliesOnTheInterpreter: losses and gradients of the PTX kernels equal the host's,
// for families that together use everything that layers can compute: norms of heads, soft
// caps, norms after branches, two rope tables, fused projections, scales, experts; with
// adapters with dropout, noise, and the routers' balance loss.
func TestFamiliesOnTheInterpreter(t *testing.T) {
	all := shapes()
	for _, name := range []string{"qwen3", "gemma2", "gemma3", "phi3", "granite", "qwen2_moe", "exaone4", "ministral3", "nanochat", "olmo", "cohere2", "cohere", "phi", "stablelm", "starcoder2", "nemotron", "falcon", "gpt2", "minimax_m2", "glm4_moe", "ernie4_5_moe", "llama4", "gpt_oss", "deepseek_v3"} {
		c := all[name]
		t.Run(name, func(t *testing.T) {
			dev := sim.New(sim.Options{})
			host, m := randomOn(t, cpu.New(2), c, false), randomOn(t, dev, c, false)
			b := ragged(host)
			o := Objective{Weight: sampleWeights(b), Smoothing: 0.1, Train: true, DropoutSeed: 7, Balance: 0.3, NEFTune: 5}
			for _, x := range []*Model{host, m} {
				spread(t, x)
				adapt(t, x, LoRA{Rank: 2, Alpha: 3, Dropout: 0.2, Targets: []string{"all"}})
			}
			want, got := passOn(t, host, b, o), passOn(t, m, b, o)
			within(t, "losses", got.losses, want.losses, 1e-5)
			for p, g := range want.gradients {
				if slicesNorm(g) > 0 { // some experts have no token
					within(t, p, got.gradients[p], g, 2e-4)
				}
			}
		})
	}
}

// TestFamiliesInBF16: families whose projections are stored differently from llama's, in
// bf16.
func TestFamiliesInBF16(t *testing.T) {
	all := shapes()
	for _, name := range []string{"gemma2", "phi3", "qwen2_moe", "phi", "gpt2", "stablelm", "falcon", "glm4_moe", "llama4"} {
		c := all[name]
		wide := tensorCored()
		c.Vocab, c.Hidden, c.Intermediate, c.Heads, c.KVHeads, c.HeadDim = wide.Vocab, wide.Hidden, wide.Intermediate, wide.Heads, wide.KVHeads, wide.HeadDim
		c.AttentionScale = wide.AttentionScale
		if c.MoE.Experts > 0 {
			c.MoE.TopK, c.MoE.Intermediate, c.MoE.Shared = c.MoE.Experts, 16, 24 // no choice that rounding could change
		}
		t.Run(name, func(t *testing.T) {
			host, m := randomOn(t, cpu.New(2), c, false), randomOn(t, sim.New(sim.Options{}), c, true)
			b := ragged(host)
			o := Objective{Weight: sampleWeights(b), Train: true, DropoutSeed: 7, Balance: 0.3}
			for _, x := range []*Model{host, m} {
				spread(t, x)
				adapt(t, x, LoRA{Rank: 2, Alpha: 3, Dropout: 0.2, Targets: []string{"all"}})
			}
			want, got := passOn(t, host, b, o), passOn(t, m, b, o)
			if e := distance(got.losses, want.losses); e > 1e-2 {
				t.Errorf("losses are off by %.1e of their length", e)
			}
			for p, g := range want.gradients {
				// gemma2's large activations are sensitive: rounding the weights alone is 7 %.
				if e := distance(got.gradients[p], g); e > 0.2 {
					t.Errorf("gradient of %s is off by %.1e of its length", p, e)
				}
			}
		})
	}
}

// TestChangesInBF16: changes of a model's shape work if its matrices are bf16: a larger
// vocabulary, a separate head, an adapter merged into the weights.
func TestChangesInBF16(t *testing.T) {
	c := tensorCored()
	host, m := randomOn(t, cpu.New(1), c, false), randomOn(t, sim.New(sim.Options{}), c, true)
	b := ragged(host)
	var losses [2][]float32
	for i, x := range []*Model{host, m} {
		spread(t, x)
		if err := x.ResizeVocab(70, func() float64 { return 0.5 }); err != nil {
			t.Fatal(err)
		}
		adapt(t, x, LoRA{Rank: 2, Alpha: 3, Targets: []string{"all"}, ModulesToSave: []string{"lm_head"}})
		if err := x.Merge(); err != nil {
			t.Fatal(err)
		}
		var err error
		if losses[i], err = x.Losses(b, 0); err != nil {
			t.Fatal(err)
		}
	}
	if e := distance(losses[1], losses[0]); e > 1e-2 {
		t.Errorf("losses are off by %.1e of their length", e)
	}
	predicted, err := m.Predictions(b)
	if err != nil {
		t.Fatal(err)
	}
	want, err := host.Predictions(b)
	if err != nil {
		t.Fatal(err)
	}
	same := 0
	for i := range want {
		if predicted[i] == want[i] {
			same++
		}
	}
	if same < len(want)-1 {
		t.Errorf("%d of %d predictions are the host's", same, len(want))
	}
}

// TestGenerationOnTheInterpreter: prompts and steps with a cache give the host's logits, in
// float32 and in bf16.
func TestGenerationOnTheInterpreter(t *testing.T) {
	c := tensorCored()
	host := randomOn(t, cpu.New(1), c, false)
	spread(t, host)
	for _, half := range []bool{false, true} {
		m := randomOn(t, sim.New(sim.Options{}), c, half)
		spread(t, m)
		var logits [2][]float32
		for i, x := range []*Model{host, m} {
			cache, err := x.NewCache(2, 8)
			if err != nil {
				t.Fatal(err)
			}
			for _, pass := range []func() ([]float32, error){
				func() ([]float32, error) {
					return cache.Prefill([]int{1, 0}, [][]int32{{3, 4, 5}, {7, 8, 9, 10, 11}})
				},
				func() ([]float32, error) { return cache.Step([]int{0, 1}, []int32{12, 13}) },
			} {
				z, err := pass()
				if err != nil {
					t.Fatal(err)
				}
				logits[i] = append(logits[i], z...)
			}
			cache.Close()
		}
		allowed := 1e-5
		if half {
			allowed = 2e-2
		}
		if e := distance(logits[1], logits[0]); e > allowed {
			t.Errorf("bf16 %v: logits are off by %.1e of their length", half, e)
		}
	}
}

// TestLongHeadsOnTheInterpreter: heads of 256, gemma's and qwen3_5's, train and generate
// with the kernels as on the host, also with matrices in bf16.
func TestLongHeadsOnTheInterpreter(t *testing.T) {
	c := shapes()["gemma2"]
	c.HeadDim, c.AttentionScale = 256, attentionScale(256)
	host := randomOn(t, cpu.New(2), c, false)
	b := ragged(host)
	o := Objective{Weight: sampleWeights(b), Train: true, DropoutSeed: 7}
	lora := LoRA{Rank: 2, Alpha: 3, Targets: []string{"all"}}
	spread(t, host)
	adapt(t, host, lora)
	want := passOn(t, host, b, o)
	for _, half := range []bool{false, true} {
		m := randomOn(t, sim.New(sim.Options{}), c, half)
		spread(t, m)
		adapt(t, m, lora)
		got := passOn(t, m, b, o)
		allowed := 1e-4
		if m.BF16() {
			allowed = 0.2
		}
		if e := distance(got.losses, want.losses); e > allowed/10 {
			t.Errorf("bf16 %v: losses are off by %.1e of their length", half, e)
		}
		for p, g := range want.gradients {
			if e := distance(got.gradients[p], g); e > allowed {
				t.Errorf("bf16 %v: gradient of %s is off by %.1e of its length", half, p, e)
			}
		}
		if half {
			continue
		}
		var z [2][]float32
		for i, x := range []*Model{host, m} {
			cache, err := x.NewCache(1, 8)
			must(t, err)
			_, err = cache.Prefill([]int{0}, [][]int32{{3, 4, 5}})
			must(t, err)
			z[i], err = cache.Step([]int{0}, []int32{7})
			must(t, err)
			z[i] = append([]float32(nil), z[i]...)
			cache.Close()
		}
		if e := distance(z[1], z[0]); e > 1e-4 {
			t.Errorf("logits of a step are off by %.1e of their length", e)
		}
	}
}
