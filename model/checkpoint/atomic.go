package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// WriteFile replaces path with data, or leaves it as it was: a temporary file in
// the same folder, fsync, rename, fsync of the folder.
func WriteFile(path string, data []byte) error {
	return writeAtomic(path, int64(len(data)), func(w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(data))
		return err
	})
}

// writeAtomic lets fill write total bytes that become path when all went well.
// On an error nothing is left behind but what was there before.
func writeAtomic(path string, total int64, fill func(io.Writer) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".tmp-"+filepath.Base(path)+"-*")
	if err != nil {
		return writeError(path, 0, total, err)
	}
	w := &countingWriter{w: f}
	defer func() {
		if err != nil {
			err = errors.Join(writeError(path, w.n, total, err), ignoreClosed(f.Close()), os.Remove(f.Name()))
		}
	}()
	if err := fill(w); err != nil {
		return err
	}
	// CreateTemp gives 0600; a file written in place would have the umask's mode.
	if err := f.Chmod(masked(0o666)); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
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

// writeError names the file, how far it got and the way out.
func writeError(path string, done, total int64, err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("writing %s: the disk is full after %d of %d bytes: free at least %d bytes or choose another folder (what was there before is untouched): %w",
			path, done, total, total-done, err)
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("writing %s (%d bytes): the folder is not writable: %w", path, total, err)
	}
	return fmt.Errorf("writing %s (%d of %d bytes done): %w", path, done, total, err)
}

// syncDir makes renames in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	// Some filesystems cannot sync a folder and say EINVAL: their renames are
	// as durable as they get.
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("%s: %w", dir, err)
	}
	return nil
}
