package reward

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver/cpu"
)

// judgeFolder is a classifier of model/decoder/testdata with a tokenizer of one token a
// letter, a is 0; d, its padding, ends an answer.
func judgeFolder(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("../../model/decoder/testdata/classifier", name))); err != nil {
		t.Fatal(err)
	}
	vocab := map[string]int{}
	for i, r := range "abcdefghijklmnopqrstuvwxyz" {
		vocab[string(r)] = i
	}
	for file, v := range map[string]any{
		"tokenizer.json": map[string]any{
			"version": "1.0", "added_tokens": []map[string]any{{"id": 3, "content": "d", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}},
			"normalizer": nil, "pre_tokenizer": map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
			"post_processor": nil, "decoder": map[string]any{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
			"model": map[string]any{"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []string{}},
		},
		"tokenizer_config.json": map[string]any{"eos_token": "d", "tokenizer_class": "PreTrainedTokenizerFast"},
	} {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// The logits of fjld and hdd are transformers': golden.json beside the models.
func TestModel(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	text := &Texts{With: "{prediction}", Without: "{instruction}"}
	for _, c := range []struct {
		name string
		opt  ModelOptions
		ask  Case
		want float64
	}{
		{"llama", ModelOptions{Template: "empty", Longest: 9}, Case{Prompt: "f", Answer: "jl"}, 1.0301138162612915},
		{"llama", ModelOptions{Template: "empty", Longest: 3}, Case{Prompt: "zzf", Answer: "jl"}, 1.0301138162612915},
		{"llama", ModelOptions{Text: text, Longest: 9}, Case{Answer: " fjld ", Reference: "x"}, 1 / (1 + math.Exp(-1.0301138162612915))},
		{"llama", ModelOptions{Text: text, Longest: 3}, Case{Answer: "ignored", Instruction: "hdda"}, 1 / (1 + math.Exp(0.15990197658538818))},
		{"qwen2", ModelOptions{Text: text, Longest: 9}, Case{Answer: "fjld", Reference: "x"}, 1 / (1 + math.Exp(0.9822424054145813+1.041394591331482) + math.Exp(-0.08261281251907349+1.041394591331482))},
	} {
		m, err := NewModel(dev, judgeFolder(t, c.name), c.opt)
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.Score(context.Background(), []Case{{Prompt: "a", Answer: "bcb", Reference: "x"}, c.ask})
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(got[1]-c.want) > 1e-5 {
			t.Errorf("%s %+v: %v, want %v", c.name, c.ask, got[1], c.want)
		}
	}
	if dev.Used() != 0 {
		t.Errorf("%d bytes in use", dev.Used())
	}
	_, err := NewModel(dev, judgeFolder(t, "qwen2"), ModelOptions{Longest: 9})
	if err == nil || !strings.Contains(err.Error(), "3 outputs") {
		t.Errorf("three outputs as one reward: %v", err)
	}
}
