package checkpoint

import (
	"os"
	"path/filepath"
	"testing"

	"dataflex.dev/dataflex/data/storage"
)

const golden = "../../../shared/golden"

// goldenPath returns a path below ../shared/golden, which only exists on some machines.
func goldenPath(t *testing.T, elem ...string) string {
	t.Helper()
	p := filepath.Join(append([]string{golden}, elem...)...)
	if _, err := os.Stat(p); err != nil {
		t.Skipf("no reference values here: %v", err)
	}
	return p
}

// A file written by safetensors is read and written back with the same bytes.
func TestRewriteGolden(t *testing.T) {
	paths, _ := filepath.Glob(goldenPath(t) + "/models/*/*.safetensors")
	more, _ := filepath.Glob(goldenPath(t) + "/runs/*lora*/*.safetensors")
	for _, path := range append(paths, more...) {
		w, err := OpenFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "out.safetensors")
		if err := WriteSafetensors(out, w.Metadata(), readAll(t, w)); err != nil {
			t.Fatal(err)
		}
		sameFile(t, path, out)
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}

func readAll(t *testing.T, w *Weights) []Tensor {
	t.Helper()
	var tensors []Tensor
	for _, name := range w.Names() {
		shape, _ := w.Shape(name)
		n := 1
		for _, d := range shape {
			n *= d
		}
		x := Tensor{Name: name, Shape: shape, F32: make([]float32, n)}
		if err := w.ReadFloat32(name, x.F32); err != nil {
			t.Fatal(err)
		}
		tensors = append(tensors, x)
	}
	return tensors
}

func sameFile(t *testing.T, want, got string) {
	t.Helper()
	a, err := os.ReadFile(want)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(got)
	if err != nil {
		t.Fatal(err)
	}
	if string(a) != string(b) {
		t.Errorf("%s: rewritten file differs (%d and %d bytes)", want, len(a), len(b))
	}
}

// Every model family's config.json is read, and written back unchanged except for use_cache.
func TestGoldenConfigs(t *testing.T) {
	paths, _ := filepath.Glob(goldenPath(t) + "/*/*/config.json")
	for _, path := range paths {
		c, err := ReadModelConfig(filepath.Dir(path))
		if err != nil {
			t.Error(err)
			continue
		}
		cache := c.raw["use_cache"]
		dir := t.TempDir()
		if err := WriteModelConfig(dir, c, c.TorchDType); err != nil {
			t.Fatal(err)
		}
		c.Set("use_cache", cache)
		if err := storage.WriteFile(filepath.Join(dir, "config.json"), append(formatJSON(c.raw, 2), '\n')); err != nil {
			t.Fatal(err)
		}
		sameFile(t, path, filepath.Join(dir, "config.json"))
		w, err := OpenWeights(filepath.Dir(path))
		if err != nil {
			t.Error(err)
			continue
		}
		readAll(t, w)
		w.Close()
	}
}

// PEFT's adapter_config.json is written back byte for byte.
func TestGoldenAdapterConfigs(t *testing.T) {
	paths, _ := filepath.Glob(goldenPath(t) + "/*/*/adapter_config.json")
	for _, path := range paths {
		c, err := ReadAdapterConfig(filepath.Dir(path))
		if err != nil {
			t.Error(err)
			continue
		}
		dir := t.TempDir()
		if err := WriteAdapterConfig(dir, c); err != nil {
			t.Fatal(err)
		}
		sameFile(t, path, filepath.Join(dir, storage.AdapterConfigFile))
	}
}
