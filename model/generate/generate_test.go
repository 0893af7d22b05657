package generate

import (
	"context"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/decoder"
)

const families = "../../../shared/golden/families"

func open(t *testing.T, threads int, dir string) *decoder.Model {
	t.Helper()
	dev := cpu.New(threads)
	m, err := decoder.Load(dev, dir, decoder.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close(); dev.Close() })
	return m
}

// recorded is transformers' greedy continuation of a family, prompt included.
func recorded(t *testing.T, dir string) []int32 {
	t.Helper()
	w, err := checkpoint.OpenFile(filepath.Join(dir, "golden.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	shape, _ := w.Shape("greedy")
	ids := make([]float32, shape[1])
	if err := w.ReadFloat32("greedy", ids); err != nil {
		t.Fatal(err)
	}
	var out []int32
	for _, id := range ids {
		out = append(out, int32(id))
	}
	return out
}

// TestFamilies: every family's recorded greedy continuation, among other prompts.
func TestFamilies(t *testing.T) {
	dirs, _ := filepath.Glob(filepath.Join(families, "*", "config.json"))
	next, _ := filepath.Glob(filepath.Join(families, "../../golden-next/families/*/config.json"))
	if root := os.Getenv("DATAFLEX_FAMILIES"); root != "" {
		dirs, _ = filepath.Glob(filepath.Join(root, "*", "config.json"))
		next = nil
	}
	for _, file := range next {
		if c, err := checkpoint.ReadModelConfig(filepath.Dir(file)); err == nil && decoder.Supports(c.ModelType) {
			dirs = append(dirs, file)
		}
	}
	if len(dirs) == 0 {
		t.Skip("no recorded values")
	}
	for _, file := range dirs {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			want := recorded(t, dir)
			m := open(t, 2, dir)
			prompts := [][]int32{want[:4], want[:9], want[2:20], {7}}
			got, err := Generate(context.Background(), m, prompts, Options{MaxNewTokens: 12, Batch: 3})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got[1], want[9:]) {
				t.Errorf("got %v, want %v", got[1], want[9:])
			}
			// A prompt alone gives the same.
			alone, err := Generate(context.Background(), m, prompts[2:3], Options{MaxNewTokens: 12})
			if err != nil || !slices.Equal(alone[0], got[2]) {
				t.Errorf("alone %v (%v), in a batch %v", alone, err, got[2])
			}
		})
	}
}

// tiny is a random model of our own.
func tiny(t *testing.T) *decoder.Model {
	t.Helper()
	dir := t.TempDir()
	config := `{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
		"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 40, "initializer_range": 0.5, "tie_word_embeddings": true}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	dev := cpu.New(2)
	m, err := decoder.Init(dev, dir, decoder.Options{}, rand.New(rand.NewPCG(1, 1)).NormFloat64)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close(); dev.Close() })
	return m
}

// TestBatching: sampled continuations do not depend on how many run at a time, stop tokens and
// lengths are respected, and the seed determines the draws.
func TestBatching(t *testing.T) {
	m := tiny(t)
	var prompts [][]int32
	for i := range 9 {
		prompts = append(prompts, []int32{int32(i), 3, int32(2 * i)}[:1+i%3])
	}
	o := Options{MaxNewTokens: 15, Temperature: 1.3, TopK: 20, TopP: 0.95, RepetitionPenalty: 1.2, Stop: []int32{5, 6, 7}, Seed: 3}
	var want [][]int32
	stopped := 0
	for _, batch := range []int{1, 2, 4, 16} {
		o.Batch = batch
		got, err := Generate(context.Background(), m, prompts, o)
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = got
		}
		for i := range prompts {
			if !slices.Equal(got[i], want[i]) {
				t.Errorf("batch %d, prompt %d: %v, alone %v", batch, i, got[i], want[i])
			}
			if len(got[i]) < 15 {
				stopped++
			}
			if len(got[i]) > 15 || slices.ContainsFunc(got[i], func(id int32) bool { return id >= 5 && id <= 7 }) {
				t.Errorf("continuation %v", got[i])
			}
		}
	}
	if stopped == 0 {
		t.Error("nothing was ended by a stop token")
	}
	o.Seed = 4
	if other, err := Generate(context.Background(), m, prompts, o); err != nil || slices.EqualFunc(other, want, slices.Equal) {
		t.Errorf("another seed gives the same (%v)", err)
	}
}

// TestListeners: Grown is called for every token and may end a continuation, Done once for
// each.
func TestListeners(t *testing.T) {
	m := tiny(t)
	prompts := [][]int32{{1, 2}, {3}, {4, 5, 6}}
	o := Options{MaxNewTokens: 6, Batch: 2}
	whole, err := Generate(context.Background(), m, prompts, o)
	if err != nil {
		t.Fatal(err)
	}
	grown, done := map[int]int{}, map[int][]int32{}
	o.Grown = func(i int, c []int32) bool {
		if grown[i]++; len(c) != grown[i] || !slices.Equal(c, whole[i][:len(c)]) {
			t.Errorf("prompt %d: told %v of %v", i, c, whole[i])
		}
		return i == 1 && len(c) == 2
	}
	o.Done = func(i int, c []int32) { done[i] = c }
	got, err := Generate(context.Background(), m, prompts, o)
	if err != nil || !slices.Equal(got[1], whole[1][:2]) || !slices.Equal(got[2], whole[2]) {
		t.Errorf("%v, %v, whole %v", got, err, whole)
	}
	for i := range prompts {
		if !slices.Equal(done[i], got[i]) {
			t.Errorf("prompt %d: done with %v, got %v", i, done[i], got[i])
		}
	}
}

// TestPenalised: for the repetition penalty a token of Penalised counts as part of the prompt.
func TestPenalised(t *testing.T) {
	m := tiny(t)
	o := Options{MaxNewTokens: 1, RepetitionPenalty: 1e6}
	first, err := Generate(context.Background(), m, [][]int32{{1, 2}}, o)
	if err != nil {
		t.Fatal(err)
	}
	o.Penalised = [][]int32{first[0], nil}
	again, err := Generate(context.Background(), m, [][]int32{{1, 2}, {1, 2}}, o)
	if err != nil || again[0][0] == first[0][0] || again[1][0] != first[0][0] {
		t.Errorf("first %v, then %v, %v", first, again, err)
	}
}

func TestErrors(t *testing.T) {
	m := tiny(t)
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range []struct {
		ctx     context.Context
		prompts [][]int32
		o       Options
		want    string
	}{
		{context.Background(), [][]int32{{1}}, Options{}, "generate: max_new_tokens 0 must be at least 1"},
		{context.Background(), [][]int32{{1}}, Options{MaxNewTokens: 1, TopP: 2}, "generate: top_p 2 must be within 0 and 1"},
		{context.Background(), [][]int32{{1}, {}}, Options{MaxNewTokens: 1}, "generate: prompt 1 is empty"},
		{context.Background(), [][]int32{{99}}, Options{MaxNewTokens: 1}, "generate: token 99 at position 0 of the batch: the model's vocabulary has 40 entries"},
		{canceled, [][]int32{{1}}, Options{MaxNewTokens: 1}, "context canceled"},
	} {
		if _, err := Generate(c.ctx, m, c.prompts, c.o); err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

// frequencies draws n times from logits.
func frequencies(o Options, logits []float32, tokens []int32, n int) []float64 {
	c := chooser{o: o, draws: rand.New(rand.NewPCG(7, 8))}
	f := make([]float64, len(logits))
	for range n {
		f[c.choose(slices.Clone(logits), tokens)] += 1 / float64(n)
	}
	return f
}

// TestChoose compares the draws with the distributions defined by the options.
func TestChoose(t *testing.T) {
	// Probabilities .1, .4, .3, .2 at temperature 1.
	p := []float64{0.1, 0.4, 0.3, 0.2}
	var logits []float32
	for _, x := range p {
		logits = append(logits, float32(math.Log(x)))
	}
	root := math.Sqrt(0.1) + math.Sqrt(0.4) + math.Sqrt(0.3) + math.Sqrt(0.2)
	for name, c := range map[string]struct {
		o      Options
		tokens []int32
		want   []float64
	}{
		"plain":       {Options{Temperature: 1}, nil, p},
		"temperature": {Options{Temperature: 2}, nil, []float64{math.Sqrt(0.1) / root, math.Sqrt(0.4) / root, math.Sqrt(0.3) / root, math.Sqrt(0.2) / root}},
		"top k":       {Options{Temperature: 1, TopK: 2}, nil, []float64{0, 4. / 7, 3. / 7, 0}},
		"top p":       {Options{Temperature: 1, TopP: 0.75}, nil, []float64{0, 4. / 9, 3. / 9, 2. / 9}},
		"both":        {Options{Temperature: 1, TopK: 3, TopP: 0.75}, nil, []float64{0, 4. / 7, 3. / 7, 0}},
		"greedy":      {Options{}, nil, []float64{0, 1, 0, 0}},
		// Negative logits are multiplied: .4 becomes .16, once.
		"penalty": {Options{Temperature: 1, RepetitionPenalty: 2}, []int32{1, 1}, []float64{0.1 / 0.76, 0.16 / 0.76, 0.3 / 0.76, 0.2 / 0.76}},
	} {
		const n = 40000
		got := frequencies(c.o, logits, c.tokens, n)
		for i, want := range c.want {
			// Five standard deviations, and the sum's rounding.
			if math.Abs(got[i]-want) > 5*math.Sqrt(want*(1-want)/n)+1e-9 {
				t.Errorf("%s: frequencies %.4f, want %.4f", name, got, c.want)
				break
			}
		}
	}
}
