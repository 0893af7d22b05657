package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestModels: names on a hub become folders in its cache, for the model at its revision, for
// adapters and for components; the error for a missing one gives the way out.
func TestModels(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("HF_HUB_CACHE", cache)
	t.Setenv("MODELSCOPE_CACHE", t.TempDir())
	t.Chdir(t.TempDir())
	const one, two = "1111111111111111111111111111111111111111", "2222222222222222222222222222222222222222"
	repo := filepath.Join(cache, "models--o--m")
	for _, dir := range []string{filepath.Join(repo, "snapshots", one), filepath.Join(repo, "snapshots", two), filepath.Join(repo, "refs")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(repo, "refs", "main"), []byte(one), 0o644); err != nil {
		t.Fatal(err)
	}
	keys := []string{"stage=sft", "do_train=true", "dataset=x", "output_dir=out", "model_name_or_path=o/m"}
	c, err := Load("", append(keys, "adapter_name_or_path=o/m"))
	if err != nil {
		t.Fatal(err)
	}
	if m := c.Model; m.NameOrPath != filepath.Join(repo, "snapshots", one) || m.Name != "o/m" || m.AdapterNameOrPath[0] != m.NameOrPath || c.ModelsHere() != nil {
		t.Errorf("%+v, %v", m, c.ModelsHere())
	}
	if c, err = Load("", append(keys, "model_revision="+two)); err != nil || c.Model.NameOrPath != filepath.Join(repo, "snapshots", two) {
		t.Errorf("%+v, %v", c.Model, err)
	}
	c, err = Load("", append(keys, "model_revision=v9", "adapter_name_or_path=o/none"))
	if err != nil {
		t.Fatal(err)
	}
	err = c.ModelsHere()
	for _, want := range []string{"`dataflex-cli download o/m --revision v9`", "override 'adapter_name_or_path=o/none'", "`dataflex-cli download o/none`"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}

	if err := os.WriteFile("c.yaml", []byte("selectors:\n  s:\n    params:\n      a: o/m\n      b: o/none\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := LoadComponent("c.yaml", "selectors", "s")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Params.Model("a"); got != filepath.Join(repo, "snapshots", one) || s.Params.Err() != nil {
		t.Errorf("%s, %v", got, s.Params.Err())
	}
	if s.Params.Model("b"); s.Params.Err() == nil || !strings.Contains(s.Params.Err().Error(), "c.yaml:5:10: b: there is no folder o/none") {
		t.Error(s.Params.Err())
	}
}
