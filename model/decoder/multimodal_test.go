package decoder

import (
	"bytes"
	"encoding/json"
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

// multimodalFolder is written by tools/golden/multimodal.py.
const multimodalFolder = "testdata/multimodal"

// TestMultimodal: losses, every gradient and greedy continuations of the language models of
// multimodal models equal transformers', in every layout of their files.
func TestMultimodal(t *testing.T) {
	ids, models, _ := plainRecords(t, multimodalFolder)
	for name, want := range models {
		t.Run(name, func(t *testing.T) {
			m := load(t, filepath.Join(multimodalFolder, name), Options{})
			if said := strings.Join(m.Notes(), "\n"); strings.Count(said, "text only; the vision tower is kept as it is") != 1 {
				t.Errorf("notes: %s", said)
			}
			meanLoss(t, m, ids, want.Loss)
			plainGreedy(t, m, ids, want.Greedy)
			plainGradients(t, m, ids, want.Gradients)

			if m.family.hostOnly(&m.config) != "" {
				return
			}
			dev := sim.New(sim.Options{})
			m, err := Load(dev, filepath.Join(multimodalFolder, name), Options{})
			must(t, err)
			defer m.Close()
			meanLoss(t, m, ids, want.Loss)
		})
	}
}

// TestMultimodalIsSavedAsItWas: every tensor is saved under the name that it has in the folder,
// and config.json and the files for images byte for byte.
func TestMultimodalIsSavedAsItWas(t *testing.T) {
	_, models, _ := plainRecords(t, multimodalFolder)
	for name := range models {
		t.Run(name, func(t *testing.T) {
			dir, out := t.TempDir(), t.TempDir()
			must(t, os.CopyFS(dir, os.DirFS(filepath.Join(multimodalFolder, name))))
			must(t, os.WriteFile(filepath.Join(dir, "processor_config.json"), []byte(`{"of": "images"}`), 0o600))
			m := load(t, dir, Options{})
			m.SetSpecialTokens(checkpoint.SpecialTokens{BOS: 3, EOS: 4, Pad: 5})
			must(t, m.SaveFull(out))
			sameTensors(t, filepath.Join(out, storage.ModelFile), filepath.Join(dir, storage.ModelFile))
			for _, file := range []string{storage.ConfigFile, "processor_config.json"} {
				got, err := os.ReadFile(filepath.Join(out, file))
				must(t, err)
				want, err := os.ReadFile(filepath.Join(dir, file))
				must(t, err)
				if !bytes.Equal(got, want) {
					t.Errorf("%s: %s, was %s", file, got, want)
				}
			}
			load(t, out, Options{})
		})
	}
}

// TestMultimodalAdapters: PEFT's adapters on whole models have its losses, are saved as
// they were and merge; a new one on everything has the tensors and the targets of PEFT's.
func TestMultimodalAdapters(t *testing.T) {
	ids, _, adapters := plainRecords(t, multimodalFolder)
	for name, want := range adapters {
		t.Run(name, func(t *testing.T) {
			base, dir, out := filepath.Join(multimodalFolder, want.Base), filepath.Join(multimodalFolder, name), t.TempDir()
			fresh := adapterRoundTrip(t, ids, base, dir, out, want.Loss)
			likePEFT(t, fresh, out, dir)
		})
	}
}

func shapesOf(t *testing.T, adapter string) string {
	t.Helper()
	w, err := checkpoint.OpenAdapter(adapter)
	must(t, err)
	defer w.Close()
	var list []byte
	for _, name := range w.Names() {
		shape, _ := w.Shape(name)
		text, err := json.Marshal([]any{name, shape})
		must(t, err)
		list = append(append(list, text...), '\n')
	}
	return string(list)
}

// sameModules: the target_modules of two adapters name the same modules of m, although PEFT
// shortens long lists.
func sameModules(t *testing.T, m *Model, got, want string) {
	t.Helper()
	a, err := checkpoint.ReadAdapterConfig(got)
	must(t, err)
	b, err := checkpoint.ReadAdapterConfig(want)
	must(t, err)
	for mod := range m.modules() {
		if a.Adapts(mod.path, true) != b.Adapts(mod.path, true) {
			t.Errorf("of %q %s is %v, of PEFT's %q it is not", a.Targets, mod.path, a.Adapts(mod.path, true), b.Targets)
		}
	}
}

// renamed copies an adapter with its tensors renamed, and further tensors added.
func renamed(t *testing.T, adapter string, name func(string) string, beside ...checkpoint.Tensor) string {
	t.Helper()
	out := t.TempDir()
	w, err := checkpoint.OpenAdapter(adapter)
	must(t, err)
	defer w.Close()
	tensors := slices.Clone(beside)
	for _, n := range w.Names() {
		shape, _ := w.Shape(n)
		tensors = append(tensors, checkpoint.Tensor{Name: name(n), Shape: shape, F32: floats(t, w, n)})
	}
	must(t, checkpoint.WriteSafetensors(filepath.Join(out, storage.AdapterFile), nil, tensors))
	text, err := os.ReadFile(filepath.Join(adapter, storage.AdapterConfigFile))
	must(t, err)
	var config map[string]any
	must(t, json.Unmarshal(text, &config))
	for i, target := range config["target_modules"].([]any) {
		config["target_modules"].([]any)[i] = strings.TrimPrefix(name(prefix+target.(string)), prefix)
	}
	text, err = json.Marshal(config)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(out, storage.AdapterConfigFile), text, 0o600))
	return out
}

// TestAdapterOfOldTransformers: before transformers 4.52 the modules of a multimodal model, and
// so the tensors of adapters, had other paths.
func TestAdapterOfOldTransformers(t *testing.T) {
	ids, _, adapters := plainRecords(t, multimodalFolder)
	for name, path := range map[string]string{"adapter-gemma3": "language_model.model.", "adapter-qwen2_vl": "model."} {
		dir := renamed(t, filepath.Join(multimodalFolder, name), func(n string) string {
			return strings.Replace(n, "model.language_model.", path, 1)
		})
		m := load(t, filepath.Join(multimodalFolder, adapters[name].Base), Options{})
		must(t, m.LoadAdapter(dir))
		meanLoss(t, m, ids, adapters[name].Loss)
	}
}

// TestAdapterOnTowers: the part of an adapter that is on the towers is kept, and merging
// without it is an error.
func TestAdapterOnTowers(t *testing.T) {
	ids, _, adapters := plainRecords(t, multimodalFolder)
	tower := checkpoint.Tensor{Name: prefix + "model.vision_tower.encoder.layers.0.self_attn.q_proj.lora_A.weight", Shape: []int{2, 1}, F32: []float32{1, 2}}
	dir, out := renamed(t, filepath.Join(multimodalFolder, "adapter-gemma3"), strings.Clone, tower), t.TempDir()
	m := load(t, filepath.Join(multimodalFolder, "gemma3"), Options{})
	must(t, m.LoadAdapter(dir))
	meanLoss(t, m, ids, adapters["adapter-gemma3"].Loss)
	must(t, m.SaveAdapter(out))
	sameTensors(t, filepath.Join(out, storage.AdapterFile), filepath.Join(dir, storage.AdapterFile))
	must(t, m.Merge())
	if err := m.SaveFull(t.TempDir()); err == nil || !strings.Contains(err.Error(), "on the towers as well") {
		t.Errorf("got %v", err)
	}
}

// TestMultimodalGrows: a larger vocabulary is written to the language model's part of
// config.json, and a head that is no longer tied is saved under its own name.
func TestMultimodalGrows(t *testing.T) {
	ids, _, _ := plainRecords(t, multimodalFolder)
	for _, name := range []string{"gemma3", "qwen2_vl-flat", "qwen3_vl"} {
		m, out := load(t, filepath.Join(multimodalFolder, name), Options{}), t.TempDir()
		must(t, m.ResizeVocab(49, func() float64 { return 0.5 }))
		adapt(t, m, LoRA{Rank: 2, Alpha: 4, Targets: []string{"lm_head"}})
		must(t, m.Merge())
		want, err := m.Losses(following(ids), 0)
		must(t, err)
		must(t, m.SaveFull(out))
		again := load(t, out, Options{})
		got, err := again.Losses(following(ids), 0)
		must(t, err)
		if again.Config().Vocab != 64 || again.Config().Tied || !slices.Equal(got, want) {
			t.Errorf("%s: vocabulary %d, tied %v, losses %v, want %v", name, again.Config().Vocab, again.Config().Tied, got, want)
		}
	}
}

// TestTowersAreNotDrawn: initialising a multimodal folder at random is refused.
func TestTowersAreNotDrawn(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	if _, err := Init(dev, filepath.Join(multimodalFolder, "llava"), Options{}, func() float64 { return 0 }); err == nil || !strings.Contains(err.Error(), "leave train_from_scratch out") {
		t.Errorf("got %v", err)
	}
}
