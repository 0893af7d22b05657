package dataset

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestHub: entries of a hub are read from its cache: a subset's split, a slice of one, a
// revision; from ModelScope's where it is named or preferred.
func TestHub(t *testing.T) {
	t.Setenv("HF_HUB_CACHE", t.TempDir())
	t.Setenv("MODELSCOPE_CACHE", t.TempDir())
	t.Setenv("USE_MODELSCOPE_HUB", "")
	const commit = "0123456789abcdef0123456789abcdef01234567"
	put := func(text string, path ...string) {
		t.Helper()
		name := filepath.Join(path...)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	row := func(q string) string { return `{"instruction":"` + q + `","input":"","output":"x"}` + "\n" }
	set := filepath.Join(os.Getenv("HF_HUB_CACHE"), "datasets--org--set")
	put(commit, set, "refs", "main")
	put(row("train 0")+row("train 1"), set, "snapshots", commit, "en", "train.jsonl")
	put(row("test 0"), set, "snapshots", commit, "en", "test.jsonl")
	put(row("fr 0"), set, "snapshots", commit, "fr", "train.jsonl")
	put(row("scope"), os.Getenv("MODELSCOPE_CACHE"), "hub", "datasets", "org", "set", "train.jsonl")
	for entry, want := range map[string]string{
		`{"hf_hub_url":"org/set","subset":"en"}`:                                                 `u:"train 0" =>,u:"train 1" =>`,
		`{"hf_hub_url":"https://huggingface.co/datasets/org/set","folder":"fr"}`:                 `u:"fr 0" =>`,
		`{"hf_hub_url":"org/set","subset":"en","split":"test"}`:                                  `u:"test 0" =>`,
		`{"hf_hub_url":"org/set","subset":"en","split":"train[1:]","revision":"` + commit + `"}`: `u:"train 1" =>`,
		`{"ms_hub_url":"org/set"}`:                                                               `u:"scope" =>`,
	} {
		dir := t.TempDir()
		put(`{"x":`+entry+`}`, dir, InfoFile)
		var got []string
		for _, s := range load(t, dir, "x").Samples {
			text, _, _ := strings.Cut(show(s), "=>")
			got = append(got, text+"=>")
		}
		if !slices.Equal(got, strings.Split(want, ",")) {
			t.Errorf("%s: %q", entry, got)
		}
	}
	dir := t.TempDir()
	put(`{"x":{"hf_hub_url":"org/set","split":"train+test"}}`, dir, InfoFile)
	c, err := OpenCatalog(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Source("x"); err == nil || !strings.Contains(err.Error(), "give the others entries of their own") {
		t.Error(err)
	}
}
