package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/decoder"
)

// TestExportOfMultimodal: export writes what saving the model with its adapter merged in
// memory writes, the towers' bytes, names and config.json as they were.
func TestExportOfMultimodal(t *testing.T) {
	const folder = "../../model/decoder/testdata/multimodal"
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dev := cpu.New(1)
	for _, name := range []string{"gemma3", "gemma3-modules", "qwen2_vl", "qwen3_vl", "mistral3", "smolvlm"} {
		base, adapter := filepath.Join(folder, name), filepath.Join(folder, "adapter-"+strings.TrimSuffix(name, "-modules"))
		saved, exported := t.TempDir(), t.TempDir()
		m, err := decoder.Load(dev, base, decoder.Options{})
		ok(err)
		ok(m.LoadAdapter(adapter))
		ok(m.Merge())
		ok(m.SaveFull(saved))

		c, err := checkpoint.ReadModelConfig(base)
		ok(err)
		merged, err := openMerger(dev, base, c, []string{adapter})
		ok(err)
		for _, limit := range []int64{1 << 30, 9000} {
			shards, total := plan(merged, 4, limit)
			ok(writeModel(context.Background(), merged, exported, "float32", shards, total))
			if limit == 1<<30 {
				sameFile(t, filepath.Join(exported, storage.ModelFile), filepath.Join(saved, storage.ModelFile))
				ok(os.Remove(filepath.Join(exported, storage.ModelFile)))
			}
		}
		file := filepath.Join(t.TempDir(), "export.yaml")
		ok(os.WriteFile(file, []byte("model_name_or_path: "+base+"\nexport_dir: unused\n"), 0o600))
		yaml, err := config.LoadExport(file, nil)
		ok(err)
		was, err := os.ReadFile(filepath.Join(base, storage.ConfigFile))
		ok(err)
		if text := (savedModel{c, c.TorchDType, c.VocabSize, false}).config(yaml); !bytes.Equal(text, was) {
			t.Errorf("%s: config.json is\n%s", name, text)
		}
		ok(os.WriteFile(filepath.Join(exported, storage.ConfigFile), c.Text(), 0o600))
		again, err := decoder.Load(dev, exported, decoder.Options{}) // in shards
		ok(err)
		again.Close()
		ok(merged.Close())
	}
}

// sameFile compares two safetensors files.
func sameFile(t *testing.T, got, want string) {
	t.Helper()
	numbers := func(path string) map[string][]float32 {
		w, err := checkpoint.OpenFile(path)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		all := map[string][]float32{}
		for _, n := range w.Names() {
			shape, _ := w.Shape(n)
			x := make([]float32, elements(shape))
			if err := w.ReadFloat32(n, x); err != nil {
				t.Fatal(err)
			}
			all[n] = x
		}
		return all
	}
	if diff := cmp.Diff(numbers(want), numbers(got), cmpopts.EquateApprox(0, 1e-6)); diff != "" {
		t.Errorf("%s: -want +got\n%s", got, diff)
	}
}
