package memfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"dataflex.dev/dataflex/data/storage"
)

const root = "/memfs-test"

func mounted(t *testing.T) *FS {
	t.Helper()
	f := New(root)
	t.Cleanup(storage.Mount(root, f))
	return f
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// After a power cut what was synced is there: content by the file's sync, names by the
// folder's.
func TestRestart(t *testing.T) {
	f := mounted(t)
	open := func(name string) storage.File {
		t.Helper()
		file, err := storage.Create(filepath.Join(root, name))
		ok(t, err)
		return file
	}
	put := func(file storage.File, text string, sync bool) {
		t.Helper()
		_, err := io.WriteString(file, text)
		ok(t, err)
		if sync {
			ok(t, file.Sync())
		}
	}
	both, content, name := open("both"), open("content"), open("name")
	put(both, "durable", true)
	ok(t, storage.SyncDir(root))
	put(both, " and not", false)
	put(name, "lost", false)
	later := open("later")
	put(later, "durable without a name", true)
	put(content, "x", true)
	ok(t, storage.Rename(filepath.Join(root, "content"), filepath.Join(root, "renamed")))

	storage.Mount(root, f.Restart())
	if _, err := both.Write([]byte("x")); !errors.Is(err, ErrPowerCut) {
		t.Errorf("the process of before writes on: %v", err)
	}
	for path, want := range map[string]string{"both": "durable", "name": "", "content": "x"} {
		if got, err := storage.ReadFile(filepath.Join(root, path)); err != nil || string(got) != want {
			t.Errorf("%s holds %q, want %q (%v)", path, got, want, err)
		}
	}
	for _, path := range []string{"later", "renamed"} {
		if _, err := storage.Stat(filepath.Join(root, path)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s has a name (%v)", path, err)
		}
	}
}

// Whatever happens to an atomic write, afterwards either the old or the new content is there.
func TestAtomicWrite(t *testing.T) {
	path := filepath.Join(root, "file")
	for _, kind := range []Kind{Refuse, Full, PowerCut} {
		for n := 1; ; n++ {
			f := mounted(t)
			ok(t, storage.WriteFile(path, []byte("old")))
			f.Plan(Fault{kind, n})
			err := storage.WriteFile(path, []byte("the new content"))
			if kind == PowerCut {
				storage.Mount(root, f.Restart())
			}
			got, readErr := storage.ReadFile(path)
			ok(t, readErr)
			if s := string(got); s != "old" && s != "the new content" {
				t.Errorf("%v at %d: %q", kind, n, s)
			}
			if f.Changes() < n {
				if err != nil || string(got) != "the new content" || n < 5 {
					t.Errorf("%v: %q after %d changes, %v", kind, got, f.Changes(), err)
				}
				break
			}
			if err == nil && kind != Full { // which lets syncs and renames pass
				t.Errorf("%v at %d of %v: no error", kind, n, f.Log())
			}
			if entries, _ := storage.ReadDir(root); kind == Full && len(entries) != 1 {
				t.Errorf("%v at %d: left %v", kind, n, entries)
			}
		}
	}
}

// Wherever power is lost while a folder is replaced, one of the two is there, complete.
func TestFolder(t *testing.T) {
	for n := 1; ; n++ {
		f := mounted(t)
		save := func(text string) error {
			d, err := storage.Begin(root, "folder")
			if err != nil {
				return err
			}
			if err := storage.WriteFile(filepath.Join(d.Path(), "content"), []byte(text)); err != nil {
				return errors.Join(err, d.Abort())
			}
			return d.Commit()
		}
		ok(t, save("old"))
		f.Plan(Fault{PowerCut, n})
		err := save("new")
		over := f.Changes() < n
		storage.Mount(root, f.Restart())
		_, cleanErr := storage.CleanStale(root)
		ok(t, cleanErr)
		ok(t, storage.Verify(filepath.Join(root, "folder")))
		if entries, _ := storage.ReadDir(root); len(entries) != 1 {
			t.Errorf("power cut at %d: left %v", n, entries)
		}
		got, readErr := storage.ReadFile(filepath.Join(root, "folder", "content"))
		ok(t, readErr)
		if err == nil && string(got) != "new" {
			t.Errorf("power cut at %d: saved and gone: %q", n, got)
		}
		if over {
			break
		}
	}
}

func TestReads(t *testing.T) {
	f := mounted(t)
	text := []byte(strings.Repeat("0123456789", 9))
	path := filepath.Join(root, "file")
	ok(t, storage.WriteFile(path, text))
	f.ShortReads(true)
	if got, err := storage.ReadFile(path); err != nil || !bytes.Equal(got, text) {
		t.Errorf("short reads give %q, %v", got, err)
	}
	file, err := storage.Open(path)
	ok(t, err)
	ok(t, iotest.TestReader(file, text))
	f.Plan(Fault{ReadFail, 3})
	if _, err := storage.ReadFile(path); !errors.Is(err, syscall.EIO) {
		t.Errorf("got %v", err)
	}
	if _, err := storage.ReadFile(path); err != nil {
		t.Errorf("the read after: %v", err)
	}
}

func TestLock(t *testing.T) {
	f := mounted(t)
	path := filepath.Join(root, "lock")
	l, err := storage.TakeLock(path)
	ok(t, err)
	var held *storage.Held
	if _, err := storage.TakeLock(path); !errors.As(err, &held) {
		t.Errorf("taken twice: %v", err)
	}
	// A power cut also releases the lock.
	storage.Mount(root, f.Restart())
	again, err := storage.TakeLock(path)
	ok(t, err)
	ok(t, again.Release())
	_ = l
}

// Every disk that a power cut can leave while a file is replaced is recorded once: as it was,
// and, where names need no sync, with what was written beside it, empty and complete.
func TestCuts(t *testing.T) {
	f := mounted(t)
	path := filepath.Join(root, "file")
	ok(t, storage.WriteFile(path, []byte("old")))
	ok(t, storage.SyncDir(root))
	f.RecordCuts()
	ok(t, storage.WriteFile(path, []byte("new")))
	ok(t, storage.SyncDir(root)) // a change after the last, before which the cut is the end
	var got []string
	for _, cut := range f.Cuts() {
		unmount := storage.Mount(root, cut.Disk)
		text, err := storage.ReadFile(path)
		entries, dirErr := storage.ReadDir(root)
		ok(t, errors.Join(err, dirErr))
		unmount()
		got = append(got, string(text))
		for _, e := range entries {
			if e.Name() == "file" {
				continue
			}
			info, err := e.Info()
			ok(t, err)
			got[len(got)-1] += fmt.Sprintf(" and %d bytes", info.Size())
		}
	}
	if want := []string{"old", "old and 0 bytes", "old and 3 bytes", "new"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
