package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// CleanStale removes what killed programs left in dir: folders and files named
// ".tmp-…-<number>" that no living process writes. A whole folder that was making room
// for its successor is put back instead. It returns one line for each thing it did.
// Call it once, before writing, by a process that holds dir alone: files carry no locks.
func CleanStale(dir string) (notes []string, err error) {
	return cleanStale(dir, func(fs.DirEntry) bool { return true })
}

// CleanStaleFolders is CleanStale of the folders alone, for a dir of ours that several
// processes write.
func CleanStaleFolders(dir string) (notes []string, err error) {
	return cleanStale(dir, fs.DirEntry.IsDir)
}

// CleanStaleFolder is CleanStale of what was left of the folder dir/name alone, for a
// dir that is not ours.
func CleanStaleFolder(dir, name string) (notes []string, err error) {
	return cleanStale(dir, func(e fs.DirEntry) bool {
		of := strings.TrimPrefix(strings.TrimPrefix(e.Name(), wasPrefix), tempPrefix)
		return e.IsDir() && of[:strings.LastIndexByte(of, '-')] == name
	})
}

func cleanStale(dir string, want func(fs.DirEntry) bool) (notes []string, err error) {
	entries, err := ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var faults []error
	for _, e := range entries {
		if !isTemporary(e.Name()) || !want(e) {
			continue
		}
		note, err := cleanOne(filepath.Join(dir, e.Name()), e.IsDir())
		if err != nil {
			faults = append(faults, err)
			continue
		}
		notes = append(notes, note)
	}
	return notes, errors.Join(faults...)
}

// isTemporary recognises the names that this package gives.
func isTemporary(name string) bool {
	rest, ok := strings.CutPrefix(name, tempPrefix)
	dash := strings.LastIndexByte(rest, '-')
	return ok && dash > 0 && dash < len(rest)-1 && strings.Trim(rest[dash+1:], "0123456789") == ""
}

// cleanOne puts a replaced folder back or removes what nobody writes.
func cleanOne(path string, isDir bool) (note string, err error) {
	if isDir {
		d, err := Open(path)
		if err != nil {
			return fmt.Sprintf("left %s alone: %v", path, err), nil
		}
		defer d.Close()
		if err := d.TryLock(); err != nil {
			return fmt.Sprintf("left %s alone, another run may be writing it", path), nil
		}
	}
	if rest, ok := strings.CutPrefix(filepath.Base(path), wasPrefix); ok && isDir {
		final := filepath.Join(filepath.Dir(path), rest[:strings.LastIndexByte(rest, '-')])
		if !Exists(final) {
			return fmt.Sprintf("put %s back, which an interrupted run was replacing", final), Rename(path, final)
		}
	}
	return fmt.Sprintf("removed %s, left by an interrupted run", path), RemoveAll(path)
}
