package checkpoint

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/task"
)

// failing is a file system whose files fail when they are read.
type failing struct {
	storage.FS
	read func() error
}

type failingFile struct {
	storage.File
	read func() error
}

func (f failing) OpenFile(name string, flag int, perm os.FileMode) (storage.File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	return failingFile{file, f.read}, err
}

func (f failingFile) ReadAt([]byte, int64) (int, error) { return 0, f.read() }

// A read error, and a panic on a goroutine that reads, reach the caller.
func TestContentFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "model.safetensors")
	if err := os.WriteFile(path, []byte("weights"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("input/output error")
	for what, read := range map[string]func() error{"an error": func() error { return broken }, "a panic": func() error { panic(broken) }} {
		unmount := storage.Mount(dir, failing{storage.OS, read})
		err := task.Catch(func() error { _, err := Content(path); return err })
		unmount()
		if !errors.Is(err, broken) || what == "an error" && !strings.Contains(err.Error(), path) {
			t.Errorf("%s became %v", what, err)
		}
	}
}
