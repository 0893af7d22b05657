package cache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// tempPrefix is that of folders being written. The lock on one says whether anybody
// still writes it.
const tempPrefix = ".tmp-tokens-"

// folder is a folder being written that appears whole or not at all.
type folder struct {
	final, temp string
	lock        *os.File
}

// begin starts parent/name under a temporary name and removes what killed programs left.
func begin(parent, name string) (*folder, error) {
	if err := os.MkdirAll(parent, 0o777); err != nil {
		return nil, err
	}
	sweep(parent)
	temp, err := os.MkdirTemp(parent, tempPrefix+"*")
	if err != nil {
		return nil, err
	}
	f := &folder{final: filepath.Join(parent, name), temp: temp}
	// Without locks (some network filesystems) sweep leaves folders alone.
	f.lock, _ = lockFolder(temp)
	return f, nil
}

// sweep removes temporary folders that nobody holds. What cannot be removed stays: it
// is in nobody's way.
func sweep(parent string) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, e := range entries {
		path := filepath.Join(parent, e.Name())
		if !e.IsDir() || !strings.HasPrefix(e.Name(), tempPrefix) {
			continue
		}
		if lock, err := lockFolder(path); err == nil {
			_ = os.RemoveAll(path)
			lock.Close()
		}
	}
}

func (f *folder) path(name string) string { return filepath.Join(f.temp, name) }

// abort removes what was written.
func (f *folder) abort() {
	_ = os.RemoveAll(f.temp)
	f.unlock()
}

func (f *folder) unlock() {
	if f.lock != nil {
		f.lock.Close()
	}
}

// commit gives the folder, whose files are synced, its name. One of that name makes
// room: its mappings stay valid.
func (f *folder) commit() error {
	defer f.unlock()
	if err := syncDir(f.temp); err != nil {
		return err
	}
	if err := os.Chmod(f.temp, 0o755); err != nil {
		return err
	}
	if _, err := os.Lstat(f.final); err == nil {
		old := f.temp + "-old"
		if err := os.Rename(f.final, old); err != nil {
			return err
		}
		defer os.RemoveAll(old)
	}
	if err := os.Rename(f.temp, f.final); err != nil {
		return err
	}
	return syncDir(filepath.Dir(f.final))
}

// writeFile replaces path, or leaves it as it was.
func writeFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// syncDir makes renames in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	// Some filesystems cannot sync a folder and say EINVAL.
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}

// writing names what could not be written, and the way out of a full disk.
func (f *folder) writing(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("tokenising into %s: the disk is full: free some space, or set DATAFLEX_CACHE (or tokenized_path) to a folder on another disk; nothing was left behind: %w", f.final, err)
	}
	return fmt.Errorf("tokenising into %s: %w", f.final, err)
}
