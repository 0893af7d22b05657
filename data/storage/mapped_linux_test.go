package storage

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestMapCutShort(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	write(t, path, make([]byte, 1<<20))
	b, unmap, err := Map(path)
	ok(t, err)
	defer unmap()
	ok(t, os.Truncate(path, 4096))
	sum := func() (n int, err error) {
		defer CatchFault(&err)()
		for _, c := range b {
			n += int(c)
		}
		return n, nil
	}
	if _, err := sum(); err == nil || !strings.Contains(err.Error(), path+" was truncated") {
		t.Errorf("got %v", err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("another panic was swallowed")
			}
		}()
		defer CatchFault(&err)()
		panic("of another kind")
	}()
}

// After its folder was published, a file is reported under the folder's new name.
func TestMapThenPublish(t *testing.T) {
	parent := t.TempDir()
	d, err := Begin(parent, "cache")
	ok(t, err)
	ok(t, WriteFile(filepath.Join(d.Path(), "tokens"), make([]byte, 1<<16)))
	b, unmap, err := Map(filepath.Join(d.Path(), "tokens"))
	ok(t, err)
	defer unmap()
	ok(t, d.Publish())
	path := filepath.Join(parent, "cache", "tokens")
	ok(t, os.Truncate(path, 0))
	read := func() (c byte, err error) {
		defer CatchFault(&err)()
		return b[0], nil
	}
	if _, err := read(); err == nil || !strings.HasPrefix(err.Error(), path) {
		t.Errorf("got %v", err)
	}
}

func TestMapRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := Map(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a folder: %v", err)
	}
	empty := filepath.Join(dir, "empty")
	write(t, empty, nil)
	b, unmap, err := Map(empty)
	if err != nil || len(b) != 0 || unmap() != nil {
		t.Errorf("an empty file: %v, %v", b, err)
	}
	// A FIFO must not be waited for.
	fifo := filepath.Join(dir, "fifo")
	ok(t, syscall.Mkfifo(fifo, 0o600))
	if _, _, err := Map(fifo); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a FIFO: %v", err)
	}
}
