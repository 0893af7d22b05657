// Package storage is the lowest layer of everything stored on disk: atomic files, folders that
// appear complete or not at all, locks, mapped files, content hashes and the names of a
// checkpoint's files.
//
// It imports nothing of the project, so that data, model, algo and tools may all use it. Every
// operation goes through the FS interface; a test can mount its own on a path to make writes
// fail or to lose what was not synced.
package storage

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// FS is a file system. Its methods behave like the functions of package os of the same names
// and return the same kinds of errors.
type FS interface {
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	Mkdir(name string, perm fs.FileMode) error
	// Rename replaces newName, which may be a file or an empty folder.
	Rename(oldName, newName string) error
	// Exchange swaps two paths atomically; errors.ErrUnsupported where the system cannot.
	Exchange(a, b string) error
	Remove(name string) error
	Stat(name string) (fs.FileInfo, error)
	Lstat(name string) (fs.FileInfo, error)
	Readlink(name string) (string, error)
	ReadDir(name string) ([]fs.DirEntry, error)
}

// File is an open file or folder.
type File interface {
	io.ReadWriteCloser
	io.ReaderAt
	io.WriterAt
	Name() string
	Stat() (fs.FileInfo, error)
	Chmod(mode fs.FileMode) error
	Truncate(size int64) error
	// Sync makes a file's content, or a folder's entries, durable.
	Sync() error
	// TryLock takes the exclusive lock on the file, which Close and the end of the process
	// release. ErrLocked: someone else holds it; other errors: the file system has no locks.
	TryLock() error
	// Map maps the whole content as read-only memory. The mapping outlives the file's Close and
	// its name.
	Map() (b []byte, unmap func() error, err error)
}

// ErrLocked is what TryLock returns for a file that someone else has locked.
var ErrLocked = errors.New("locked by another process")

var mounts struct {
	sync.RWMutex
	byRoot map[string]FS
}

// Mount substitutes a file system for everything below the folder root, an absolute path, until
// it is unmounted. It is for tests.
func Mount(root string, f FS) (unmount func()) {
	root = filepath.Clean(root)
	mounts.Lock()
	defer mounts.Unlock()
	if mounts.byRoot == nil {
		mounts.byRoot = map[string]FS{}
	}
	mounts.byRoot[root] = f
	return func() {
		mounts.Lock()
		defer mounts.Unlock()
		delete(mounts.byRoot, root)
	}
}

// at is the file system that holds a path.
func at(path string) FS {
	mounts.RLock()
	defer mounts.RUnlock()
	if len(mounts.byRoot) == 0 {
		return OS
	}
	path = filepath.Clean(path)
	for root, f := range mounts.byRoot {
		if rest, ok := strings.CutPrefix(path, root); ok && (rest == "" || rest[0] == filepath.Separator) {
			return f
		}
	}
	return OS
}

// OpenFile is os.OpenFile.
func OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	return at(name).OpenFile(name, flag, perm)
}

// Open opens a file or folder for reading.
func Open(name string) (File, error) { return OpenFile(name, os.O_RDONLY, 0) }

// Create creates or truncates a file.
func Create(name string) (File, error) {
	return OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666)
}

// ReadFile is os.ReadFile.
func ReadFile(name string) ([]byte, error) {
	f, err := Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// Stat is os.Stat.
func Stat(name string) (fs.FileInfo, error) { return at(name).Stat(name) }

// Lstat is os.Lstat.
func Lstat(name string) (fs.FileInfo, error) { return at(name).Lstat(name) }

// Exists reports whether the path exists.
func Exists(name string) bool {
	_, err := Stat(name)
	return err == nil
}

// ReadDir is os.ReadDir: a folder's entries by name.
func ReadDir(name string) ([]fs.DirEntry, error) { return at(name).ReadDir(name) }

// Match returns the paths of a folder's entries whose names match a pattern of filepath.Match, in
// the order of their names; none where there is no such folder. filepath.Glob would take
// brackets and asterisks in the folder's own name as a part of the pattern, and find nothing.
func Match(dir, pattern string) (paths []string, err error) {
	entries, err := ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		ok, err := filepath.Match(pattern, e.Name())
		if err != nil {
			return nil, err
		}
		if ok {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, nil
}

// Remove is os.Remove.
func Remove(name string) error { return at(name).Remove(name) }

// RemoveIfThere is Remove, except that a missing file is no error.
func RemoveIfThere(name string) error {
	if err := Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// RemoveAll is os.RemoveAll. It does not follow symbolic links.
func RemoveAll(name string) error {
	info, err := Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		entries, err := ReadDir(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if err := RemoveAll(filepath.Join(name, e.Name())); err != nil {
				return err
			}
		}
	}
	return RemoveIfThere(name)
}

// Rename is os.Rename.
func Rename(oldName, newName string) error {
	f := at(oldName)
	if f != at(newName) {
		return &os.LinkError{Op: "rename", Old: oldName, New: newName, Err: syscall.EXDEV}
	}
	return f.Rename(oldName, newName)
}

// MkdirAll makes a folder and its parents, with the umask's mode, durably: the folders that
// gain an entry are synced.
func MkdirAll(name string) error {
	info, err := Stat(name)
	if err == nil {
		if info.IsDir() {
			return nil
		}
		return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.ENOTDIR}
	}
	parent := filepath.Dir(filepath.Clean(name))
	if parent != filepath.Clean(name) {
		if err := MkdirAll(parent); err != nil {
			return err
		}
	}
	if err := at(name).Mkdir(name, 0o777); err != nil {
		if info, again := Stat(name); again == nil && info.IsDir() {
			return nil // created by someone else in the meantime
		}
		return err
	}
	return SyncDir(parent)
}

// SyncDir makes the entries of a folder durable: files created, renamed and removed.
func SyncDir(name string) error {
	d, err := Open(name)
	if err != nil {
		return err
	}
	// Some file systems cannot sync a folder and return EINVAL: their renames are as durable as
	// they can be.
	if err = d.Sync(); errors.Is(err, syscall.EINVAL) {
		err = nil
	}
	return errors.Join(err, d.Close())
}
