package decoder

import (
	"math"
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

const moeFolder = "testdata/moe_families"

// TestMoEFamilies: losses, balance losses, every gradient and greedy continuations equal
// transformers' in the families with latent attention, routers with scores, sinks, chunked
// attention or experts of their own; a saved model has the tensors of its folder.
func TestMoEFamilies(t *testing.T) {
	ids, models, _ := plainRecords(t, moeFolder)
	for name, want := range models {
		t.Run(name, func(t *testing.T) {
			dir, out := filepath.Join(moeFolder, name), t.TempDir()
			m := load(t, dir, Options{})
			meanLoss(t, m, ids, want.Loss)
			if want.Packed {
				inNumbers(t, m, ids, want.Loss)
				return
			}
			balance, err := m.BalanceLoss()
			must(t, err)
			if math.Abs(balance-want.Aux) > 1e-6*want.Aux {
				t.Errorf("balance loss %v, want %v", balance, want.Aux)
			}
			plainGreedy(t, m, ids, want.Greedy)
			plainGradients(t, m, ids, want.Gradients)
			must(t, m.SaveFull(out))
			sameTensors(t, filepath.Join(out, storage.ModelFile), filepath.Join(dir, storage.ModelFile))

			if m.family.hostOnly(&m.config) != "" {
				return
			}
			dev := sim.New(sim.Options{})
			m, err = Load(dev, dir, Options{})
			must(t, err)
			defer m.Close()
			plainGreedy(t, m, ids, want.Greedy)
			plainGradients(t, m, ids, want.Gradients)
			meanLoss(t, m, ids, want.Loss)
			hopper, err := Load(sim.New(sim.Options{Capability: 90}), dir, Options{})
			must(t, err)
			defer hopper.Close()
			meanLoss(t, hopper, ids, want.Loss)
		})
	}
}

// inNumbers: a model whose experts were stored in MXFP4 is saved unquantised.
func inNumbers(t *testing.T, m *Model, ids []int32, want float64) {
	t.Helper()
	if notes := m.Notes(); len(notes) != 1 || !strings.Contains(notes[0], "MXFP4") {
		t.Errorf("notes %q", notes)
	}
	out := t.TempDir()
	must(t, m.SaveFull(out))
	config, err := os.ReadFile(filepath.Join(out, storage.ConfigFile))
	must(t, err)
	if strings.Contains(string(config), "quantization_config") {
		t.Error("the saved config.json says that its weights are quantised")
	}
	meanLoss(t, load(t, out, Options{}), ids, want)
}

// TestMoECache: generation token by token, with two sequences in the cache, gives the logits of
// a pass over each whole sequence.
func TestMoECache(t *testing.T) {
	ids, models, _ := plainRecords(t, moeFolder)
	for name := range models {
		t.Run(name, func(t *testing.T) {
			m := load(t, filepath.Join(moeFolder, name), Options{})
			other := slices.Clone(ids[3:12])
			cache, err := m.NewCache(2, len(ids))
			must(t, err)
			defer cache.Close()
			z, err := cache.Prefill([]int{1, 0}, [][]int32{ids[:7], other[:2]})
			must(t, err)
			for n := 7; ; n++ {
				got := slices.Clone(z) // the next pass may reuse its memory
				want := append(lastLogits(t, m, ids[:n]), lastLogits(t, m, other[:n-5])...)
				within(t, "logits", got, want, 1e-5)
				if n == len(ids) || n-5 == len(other) {
					return
				}
				z, err = cache.Step([]int{1, 0}, []int32{ids[n], other[n-5]})
				must(t, err)
			}
		})
	}
}

func lastLogits(t *testing.T, m *Model, ids []int32) []float32 {
	t.Helper()
	all := logits(t, m, following(ids))
	return slices.Clone(all[len(all)-m.config.Vocab:])
}

// TestMoEAdapters: PEFT's adapters on these families have its losses, are saved as they were,
// and merge.
func TestMoEAdapters(t *testing.T) {
	ids, _, adapters := plainRecords(t, moeFolder)
	for name, want := range adapters {
		t.Run(name, func(t *testing.T) {
			dir, out, merged := filepath.Join(moeFolder, name), t.TempDir(), t.TempDir()
			m := load(t, filepath.Join(moeFolder, want.Base), Options{})
			must(t, m.LoadAdapter(dir))
			meanLoss(t, m, ids, want.Loss)
			must(t, m.SaveAdapter(out))
			sameTensors(t, filepath.Join(out, storage.AdapterFile), filepath.Join(dir, storage.AdapterFile))
			must(t, m.Merge())
			must(t, m.SaveFull(merged))
			meanLoss(t, load(t, merged, Options{}), ids, want.Loss)
		})
	}
}

// TestMoETargets: `all` means the linear modules that LLaMA-Factory finds with transformers
// 4.57: there the experts of deepseek_v3 and ernie4_5_moe are linear modules, and of the
// routers only ernie's is.
func TestMoETargets(t *testing.T) {
	latent, mlp := []string{"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"}, []string{"gate_proj", "up_proj", "down_proj"}
	plain := []string{"q_proj", "k_proj", "v_proj", "o_proj"}
	for name, want := range map[string][]string{
		"deepseek_v3": append(latent, mlp...), "glm4_moe": append(plain, mlp...), "ernie4_5_moe": append(append(plain, mlp...), "gate"), "gpt_oss": plain, "llama4_text": append(plain, mlp...),
	} {
		m := load(t, filepath.Join(moeFolder, name), Options{})
		if got := lastNames(m.modules()); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
		for mod := range m.modules() {
			if name == "llama4_text" && strings.Contains(mod.path, ".experts.") {
				t.Errorf("%s is a target", mod.path)
			}
		}
	}
}

// TestBeyondLastLayer: the layer for multi-token prediction is ignored, as in transformers; any
// other superfluous layer is an error.
func TestBeyondLastLayer(t *testing.T) {
	ids, models, _ := plainRecords(t, moeFolder)
	const name = "deepseek_v3"
	extra := map[string]string{
		"model.layers.3.eh_proj.weight": "", "model.layers.3.mlp.experts.0.gate_proj.weight": "",
		"model.layers.4.input_layernorm.weight": `tensor "model.layers.4.input_layernorm.weight" [2] has no place in the model`,
	}
	for tensor, want := range extra {
		dir := t.TempDir()
		w, err := checkpoint.OpenFile(filepath.Join(moeFolder, name, storage.ModelFile))
		must(t, err)
		tensors := []checkpoint.Tensor{{Name: tensor, Shape: []int{2}, F32: []float32{1, 2}}}
		for _, n := range w.Names() {
			shape, _ := w.Shape(n)
			tensors = append(tensors, checkpoint.Tensor{Name: n, Shape: shape, F32: floats(t, w, n)})
		}
		must(t, w.Close())
		must(t, checkpoint.WriteSafetensors(filepath.Join(dir, storage.ModelFile), nil, tensors))
		config, err := os.ReadFile(filepath.Join(moeFolder, name, storage.ConfigFile))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, storage.ConfigFile), config, 0o600))
		if want == "" {
			meanLoss(t, load(t, dir, Options{}), ids, models[name].Loss)
			continue
		}
		dev := cpu.New(1)
		if _, err := Load(dev, dir, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
		dev.Close()
	}
}
