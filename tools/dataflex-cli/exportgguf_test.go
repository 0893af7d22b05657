package main

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/tokenizer"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/decoder"
)

// exportYAML writes a configuration that exports the demo's model, and returns its path and
// a folder to export into.
func exportYAML(t *testing.T) (yaml, dir string) {
	t.Helper()
	dir = t.TempDir()
	yaml = filepath.Join(dir, "export.yaml")
	text := "model_name_or_path: " + demoModel + "\ntemplate: chatml\nexport_dir: " + filepath.Join(dir, "m.gguf") + "\n"
	if err := os.WriteFile(yaml, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return yaml, dir
}

// nll is the mean loss of a text's tokens under the model at path, with the tokenizer there.
func nll(t *testing.T, path string) float64 {
	t.Helper()
	tok, err := tokenizer.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	dev := cpu.New(1)
	defer dev.Close()
	m, err := decoder.Load(dev, path, decoder.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ids := tok.Encode("<|im_start|>user\nReverse the word tuveva<|im_end|>\n<|im_start|>assistant\navevut<|im_end|>\n<|im_start|>user\nSpell beke<|im_end|>\n<|im_start|>assistant\nb e k e<|im_end|>\n")
	targets := append(slices.Clone(ids[1:]), -1)
	losses, err := m.Losses(decoder.Batch{Tokens: ids, Targets: targets, Segments: []int32{0, int32(len(ids))}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for _, l := range losses {
		sum += float64(l)
	}
	return sum / float64(len(ids)-1)
}

// The files are read again as the exported model: f32 with the same loss, the others with a
// loss within the effect of their rounding: 2^-11 of a number for f16, 2^-8 for bf16, 1/254 of
// a block's largest for q8_0, which does not accumulate over the layers.
func TestExportGGUF(t *testing.T) {
	yaml, dir := exportYAML(t)
	want := nll(t, demoModel)
	for kind, tolerance := range map[string]float64{"f32": 1e-6, "f16": 1.0 / (1 << 11), "bf16": 1.0 / (1 << 8), "q8_0": 1.0 / 254} {
		path := filepath.Join(dir, kind+".gguf")
		if err := export(t.Context(), yaml, []string{"export_dir=" + path, "export_gguf=" + kind}, false); err != nil {
			t.Fatal(err)
		}
		w, err := checkpoint.OpenWeights(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.DType("model.layers.0.mlp.down_proj.weight"); got != strings.ToUpper(kind) {
			t.Errorf("%s: matrices are %s", kind, got)
		}
		if got := w.DType("model.norm.weight"); got != "F32" {
			t.Errorf("%s: norms are %s", kind, got)
		}
		w.Close()
		if got := nll(t, path); math.Abs(got-want) > tolerance*want {
			t.Errorf("%s: loss %v, want %v", kind, got, want)
		}
		text, err := os.ReadFile(filepath.Join(dir, kind+".Modelfile"))
		if err != nil || !strings.Contains(string(text), "\nFROM ./"+kind+".gguf\n") || !strings.Contains(string(text), `PARAMETER stop "<|im_end|>"`) {
			t.Errorf("%s: %s %v", kind, text, err)
		}
	}
	// By default the type is that of the model's weights.
	if err := export(t.Context(), yaml, nil, false); err != nil {
		t.Fatal(err)
	}
	config, err := checkpoint.ReadModelConfig(filepath.Join(dir, "m.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	stored, err := checkpoint.ReadModelConfig(demoModel)
	if err != nil {
		t.Fatal(err)
	}
	if config.TorchDType != stored.TorchDType || config.HiddenSize != stored.HiddenSize || config.RopeTheta != stored.RopeTheta || config.TieWordEmbeddings != stored.TieWordEmbeddings || config.RMSNormEps != stored.RMSNormEps {
		t.Errorf("%+v, want %+v", config, stored)
	}
}

// A file appears complete or not at all, and other files are not overwritten.
func TestExportGGUFReplaces(t *testing.T) {
	yaml, dir := exportYAML(t)
	path, modelfile := filepath.Join(dir, "m.gguf"), filepath.Join(dir, "m.Modelfile")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := export(ctx, yaml, nil, false); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("an export that was cut short left %v", entries)
	}
	refused := func(what, want string) {
		t.Helper()
		before, _ := os.ReadFile(path)
		if err := export(t.Context(), yaml, nil, false); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "export_dir: ") {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
		if after, _ := os.ReadFile(path); !slices.Equal(before, after) {
			t.Errorf("%s: it was changed", what)
		}
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(path, "a diary")
	refused("a file that is no model", "m.gguf is another model: name another file, or give --overwrite")
	if err := export(t.Context(), yaml, nil, true); err != nil {
		t.Fatal(err)
	}
	if err := export(t.Context(), yaml, []string{"export_gguf=q8_0"}, false); err != nil {
		t.Errorf("an earlier export of the same model: %v", err)
	}
	write(modelfile, "FROM elsewhere\n")
	refused("a Modelfile of the user's", "m.Modelfile was not written by export")
	if err := os.Remove(modelfile); err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile("../../model/gguf/testdata/qwen3.gguf")
	if err != nil {
		t.Fatal(err)
	}
	write(path, string(other))
	refused("another model", "is another model")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	refused("a folder", "m.gguf is not a file")
	if err := export(t.Context(), yaml, []string{"export_dir=" + dir, "export_gguf=f16"}, false); err == nil || !strings.Contains(err.Error(), "export_gguf: a GGUF file is one file") {
		t.Error(err)
	}
}
