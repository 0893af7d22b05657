package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// tempPrefix begins the name of everything unfinished.
const tempPrefix = ".tmp-"

// WriteFile replaces path with data, or leaves it as it was: temporary file in the same folder,
// fsync, rename, fsync of the folder. An existing path that is not a regular file (a device, a
// FIFO) is written to directly; a symbolic link is kept, and its target replaced.
func WriteFile(path string, data []byte) error {
	return Write(path, int64(len(data)), func(w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(data))
		return err
	})
}

// Write lets fill write total bytes that become the content of path as in WriteFile. After an
// error only the previous content is there. total is used in the message about a full disk;
// below 0: not known.
func Write(path string, total int64, fill func(io.Writer) error) (err error) {
	target, info, err := resolve(path)
	if err != nil {
		return writeError(path, 0, total, err)
	}
	if info != nil && !info.Mode().IsRegular() || isDescriptor(path) {
		return writeInto(path, total, fill)
	}
	mode := fs.FileMode(0o666) // before the umask
	if info != nil {
		mode = info.Mode().Perm()
	}
	sweep(target)
	f, held, err := createTemp(target, mode)
	if err != nil {
		return writeError(path, 0, total, err)
	}
	w := &countingWriter{w: f}
	defer func() {
		if err != nil {
			err = errors.Join(writeError(path, w.n, total, err), ignoreClosed(f.Close()), RemoveIfThere(f.Name()))
		}
	}()
	if err := fill(w); err != nil {
		return err
	}
	if info != nil {
		if err := f.Chmod(mode); err != nil { // the umask does not apply where the mode is that of the replaced file
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if !held { // Windows has no such locks, and renames no open file
		if err := f.Close(); err != nil {
			return err
		}
	}
	if err := Rename(f.Name(), target); err != nil {
		return err
	}
	if err := ignoreClosed(f.Close()); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(target))
}

// createTemp creates an unfinished file beside path, and holds its lock until it is closed, so
// that sweep can tell it from those of killed programs. held is false where there are no locks.
func createTemp(path string, mode fs.FileMode) (f File, held bool, err error) {
	for try := 0; ; try++ {
		f, err = OpenFile(tempName(path), os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
		if err != nil {
			if try == 1000 || !errors.Is(err, fs.ErrExist) {
				return nil, false, err
			}
			continue
		}
		err = f.TryLock()
		if !errors.Is(err, ErrLocked) && same(f, f.Name()) {
			return f, err == nil, nil
		}
		if err := f.Close(); err != nil || try == 1000 { // another process's sweep came between the two
			return nil, false, errors.Join(errSwept, err)
		}
	}
}

// sweep removes what killed programs left of earlier attempts to write path: unfinished files
// that no process holds. What cannot be removed stays; it harms nobody.
func sweep(path string) {
	dir, name := filepath.Split(path)
	dir = filepath.Clean(dir)
	if isTemporary(filepath.Base(dir)) {
		return // the folder is itself unfinished, and new
	}
	entries, err := ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !isTemporary(e.Name()) || e.Name()[:strings.LastIndexByte(e.Name(), '-')] != tempPrefix+name {
			continue
		}
		left := filepath.Join(dir, e.Name())
		f, err := OpenFile(left, os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if f.TryLock() == nil {
			_ = Remove(left)
		}
		_ = f.Close()
	}
}

// tempName is a name beside path that isTemporary recognises.
func tempName(path string) string {
	return filepath.Join(filepath.Dir(path), tempPrefix+filepath.Base(path)+"-"+strconv.FormatUint(uint64(rand.Uint32()), 10))
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// Unwritable reports whether an error is that of a folder which this program may not write.
func Unwritable(err error) bool {
	return errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS)
}

// writeError names the file, how much was written and what to do.
func writeError(path string, done, total int64, err error) error {
	size, left := "", "some space"
	if total >= 0 {
		size, left = fmt.Sprintf(" of %d", total), fmt.Sprintf("at least %d bytes", total-done)
	}
	switch {
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("writing %s: the disk is full after %d%s bytes: free %s or choose another folder (what was there before is untouched): %w",
			path, done, size, left, err)
	case Unwritable(err):
		return fmt.Errorf("writing %s: the folder is not writable: %w", path, err)
	}
	return fmt.Errorf("writing %s (%d%s bytes done): %w", path, done, size, err)
}
