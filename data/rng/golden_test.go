package rng

import (
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"slices"
	"testing"
)

// readShared decodes a file of the reference material beside the checkout, or skips.
func readShared(t *testing.T, path string, into any) {
	t.Helper()
	raw, err := os.ReadFile("../../../shared/" + path)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("no ../shared beside the checkout")
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
}

func TestSharedStreams(t *testing.T) {
	var seeds []map[string]json.RawMessage
	readShared(t, "golden/streams/random_streams.json", &seeds)
	sub := func(m map[string]json.RawMessage, key string) map[string]json.RawMessage {
		var out map[string]json.RawMessage
		if err := json.Unmarshal(m[key], &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	w := make([]float32, 50)
	for i := range w {
		w[i] = float32(math.Pow(float64(i+1), 1.5))
	}
	ints := must[[]int](t)
	for _, m := range seeds {
		var seed uint64
		if err := json.Unmarshal(m["seed"], &seed); err != nil {
			t.Fatal(err)
		}
		g := func() *Torch { return NewTorch(seed) }
		same(t, m, "torch_randint_0_37_x40", 0, g().Randint(0, 37, 40))
		same(t, m, "torch_randint_0_52002_x20", 0, g().Randint(0, 52002, 20))
		perms := sub(m, "torch_randperm")
		for key, n := range map[string]int{"1": 1, "2": 2, "7": 7, "64": 64, "300": 300} {
			same(t, perms, key, 0, g().Randperm(n))
		}
		same(t, m, "torch_randperm_30000_first50", 0, g().Randperm(30000)[:50])
		same(t, m, "torch_rand_x10_f32", 0, fill(10, g().Float32))
		normal := make([]float32, 40)
		g().Normal(normal[:6], 0, 1)
		same(t, m, "torch_randn_x6_f32", 1e-6, normal[:6])
		g().Normal(normal, 0, 1)
		same(t, m, "torch_randn_x40_f32", 1e-6, normal)
		same(t, m, "torch_multinomial_50w_20_norepl", 0, ints(g().Multinomial(w, 20, false)))
		same(t, m, "torch_multinomial_50w_20_repl", 0, ints(g().Multinomial(w, 20, true)))
		drawn := g().Int63()
		same(t, sub(m, "global_randint_int64_seed_then_sampler"), "seed_drawn", 0, drawn)
		same(t, m, "RandomSampler_37_no_generator", 0, NewTorch(uint64(drawn)).Randperm(37))
		same(t, m, "RandomSampler_37_generator", 0, g().Randperm(37))

		pcg, legacy, py := sub(m, "np_default_rng"), sub(m, "np_RandomState"), sub(m, "python_random")
		stream := NewPCG64(seed) // one stream through all five
		same(t, pcg, "integers_0_1000_x20", 0, stream.Integers(0, 1000, 20))
		same(t, pcg, "random_x5", 0, stream.Random(5))
		same(t, pcg, "permutation_30", 0, stream.Permutation(30))
		same(t, pcg, "choice_100_10_norepl", 0, ints(stream.Choice(100, 10, false, nil)))
		same(t, pcg, "choice_100_10_repl", 0, ints(stream.Choice(100, 10, true, nil)))
		global := NewRandomState(uint32(seed))
		same(t, legacy, "permutation_30", 0, global.Permutation(30))
		same(t, legacy, "rand_x5", 0, global.Random(5))
		same(t, legacy, "choice_40_12_p_norepl", 0, ints(global.Choice(40, 12, false, ramp())))
		same(t, legacy, "choice_40_12_p_repl", 0, ints(global.Choice(40, 12, true, ramp())))
		same(t, legacy, "dirichlet_ones_4", 1e-14, global.Dirichlet([]float64{1, 1, 1, 1}))
		same(t, py, "random_x5", 0, fill(1, NewPython(seed).Float64))
		same(t, py, "sample_50_8", 0, NewPython(seed).Sample(50, 8))
	}
}

// LLaMA-Factory's interleaving draws datasets with default_rng(42).choice(2, p=[.7, .3])
// and shuffles with all three permutations.
func TestSharedProcessorVectors(t *testing.T) {
	var v struct {
		Rng struct {
			Torch  map[string][]int `json:"torch_randperm"`
			PCG    map[string][]int `json:"numpy_default_rng_permutation"`
			Legacy map[string][]int `json:"numpy_legacy_permutation"`
			Choice []int            `json:"numpy_default_rng_choice_p07_03_seed42_first20"`
		}
	}
	readShared(t, "data/llamafactory/processor_vectors.json", &v)
	check := func(name string, got, want []int) {
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	check("torch 0", NewTorch(0).Randperm(10), v.Rng.Torch["seed0_n10"])
	check("torch 43", NewTorch(43).Randperm(10), v.Rng.Torch["seed43_n10"])
	check("torch 42", NewTorch(42).Randperm(100), v.Rng.Torch["seed42_n100"])
	check("pcg", NewPCG64(42).Permutation(100), v.Rng.PCG["seed42_n100"])
	check("legacy", NewRandomState(42).Permutation(100), v.Rng.Legacy["seed42_n100"])
	choice, err := NewPCG64(42).Choice(2, 20, true, []float64{0.7, 0.3})
	if err != nil {
		t.Fatal(err)
	}
	check("choice", choice, v.Rng.Choice)
}
