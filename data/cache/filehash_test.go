package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/storage"
)

// writing is a file system on which something happens when a file is opened a second time.
type writing struct {
	storage.FS
	path   string
	opened int
	do     func()
}

func (w *writing) OpenFile(name string, flag int, perm os.FileMode) (storage.File, error) {
	if name == w.path {
		if w.opened++; w.opened == 2 {
			w.do()
		}
	}
	return w.FS.OpenFile(name, flag, perm)
}

// TestChangedWhileRead: a data file that is replaced, written over or appended to between the
// computation of its hash and the end of its reading is an error; nothing is stored under the
// name of the old content.
func TestChangedWhileRead(t *testing.T) {
	for name, change := range map[string]func(path string, text []byte) error{
		"replaced": func(path string, text []byte) error {
			return errors.Join(os.WriteFile(path+".new", text, 0o644), os.Rename(path+".new", path))
		},
		"written over": func(path string, text []byte) error { return os.WriteFile(path, text, 0o644) },
		"appended to":  func(path string, text []byte) error { return os.WriteFile(path, append(text, text...), 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := folderOf(t)
			o := options(t, dir, nil)
			path := filepath.Join(o.DatasetDir, "a.jsonl")
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			disk := &writing{FS: storage.OS, path: path, do: func() {
				if err := change(path, text); err != nil {
					t.Error(err)
				}
			}}
			unmount := storage.Mount(o.DatasetDir, disk)
			_, err = Load(t.Context(), o)
			unmount()
			if err == nil || !strings.Contains(err.Error(), path+" changed while it was read: start again") {
				t.Fatalf("%v; opened %d times", err, disk.opened)
			}
			if left, _ := filepath.Glob(filepath.Join(o.Dir, "tokenized", "*")); len(left) > 0 {
				t.Errorf("left %v", left)
			}
		})
	}
}

// A file of any size can be interrupted while it is hashed.
func TestInterruptedHash(t *testing.T) {
	o := options(t, folderOf(t), nil)
	if err := os.Truncate(filepath.Join(o.DatasetDir, "a.jsonl"), 1<<40); err != nil {
		t.Skip(err) // a file system without sparse files
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Load(ctx, o); !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "interrupted while reading ") {
		t.Error(err)
	}
}
