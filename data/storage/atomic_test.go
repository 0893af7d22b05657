//go:build unix

package storage

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// What a killed program left of a file goes when the file is written again; a file that another
// process is writing, and those of other names, stay.
func TestWriteSweepsWhatWasLeft(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "rows.jsonl")
	living, held, err := createTemp(target, 0o666)
	if err != nil || !held {
		t.Fatal(held, err)
	}
	other := filepath.Join(dir, ".tmp-rows.jsonl.npy-7")
	for _, left := range []string{filepath.Join(dir, ".tmp-rows.jsonl-7"), other} {
		write(t, left, []byte("half"))
	}
	ok(t, os.Mkdir(filepath.Join(dir, ".tmp-rows.jsonl-8"), 0o777)) // of a folder: CleanStale's
	ok(t, WriteFile(target, []byte("whole")))
	want := []string{filepath.Join(dir, ".tmp-rows.jsonl-8"), other, living.Name()}
	slices.Sort(want)
	if got := dotNames(t, dir); !slices.Equal(got, want) {
		t.Errorf("left %v, want %v", got, want)
	}
	ok(t, living.Close())
	ok(t, WriteFile(target, []byte("again")))
	if Exists(living.Name()) {
		t.Error("what its writer abandoned is still there")
	}
}
