package main

import (
	"math"
	"path/filepath"
	"testing"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/decoder"
)

// TestExportOfPlainFamilies: the exported tensors equal those of the model with its adapter
// merged in memory, also where weights are stored as [in, out] and tables have other names.
func TestExportOfPlainFamilies(t *testing.T) {
	const folder = "../../model/decoder/testdata/plain_families"
	for adapter, base := range map[string]string{
		"adapter-gpt2": "gpt2", "adapter-gpt2-dora": "gpt2", "adapter-gpt_neox": "gpt_neox", "adapter-phi": "phi",
	} {
		t.Run(adapter, func(t *testing.T) {
			ok := func(t *testing.T, err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			dev := cpu.New(1)
			base, adapter, out := filepath.Join(folder, base), filepath.Join(folder, adapter), t.TempDir()
			m, err := decoder.Load(dev, base, decoder.Options{})
			ok(t, err)
			ok(t, m.LoadAdapter(adapter))
			ok(t, m.Merge())
			ok(t, m.SaveFull(out))
			want, err := checkpoint.OpenFile(filepath.Join(out, storage.ModelFile))
			ok(t, err)
			defer want.Close()

			c, err := checkpoint.ReadModelConfig(base)
			ok(t, err)
			got, err := openMerger(dev, base, c, []string{adapter})
			ok(t, err)
			defer got.Close()
			if n := len(got.names()); n != len(want.Names()) {
				t.Errorf("%d tensors, want %d", n, len(want.Names()))
			}
			for _, name := range got.names() {
				x, err := got.read(name)
				ok(t, err)
				y := make([]float32, len(x))
				ok(t, want.ReadFloat32(name, y))
				for i := range y {
					if math.Abs(float64(x[i]-y[i])) > 1e-6 {
						t.Fatalf("%s, element %d: %v, want %v", name, i, x[i], y[i])
					}
				}
			}
		})
	}
}
