package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// Folder is a folder being written that appears complete or not at all. Until it is published
// it has a name beginning with a dot; a lock on it, which the kernel releases when the process
// dies, tells CleanStale whether it is still being written.
type Folder struct {
	parent, name, temp string
	lock               File
}

// wasPrefix begins the name of a complete folder that makes room for its successor.
const wasPrefix = tempPrefix + "was-"

// Begin starts the folder parent/name under a temporary dot name and makes parent if necessary.
// Write below Path, then call Commit, Publish or Abort.
func Begin(parent, name string) (*Folder, error) {
	if name != filepath.Base(name) || name == "." || name == ".." {
		panic(fmt.Sprintf("storage: Begin with name %q", name))
	}
	if err := MkdirAll(parent); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(parent, name), err)
	}
	for try := 0; ; try++ {
		f := &Folder{parent: parent, name: name, temp: tempName(filepath.Join(parent, name))}
		err := at(parent).Mkdir(f.temp, 0o777)
		if err == nil {
			err = f.hold()
		}
		if err == nil {
			return f, nil
		}
		if try == 1000 || !errors.Is(err, fs.ErrExist) && !errors.Is(err, errSwept) {
			return nil, fmt.Errorf("%s: %w", filepath.Join(parent, name), err)
		}
	}
}

// errSwept: another process removed the folder or file before it was locked.
var errSwept = errors.New("it was taken for one that was left behind")

// hold locks the new folder. Where there are no locks (some network file systems) it stays
// unlocked, and CleanStale leaves it alone.
func (f *Folder) hold() error {
	d, err := Open(f.temp)
	if err != nil {
		return errSwept
	}
	switch err := d.TryLock(); {
	case errors.Is(err, ErrLocked):
		return errors.Join(errSwept, d.Close())
	case err != nil:
		return d.Close()
	}
	if !Exists(f.temp) {
		return errors.Join(errSwept, d.Close())
	}
	f.lock = d
	return nil
}

// Path is the folder to write into.
func (f *Folder) Path() string { return f.temp }

// Final is the name it will have.
func (f *Folder) Final() string { return filepath.Join(f.parent, f.name) }

// Abort removes the unfinished folder.
func (f *Folder) Abort() error { return errors.Join(RemoveAll(f.temp), f.unlock()) }

func (f *Folder) unlock() error {
	if f.lock == nil {
		return nil
	}
	err := f.lock.Close()
	f.lock = nil
	return err
}

// Commit is Publish with a manifest: manifest.json lists every file's size and SHA-256, which
// Verify checks.
func (f *Folder) Commit() error {
	if err := f.seal(); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", f.Final(), err), f.Abort())
	}
	return f.Publish()
}

// Publish makes the folder durable and gives it its name: every file is synced, then the folder
// is renamed. A folder of that name is replaced atomically; where the file system cannot
// exchange two names, a kill between two renames leaves the old folder under a temporary name,
// from which CleanStale restores it. After an error, and after a kill at any point, the
// previous folder is still complete.
func (f *Folder) Publish() error {
	err := f.sync()
	if err == nil {
		err = f.publish()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", f.Final(), err), f.Abort())
	}
	mappedMoved(f.temp, f.Final())
	return f.unlock()
}

// sync makes every file and folder durable, children first.
func (f *Folder) sync() error {
	return walk(f.temp, func(path string, isDir bool) error {
		if isDir {
			return SyncDir(path)
		}
		return syncFile(path)
	})
}

// SyncBelow makes the regular files of a folder durable, including their names, and those of
// the folders in it, except the folders that skip names. It is for files that are appended to
// and that something about to be written will rely on.
func SyncBelow(dir string, skip func(name string) bool) error {
	entries, err := ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir() && !skip(e.Name()):
			err = SyncBelow(path, skip)
		case e.Type().IsRegular():
			err = syncFile(path)
		}
		if err != nil {
			return err
		}
	}
	return SyncDir(dir)
}

func syncFile(path string) error {
	file, err := Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// walk visits the regular files and folders below dir, and dir itself, each folder after its
// content. Anything else is an error.
func walk(dir string, visit func(path string, isDir bool) error) error {
	entries, err := ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir():
			err = walk(path, visit)
		case e.Type().IsRegular():
			err = visit(path, false)
		default:
			err = fmt.Errorf("%s is not a regular file", path)
		}
		if err != nil {
			return err
		}
	}
	return visit(dir, true)
}

// publish renames the durable folder to its name. Another program may make, replace or restore
// (CleanStale) a folder of that name at the same time: publish then tries again, and the last
// to publish replaces the others.
func (f *Folder) publish() error {
	for try := 0; ; try++ {
		err := f.rename()
		if try == 100 || !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
}

// rename is one attempt. fs.ErrExist: a folder of that name has appeared in the meantime.
func (f *Folder) rename() error {
	final := f.Final()
	if _, err := Lstat(final); errors.Is(err, fs.ErrNotExist) {
		if err := Rename(f.temp, final); err != nil {
			return err
		}
		return SyncDir(f.parent)
	}
	if err := at(f.parent).Exchange(f.temp, final); err == nil {
		if err := SyncDir(f.parent); err != nil {
			return err
		}
		return RemoveAll(f.temp)
	}
	was := strings.Replace(tempName(final), tempPrefix, wasPrefix, 1)
	if err := Rename(final, was); err != nil {
		return err
	}
	if err := Rename(f.temp, final); err != nil {
		if back := Rename(was, final); back != nil && !Exists(final) {
			err = errors.Join(err, back)
		}
		return err
	}
	if err := SyncDir(f.parent); err != nil {
		return err
	}
	// A folder named wasPrefix is always complete.
	if err := Rename(was, f.temp); err != nil && !errors.Is(err, fs.ErrNotExist) { // or another program's CleanStale has restored or removed it
		return err
	}
	return RemoveAll(f.temp)
}

// RemoveFolder removes a complete folder such that a partial one is never seen under its name.
func RemoveFolder(path string) error {
	doomed := tempName(path)
	if err := Rename(path, doomed); err != nil {
		return err
	}
	return errors.Join(SyncDir(filepath.Dir(path)), RemoveAll(doomed))
}
