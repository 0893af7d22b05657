package storage

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestMatch: only the names are matched, whatever the folder is called.
func TestMatch(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "runs [1] *")
	if got, err := Match(dir, "*.json"); err != nil || got != nil {
		t.Errorf("no folder: %v %v", got, err)
	}
	ok(t, os.Mkdir(dir, 0o777))
	for _, name := range []string{"b.json", "a.json", "a.txt"} {
		ok(t, os.WriteFile(filepath.Join(dir, name), nil, 0o666))
	}
	got, err := Match(dir, "*.json")
	ok(t, err)
	if want := []string{filepath.Join(dir, "a.json"), filepath.Join(dir, "b.json")}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if _, err := Match(dir, "["); err == nil {
		t.Error("a pattern that is none")
	}
}
