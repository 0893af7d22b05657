package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A failing write leaves only the old file, and reports how much was written.
func TestFailingWrites(t *testing.T) {
	for _, c := range []struct {
		fault error
		want  string
	}{
		{syscall.ENOSPC, "the disk is full after 3 of 10 bytes: free at least 7 bytes"},
		{syscall.EDQUOT, "the disk is full after 3 of 10 bytes"},
		{syscall.EROFS, "not writable"},
		{io.ErrUnexpectedEOF, "(3 of 10 bytes done): unexpected EOF"},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "state")
		write(t, path, []byte("old"))
		err := Write(path, 10, func(w io.Writer) error {
			if _, err := w.Write([]byte("new")); err != nil {
				return err
			}
			return c.fault
		})
		if !errors.Is(err, c.fault) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("got %v, want %q", err, c.want)
		}
		onlyOld(t, dir, path)
	}
}

func onlyOld(t *testing.T, dir, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	ok(t, err)
	entries, err := os.ReadDir(dir)
	ok(t, err)
	if string(b) != "old" || len(entries) != 1 {
		t.Errorf("%q and %d entries left", b, len(entries))
	}
}

func TestWriteFileIntoMissingFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "x")
	if err := WriteFile(path, nil); err == nil || !strings.Contains(err.Error(), "writing "+path) {
		t.Errorf("got %v", err)
	}
}

// A path that is not a regular file is written to; a link is kept, and its target replaced.
func TestWriteThrough(t *testing.T) {
	dir := t.TempDir()
	target, link, dangling, fifo := filepath.Join(dir, "target"), filepath.Join(dir, "link"), filepath.Join(dir, "dangling"), filepath.Join(dir, "fifo")
	write(t, target, []byte("old"))
	ok(t, os.Chmod(target, 0o640))
	ok(t, os.Symlink("target", link))
	ok(t, os.Symlink("to-be-made", dangling))
	ok(t, syscall.Mkfifo(fifo, 0o600))

	ok(t, WriteFile(link, []byte("new")))
	ok(t, WriteFile(dangling, []byte("made")))
	for path, want := range map[string]string{target: "new", filepath.Join(dir, "to-be-made"): "made"} {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	for path, want := range map[string]fs.FileMode{target: 0o640, link: fs.ModeSymlink | 0o777, dangling: fs.ModeSymlink | 0o777} {
		if info, err := os.Lstat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: mode %v, want %v (%v)", path, info.Mode(), want, err)
		}
	}
	got := make(chan []byte)
	go func() {
		b, _ := os.ReadFile(fifo)
		got <- b
	}()
	ok(t, WriteFile(fifo, []byte("through")))
	if b := <-got; string(b) != "through" {
		t.Errorf("the FIFO gave %q", b)
	}
	ok(t, WriteFile(os.DevNull, []byte("x")))
	if err := WriteFile("/dev/full", []byte("x")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("/dev/full: %v", err)
	}
	for _, device := range []string{os.DevNull, "/dev/full"} {
		if info, err := os.Lstat(device); err != nil || info.Mode()&fs.ModeDevice == 0 {
			t.Errorf("%s is %v (%v)", device, info.Mode(), err)
		}
	}
	if err := WriteFile(dir, nil); !errors.Is(err, syscall.EISDIR) {
		t.Errorf("a folder: %v", err)
	}
}

// Standard output that was redirected to a file is appended to, not replaced.
func TestWriteToOpenFile(t *testing.T) {
	if _, err := os.Stat("/dev/fd"); err != nil {
		t.Skip(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	ok(t, err)
	defer f.Close()
	if _, err := f.WriteString("before\n"); err != nil {
		t.Fatal(err)
	}
	ok(t, WriteFile(fmt.Sprintf("/dev/fd/%d", f.Fd()), []byte("result\n")))
	if got, err := os.ReadFile(f.Name()); err != nil || string(got) != "before\nresult\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestUmask(t *testing.T) {
	old := syscall.Umask(0o027)
	defer syscall.Umask(old)
	dir := filepath.Join(t.TempDir(), "a", "b")
	ok(t, MkdirAll(dir))
	ok(t, WriteFile(filepath.Join(dir, "x"), nil))
	save(t, dir, 1, "a")
	for path, want := range map[string]fs.FileMode{dir: 0o750, filepath.Join(dir, "x"): 0o640, filepath.Join(dir, StepName(1)): 0o750, filepath.Join(dir, StepName(1), ManifestFile): 0o640} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, want %v (%v)", path, info.Mode(), want, err)
		}
	}
}
