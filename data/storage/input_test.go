package storage

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadInput(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadInput(file, 10); err != nil || string(got) != "0123456789" {
		t.Errorf("%q, %v", got, err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err == nil {
		if got, err := ReadInput(link, 10); err != nil || len(got) != 10 {
			t.Errorf("through a link: %q, %v", got, err)
		}
	}
	for path, want := range map[string]string{
		file:                       "has 10 bytes, a file of its kind has at most 9",
		dir:                        "is a folder where a file is expected",
		filepath.Join(dir, "none"): "no such file",
	} {
		if _, err := ReadInput(path, 9); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v does not say %q", path, err, want)
		}
	}
}
