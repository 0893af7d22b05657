package decoder

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/model/checkpoint"
)

// gemma4Folder was written by tools/golden/gemma4.py.
const gemma4Folder = "testdata/gemma4"

// TestGemma4: losses, every gradient and greedy continuations equal transformers', for
// shapes that use every key of the family, on the host and on the interpreter; and a saved
// model has the tensors of its folder, to the last bit.
func TestGemma4(t *testing.T) {
	ids, models, _ := plainRecords(t, gemma4Folder)
	for name, want := range models {
		t.Run(name, func(t *testing.T) {
			dir, out := filepath.Join(gemma4Folder, name), t.TempDir()
			m := load(t, dir, Options{})
			meanLoss(t, m, ids, want.Loss)
			plainGreedy(t, m, ids, want.Greedy)
			gradientsWithin(t, m, ids, want.Gradients, 1e-4)
			must(t, m.SaveFull(out))
			sameTensors(t, filepath.Join(out, storage.ModelFile), filepath.Join(dir, storage.ModelFile))
			meanLoss(t, load(t, out, Options{}), ids, want.Loss)

			if m.family.hostOnly(&m.config) != "" {
				return
			}
			dev := sim.New(sim.Options{})
			m, err := Load(dev, dir, Options{})
			must(t, err)
			defer m.Close()
			meanLoss(t, m, ids, want.Loss)
			plainGreedy(t, m, ids, want.Greedy)
			gradientsWithin(t, m, ids, want.Gradients, 1e-4)
		})
	}
}

// TestGemma4Adapters: PEFT's adapters have the losses of PEFT, are saved unchanged and
// merge; a new one on everything has the tensors of PEFT's.
func TestGemma4Adapters(t *testing.T) {
	ids, _, adapters := plainRecords(t, gemma4Folder)
	for name, want := range adapters {
		t.Run(name, func(t *testing.T) {
			base, dir, out := filepath.Join(gemma4Folder, want.Base), filepath.Join(gemma4Folder, name), t.TempDir()
			fresh := adapterRoundTrip(t, ids, base, dir, out, want.Loss)
			likePEFT(t, fresh, out, dir)
		})
	}
}

// configured is a folder of gemma4 with some keys of config.json set.
func configured(t *testing.T, name string, keys map[string]any) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.CopyFS(dir, os.DirFS(filepath.Join(gemma4Folder, name))))
	path := filepath.Join(dir, storage.ConfigFile)
	text, err := os.ReadFile(path)
	must(t, err)
	var config map[string]any
	must(t, json.Unmarshal(text, &config))
	for key, v := range keys {
		if config[key] = v; v == nil {
			delete(config, key)
		}
	}
	text, err = json.Marshal(config)
	must(t, err)
	must(t, os.WriteFile(path, text, 0o600))
	return dir
}

// TestGemma4OlderKeys: released folders give the heads of layers without a window by
// global_head_dim and num_global_key_value_heads, and leave out the defaults of the class.
func TestGemma4OlderKeys(t *testing.T) {
	ids, models, _ := plainRecords(t, gemma4Folder)
	for _, dir := range []string{
		configured(t, "equal", map[string]any{"per_layer_config": nil, "global_head_dim": 8, "num_global_key_value_heads": 1, "rope_parameters": nil}),
		configured(t, "equal", map[string]any{"layer_types": []string{"sliding_attention", "full_attention", "sliding_attention"}}), // the last sees everything
	} {
		meanLoss(t, load(t, dir, Options{}), ids, models["equal"].Loss)
	}
}

func TestGemma4Refused(t *testing.T) {
	for _, c := range []struct {
		keys map[string]any
		want string
	}{
		{map[string]any{"use_bidirectional_attention": "all"}, `use_bidirectional_attention is "all"`},
		{map[string]any{"per_layer_config": map[string]any{"1": map[string]any{"sliding_window": 3}}}, "sliding_window is not supported: layers differ in head_dim and num_key_value_heads"},
		{map[string]any{"per_layer_config": map[string]any{"3": map[string]any{}}}, `"3" is not a layer`},
		{map[string]any{"per_layer_config": map[string]any{"1": map[string]any{"head_dim": 8}}}, "layers 1 and 2 are both full_attention and have heads of 8 and 4"},
		{map[string]any{"per_layer_config": map[string]any{"0": map[string]any{"num_key_value_heads": 3}}}, "num_attention_heads 4 is not a multiple"},
		{map[string]any{"num_kv_shared_layers": 3}, "num_kv_shared_layers is 3, want 0 to 2"},
		{map[string]any{"num_kv_shared_layers": 2}, "no layer before layer 1 is full_attention"},
		{map[string]any{"hidden_size_per_layer_input": 4, "vocab_size_per_layer_input": 47}, "vocab_size_per_layer_input is 47, and vocab_size 48"},
		{map[string]any{"hidden_activation": "gelu"}, `hidden_act "gelu" is not supported`},
		{map[string]any{"rope_parameters": map[string]any{"sliding_attention": map[string]any{"rope_type": "proportional", "rope_theta": 10}}}, `rope_type is "proportional"`},
	} {
		_, err := Outline(configured(t, "whole-heads", c.keys), Options{}, true)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %s", c.keys, err, c.want)
		}
	}
	// Heads without a kernel are refused before any weights are read.
	dir := configured(t, "whole-heads", map[string]any{"per_layer_config": map[string]any{"1": map[string]any{"head_dim": 512}, "2": map[string]any{"head_dim": 512}}})
	must(t, os.Remove(filepath.Join(dir, storage.ModelFile)))
	if _, err := Init(sim.New(sim.Options{}), dir, Options{}, nil); err == nil || !strings.Contains(err.Error(), "attention with heads of 512, which has no kernel for --device sim") {
		t.Errorf("got %v", err)
	}
}

// TestGemma4Grows: the table of the layers' own inputs grows with the vocabulary, and is
// saved and loaded in that size.
func TestGemma4Grows(t *testing.T) {
	ids, _, _ := plainRecords(t, gemma4Folder)
	for _, name := range []string{"shared", "own-inputs"} {
		m, out := load(t, filepath.Join(gemma4Folder, name), Options{}), t.TempDir()
		must(t, m.ResizeVocab(49, func() float64 { return 0.5 }))
		want, err := m.Losses(following(append(slices.Clone(ids), 50)), 0)
		must(t, err)
		must(t, m.SaveFull(out))
		again := load(t, out, Options{})
		got, err := again.Losses(following(append(slices.Clone(ids), 50)), 0)
		must(t, err)
		if again.Config().Vocab != 64 || again.Config().PerLayerVocab != 64 || !slices.Equal(got, want) {
			t.Errorf("%s: vocabulary %d and %d, losses %v, want %v", name, again.Config().Vocab, again.Config().PerLayerVocab, got, want)
		}
	}
}

// TestGemma4Fresh: the factors of a new model's layers are 1.
func TestGemma4Fresh(t *testing.T) {
	ids, _, _ := plainRecords(t, gemma4Folder)
	for _, name := range []string{"shared", "equal"} {
		m := load(t, filepath.Join(gemma4Folder, name), Options{})
		r, out := 0.0, t.TempDir()
		fresh, err := Init(m.dev, filepath.Join(gemma4Folder, name), Options{}, func() float64 { r += 0.7; return float64(int(r*1e6)%2000)/1e3 - 1 })
		must(t, err)
		defer fresh.Close()
		must(t, fresh.SaveFull(out))
		want, err := fresh.Losses(following(ids), 0)
		must(t, err)
		got, err := load(t, out, Options{}).Losses(following(ids), 0)
		must(t, err)
		if !slices.Equal(got, want) {
			t.Errorf("%s: losses %v, want %v", name, got, want)
		}
		w, err := checkpoint.OpenFile(filepath.Join(out, storage.ModelFile))
		must(t, err)
		for i := range fresh.config.Layers {
			if x := floats(t, w, fmt.Sprintf("model.layers.%d.layer_scalar", i)); x[0] != 1 {
				t.Errorf("%s: factor of layer %d is %v", name, i, x)
			}
		}
		must(t, w.Close())
	}
}
