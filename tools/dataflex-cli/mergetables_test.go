package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/decoder"
)

// TestMergeTables: for every adapter on the embeddings and the head saved by PEFT
// (tools/golden/peft_tables.py) the exported tensors equal those of the loaded and merged
// model, whose loss model/decoder compares with PEFT's.
func TestMergeTables(t *testing.T) {
	const dir = "../../model/decoder/testdata/peft_tables"
	raw, err := os.ReadFile(filepath.Join(dir, "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Adapters map[string]struct{ Base string }
	}
	if err := json.Unmarshal(raw, &golden); err != nil {
		t.Fatal(err)
	}
	dev := cpu.New(1)
	defer dev.Close()
	for name, c := range golden.Adapters {
		base, adapter := filepath.Join(dir, c.Base), filepath.Join(dir, name)
		m, err := openMerger(dev, base, &checkpoint.ModelConfig{ModelType: "llama", TieWordEmbeddings: c.Base != "untied"}, []string{adapter})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		model, err := decoder.Load(dev, base, decoder.Options{})
		if err == nil {
			err = model.LoadAdapter(adapter)
		}
		if err == nil {
			err = model.Merge()
		}
		out := t.TempDir()
		if err == nil {
			err = model.SaveFull(out)
		}
		if err != nil {
			t.Fatal(err)
		}
		want, err := checkpoint.OpenWeights(out)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.names(); len(got) != len(want.Names()) {
			t.Errorf("%s: tensors %v, want %v", name, got, want.Names())
		}
		for _, n := range m.names() {
			shape, ok := want.Shape(n)
			if !ok || !slices.Equal(shape, m.shape(n)) {
				t.Errorf("%s: %s has shape %v, want %v", name, n, m.shape(n), shape)
				continue
			}
			got, err := m.read(n)
			if err != nil {
				t.Fatal(err)
			}
			x := make([]float32, len(got))
			if err := want.ReadFloat32(n, x); err != nil {
				t.Fatal(err)
			}
			for i := range x {
				if math.Abs(float64(got[i]-x[i])) > 2e-6 {
					t.Errorf("%s: %s[%d] is %v, want %v", name, n, i, got[i], x[i])
					break
				}
			}
		}
		model.Close()
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if err := want.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(golden.Adapters) < 20 || !strings.Contains(string(raw), "dora_gemma2") {
		t.Errorf("%d adapters", len(golden.Adapters))
	}
}
