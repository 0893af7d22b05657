package decoder

import (
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// unpacked writes a model folder from testdata/qwen2 (see testdata/derive.py).
func unpacked(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/qwen2")); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(dir, "model.safetensors.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "model.safetensors"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestRecorded is TestFamilies for the part of one family that is in this repository.
func TestRecorded(t *testing.T) {
	dir := unpacked(t)
	w := golden(t, dir, "golden.safetensors")
	m := open(t, 2, dir)
	r := record(t, w)
	got, vocab := logits(t, m, r.batch), m.config.Vocab
	var some []float32
	for packed, padded := range r.rows {
		if padded == 0 || padded == 23 || padded == 24+16 {
			some = append(some, got[packed*vocab:(packed+1)*vocab]...)
		}
	}
	within(t, "logits", some, floats(t, w, "logits.rows"), 1e-4)
	if err := m.TrainAll(); err != nil {
		t.Fatal(err)
	}
	losses, err := m.Backward(r.batch, Objective{Weight: r.weight})
	if err != nil {
		t.Fatal(err)
	}
	within(t, "sample_mean_nll", sampleMeans(r.batch, losses), floats(t, w, "sample_mean_nll"), 1e-5)
	compared := 0
	for _, p := range m.Trainable() {
		if _, ok := w.Shape("grad." + p.Name); ok {
			within(t, "grad."+p.Name, p.Grad.Host(), floats(t, w, "grad."+p.Name), 1e-4)
			compared++
		}
	}
	if compared != 11 {
		t.Errorf("%d gradients compared, want those of 5 norms and 6 biases", compared)
	}
}
