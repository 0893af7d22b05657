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
	"time"
)

// maxLinks is how many symbolic links are followed, Linux's own limit.
const maxLinks = 40

// resolve follows symbolic links from path and returns the file to replace, which need not
// exist yet: info is nil then. A folder is an error.
func resolve(path string) (target string, info fs.FileInfo, err error) {
	target = path
	for range maxLinks {
		info, err = Lstat(target)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return target, nil, nil
		case err != nil:
			return target, nil, err
		case info.IsDir():
			return target, nil, &fs.PathError{Op: "write", Path: target, Err: syscall.EISDIR}
		case info.Mode()&fs.ModeSymlink == 0:
			return target, info, nil
		}
		// The target of /proc/self/fd/1 may have no name ("pipe:[1234]").
		if followed, err := Stat(target); err == nil && !followed.Mode().IsRegular() && !followed.IsDir() {
			return target, followed, nil
		}
		next, err := at(target).Readlink(target)
		if err != nil {
			return target, nil, err
		}
		if !filepath.IsAbs(next) {
			next = filepath.Join(filepath.Dir(target), next)
		}
		target = next
	}
	return target, nil, &fs.PathError{Op: "write", Path: path, Err: syscall.ELOOP}
}

// isDescriptor recognises the names of open files: /dev/stdout is the file that the shell
// redirected it to, which other programs write to as well.
func isDescriptor(path string) bool {
	path = filepath.ToSlash(filepath.Clean(path))
	return path == "/dev/stdout" || path == "/dev/stderr" || strings.HasPrefix(path, "/dev/fd/") ||
		strings.HasPrefix(path, "/proc/") && strings.HasPrefix(filepath.Base(filepath.Dir(path)), "fd")
}

// readerWait is how long a write to a FIFO waits for a reader.
const readerWait = 10 * time.Second

// writeInto writes to a path that cannot be replaced: a device, a FIFO, an open file.
func writeInto(path string, total int64, fill func(io.Writer) error) error {
	f, err := openInto(path)
	if err != nil {
		return writeError(path, 0, total, err)
	}
	w := &countingWriter{w: f}
	if err := errors.Join(fill(w), f.Close()); err != nil {
		return fmt.Errorf("writing into %s (%d bytes done): %w", path, w.n, err)
	}
	return nil
}

func openInto(path string) (File, error) {
	for end := time.Now().Add(readerWait); ; time.Sleep(50 * time.Millisecond) {
		f, err := OpenFile(path, os.O_WRONLY|os.O_APPEND|noWait, 0)
		if !errors.Is(err, syscall.ENXIO) {
			return f, err
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("it has no reader: start the program that reads it first: %w", err)
		}
	}
}
