package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// CleanStale removes what killed programs left in dir: folders and files named
// ".tmp-…-<number>" that no living process writes. A complete folder that was renamed away to
// make room for its successor is restored instead. It returns one line for each action. Call it
// once, before writing, in a process that holds dir exclusively: files carry no locks.
func CleanStale(dir string) (notes []string, err error) {
	return cleanStale(dir, func(fs.DirEntry) bool { return true })
}

// CleanStaleFolders is CleanStale restricted to folders, for a dir of ours to which several
// processes write.
func CleanStaleFolders(dir string) (notes []string, err error) {
	return cleanStale(dir, fs.DirEntry.IsDir)
}

// CleanStaleFolder is CleanStale restricted to what was left of the folder dir/name, for a dir
// that is not ours.
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

// isTemporary recognises the temporary names of this package.
func isTemporary(name string) bool {
	rest, ok := strings.CutPrefix(name, tempPrefix)
	dash := strings.LastIndexByte(rest, '-')
	return ok && dash > 0 && dash < len(rest)-1 && strings.Trim(rest[dash+1:], "0123456789") == ""
}

// cleanOne restores a replaced folder, or removes what no process writes.
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
			return fmt.Sprintf("restored %s, which an interrupted run was replacing", final), Rename(path, final)
		}
	}
	return fmt.Sprintf("removed %s, left by an interrupted run", path), RemoveAll(path)
}
