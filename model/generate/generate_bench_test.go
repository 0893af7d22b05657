package generate

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/model/decoder"
)

// BenchmarkGenerate continues 16 prompts of 64 tokens by 32 with a model of the shape of
// SmolLM2-135M.
func BenchmarkGenerate(b *testing.B) {
	dir := b.TempDir()
	config := `{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
		"num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152, "tie_word_embeddings": true}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o644); err != nil {
		b.Fatal(err)
	}
	dev := cpu.New(2)
	defer dev.Close()
	r := rand.New(rand.NewPCG(1, 1))
	m, err := decoder.Init(dev, dir, decoder.Options{}, func() float64 { return 2*r.Float64() - 1 })
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	prompts := make([][]int32, 16)
	for i := range prompts {
		for range 64 {
			prompts[i] = append(prompts[i], r.Int32N(49152))
		}
	}
	for b.Loop() {
		if _, err := Generate(context.Background(), m, prompts, Options{MaxNewTokens: 32, Temperature: 1, TopP: 0.9}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*16*32)/b.Elapsed().Seconds(), "tokens/s")
}
