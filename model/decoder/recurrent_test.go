package decoder

import (
	"bytes"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/model/checkpoint"
)

const recurrentFolder = "testdata/recurrent_families"

// TestRecurrentFamilies: losses, every gradient and greedy continuations equal transformers' in
// the families with short convolutions or a gated delta rule, over more than one chunk of the
// rule; and a model that is loaded and saved has the tensors of its folder.
func TestRecurrentFamilies(t *testing.T) {
	ids, models, _ := plainRecords(t, recurrentFolder)
	for name, want := range models {
		t.Run(name, func(t *testing.T) {
			dir, out := filepath.Join(recurrentFolder, name), t.TempDir()
			m := load(t, dir, Options{})
			meanLoss(t, m, ids, want.Loss)
			plainGreedy(t, m, ids, want.Greedy)
			plainGradients(t, m, ids, want.Gradients)
			must(t, m.SaveFull(out))
			sameTensors(t, filepath.Join(out, storage.ModelFile), filepath.Join(dir, storage.ModelFile))
		})
	}
}

// TestRecurrentFamiliesOnTheInterpreter: with the PTX kernels losses, gradients of all weights
// and of adapters, and generation equal transformers' and the host's.
func TestRecurrentFamiliesOnTheInterpreter(t *testing.T) {
	ids, models, _ := plainRecords(t, recurrentFolder)
	for _, name := range recurrentShapes {
		t.Run(name, func(t *testing.T) {
			dir, dev := filepath.Join(recurrentFolder, name), sim.New(sim.Options{})
			m, err := Load(dev, dir, Options{})
			must(t, err)
			defer m.Close()
			meanLoss(t, m, ids, models[name].Loss)
			plainGreedy(t, m, ids, models[name].Greedy)
			plainGradients(t, m, ids, models[name].Gradients)

			host := load(t, dir, Options{})
			b := packedRows(ids, 3, 66, 2, 20)
			o := Objective{Weight: sampleWeights(b), Train: true, DropoutSeed: 7}
			for _, x := range []*Model{host, m} {
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

// TestDeltaKeysOnDevices: keys longer than any kernel supports are refused before any weights
// are read.
func TestDeltaKeysOnDevices(t *testing.T) {
	dir := t.TempDir()
	config, err := os.ReadFile(filepath.Join(recurrentFolder, "qwen3_next", storage.ConfigFile))
	must(t, err)
	config = bytes.Replace(config, []byte(`"linear_key_head_dim": 6`), []byte(`"linear_key_head_dim": 129`), 1)
	must(t, os.WriteFile(filepath.Join(dir, storage.ConfigFile), config, 0o600))
	_, err = Init(sim.New(sim.Options{}), dir, Options{}, nil)
	want := dir + `/config.json: model_type "qwen3_next" needs a gated delta rule with keys of 129, which has no kernel for --device sim: take --device cpu`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// recurrentShapes has a folder of each kind.
var recurrentShapes = []string{"lfm2-biased", "qwen3_next-dense", "qwen3_5_text-biased", "qwen3_5_moe_text"}

// packedRows packs rows of the given lengths.
func packedRows(ids []int32, lengths ...int) Batch {
	b := Batch{Segments: []int32{0}}
	for i, n := range lengths {
		row := following(ids[i : i+n])
		b.Tokens, b.Targets = append(b.Tokens, row.Tokens...), append(b.Targets, row.Targets...)
		b.Segments = append(b.Segments, int32(len(b.Tokens)))
	}
	return b
}

// TestRecurrentSamples: see samplesAsAlone; here rows also keep their own recurrent state.
func TestRecurrentSamples(t *testing.T) {
	for _, name := range recurrentShapes {
		t.Run(name, func(t *testing.T) { samplesAsAlone(t, recurrentFolder, name, 3, 66, 2, 20) })
	}
}

// TestRecurrentCache: prompts and steps with a cache give the logits of a pass over the whole
// sequence, even if a slot is reused, and whatever is in the other slots.
func TestRecurrentCache(t *testing.T) {
	ids, _, _ := plainRecords(t, recurrentFolder)
	for _, name := range recurrentShapes {
		t.Run(name, func(t *testing.T) {
			m := load(t, filepath.Join(recurrentFolder, name), Options{})
			cache, err := m.NewCache(3, len(ids))
			must(t, err)
			defer cache.Close()
			_, err = cache.Prefill([]int{0, 1, 2}, [][]int32{ids[:9], ids[9:30], ids[:1]})
			must(t, err)
			z, err := cache.Prefill([]int{2, 0}, [][]int32{ids[:2], ids[5:60]})
			must(t, err)
			for i := range 6 {
				z = slices.Clone(z) // valid until the next call
				for row, seen := range [][]int32{ids[:2+i], ids[5 : 60+i]} {
					whole := logits(t, m, following(seen))
					v := m.config.Vocab
					within(t, "logits", z[row*v:(row+1)*v], whole[len(whole)-v:], 1e-4)
				}
				z, err = cache.Step([]int{2, 0}, []int32{ids[2+i], ids[60+i]})
				must(t, err)
			}
		})
	}
}

// TestRecurrentMemory: see takesPlannedMemory.
func TestRecurrentMemory(t *testing.T) {
	for _, name := range recurrentShapes {
		takesPlannedMemory(t, recurrentFolder, name, 1, 1, 3, 30, 1, 34)
	}
}

// TestRecurrentInit: in a new model the decay rates spread over their range, and norms with 1+w
// compute w = 1.
func TestRecurrentInit(t *testing.T) {
	m, err := Init(cpu.New(1), filepath.Join(recurrentFolder, "qwen3_next"), Options{}, rand.New(rand.NewPCG(1, 1)).NormFloat64)
	must(t, err)
	defer m.Close()
	for p := range m.parameters() {
		x := p.Data.Host()
		ends := func(s string) bool { return strings.HasSuffix(p.Name, s) }
		switch {
		case ends("A_log") && (slices.Min(x) < float32(math.Log(0.01)) || slices.Max(x) > float32(math.Log(16)) || slices.Min(x) == slices.Max(x)),
			ends("dt_bias") && (slices.Min(x) != 1 || slices.Max(x) != 1),
			ends("layernorm.weight") && slicesNorm(x) != 0,
			ends("linear_attn.norm.weight") && (slices.Min(x) != 1 || slices.Max(x) != 1):
			t.Errorf("%s begins as %v", p.Name, x)
		}
	}
}

// TestRecurrentTargets: `all` means every linear layer but the head, and no convolution.
func TestRecurrentTargets(t *testing.T) {
	for name, want := range map[string]string{
		"lfm2":                "in_proj, out_proj, w1, w3, w2, q_proj, k_proj, v_proj",
		"qwen3_5_text-biased": "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, out_proj, in_proj_qkv, in_proj_z, in_proj_b, in_proj_a",
		"qwen3_5_moe_text":    "out_proj, in_proj_qkv, in_proj_z, in_proj_b, in_proj_a, gate_proj, up_proj, down_proj, shared_expert_gate, q_proj, k_proj, v_proj, o_proj",
		"qwen3_next":          "in_proj_qkvz, in_proj_ba, out_proj, gate, gate_proj, up_proj, down_proj, shared_expert_gate, q_proj, k_proj, v_proj, o_proj",
	} {
		m := load(t, filepath.Join(recurrentFolder, name), Options{})
		if got := strings.Join(lastNames(m.modules()), ", "); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// TestFurtherTokens: released folders of qwen3_next hold a head that predicts further
// tokens, which is left out, as in transformers; a tensor of no such name is not.
func TestFurtherTokens(t *testing.T) {
	for name, taken := range map[string]bool{"mtp.fc.weight": true, "model.mtp.weight": false} {
		dir, out := filepath.Join(recurrentFolder, "qwen3_next"), t.TempDir()
		w, err := checkpoint.OpenFile(filepath.Join(dir, storage.ModelFile))
		must(t, err)
		tensors := []checkpoint.Tensor{{Name: name, Shape: []int{1}, F32: []float32{1}}}
		for _, n := range w.Names() {
			shape, _ := w.Shape(n)
			tensors = append(tensors, checkpoint.Tensor{Name: n, Shape: shape, F32: floats(t, w, n)})
		}
		must(t, w.Close())
		must(t, checkpoint.WriteSafetensors(filepath.Join(out, storage.ModelFile), nil, tensors))
		config, err := os.ReadFile(filepath.Join(dir, storage.ConfigFile))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(out, storage.ConfigFile), config, 0o600))
		m, err := Load(cpu.New(1), out, Options{})
		if (err == nil) != taken {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			m.Close()
		}
	}
}

// TestRecurrentInBF16: with bf16 matrices the convolutions and the rule stay float32; losses
// and gradients equal the host's within bf16's rounding, with both kinds of kernels.
func TestRecurrentInBF16(t *testing.T) {
	ids, _, _ := plainRecords(t, recurrentFolder)
	for _, name := range []string{"lfm2", "qwen3_5_text"} {
		dir := filepath.Join(recurrentFolder, name)
		host := load(t, dir, Options{})
		b := packedRows(ids, 3, 40)
		o := Objective{Weight: sampleWeights(b)}
		lora := LoRA{Rank: 2, Alpha: 3, Targets: []string{"all"}}
		adapt(t, host, lora)
		want := passOn(t, host, b, o)
		for _, capability := range []int{80, 90} {
			m, err := Load(sim.New(sim.Options{Capability: capability}), dir, Options{BF16: true})
			must(t, err)
			if !m.BF16() {
				t.Error("no matrix is bf16")
			}
			adapt(t, m, lora)
			got := passOn(t, m, b, o)
			if e := distance(got.losses, want.losses); e > 1e-2 {
				t.Errorf("%s on %d: losses are off by %.1e of their length", name, capability, e)
			}
			for p, g := range want.gradients {
				if e := distance(got.gradients[p], g); e > 0.2 {
					t.Errorf("%s on %d: gradient of %s is off by %.1e of its length", name, capability, p, e)
				}
			}
			m.Close()
		}
	}
}

// TestStackedExperts: released folders of qwen3_5_moe have the experts of a layer in two
// tensors, saved folders have a matrix per expert. Both can be read, and are saved as they
// were.
func TestStackedExperts(t *testing.T) {
	ids, models, _ := plainRecords(t, recurrentFolder)
	dir, out, again := filepath.Join(recurrentFolder, "qwen3_5_moe_text"), t.TempDir(), t.TempDir()
	m := load(t, dir, Options{})
	var tensors []checkpoint.Tensor
	for _, p := range m.base() {
		tensors = append(tensors, checkpoint.Tensor{Name: p.Name, Shape: p.Shape, F32: p.Data.Host()})
	}
	must(t, checkpoint.WriteSafetensors(filepath.Join(out, storage.ModelFile), nil, tensors))
	config, err := os.ReadFile(filepath.Join(dir, storage.ConfigFile))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(out, storage.ConfigFile), config, 0o600))
	stacked := load(t, out, Options{})
	meanLoss(t, stacked, ids, models["qwen3_5_moe_text"].Loss)
	must(t, stacked.SaveFull(again))
	sameTensors(t, filepath.Join(again, storage.ModelFile), filepath.Join(out, storage.ModelFile))
}
