package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	manifestFile = "manifest.json"
	tempPrefix   = ".tmp-"          // of everything unfinished
	oldPrefix    = ".tmp-replaced-" // a complete folder making room for its successor
)

// Dir is a folder being written that appears whole or not at all. Until Commit
// it has a dot name; a lock on it, which the kernel drops when the process dies,
// tells CleanStale whether anyone still writes.
type Dir struct {
	parent, name, temp string
	lock               *os.File
}

// manifest is what manifest.json holds: a folder without one, or whose files
// differ from it, is not complete.
type manifest struct {
	Version int            `json:"version"`
	Files   []manifestItem `json:"files"`
}

type manifestItem struct {
	Path   string `json:"path"` // slash-separated, below the folder
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Begin starts the folder parent/name under a temporary dot name; parent is made
// if need be. Write below Path, then Commit or Abort.
func Begin(parent, name string) (*Dir, error) {
	if name != filepath.Base(name) || strings.HasPrefix(name, ".") {
		panic(fmt.Sprintf("checkpoint: Begin with name %q", name))
	}
	if err := os.MkdirAll(parent, 0o777); err != nil {
		return nil, fmt.Errorf("checkpoint %s: %w", filepath.Join(parent, name), err)
	}
	temp, err := os.MkdirTemp(parent, tempPrefix+name+"-*")
	if err != nil {
		return nil, fmt.Errorf("checkpoint %s: %w", filepath.Join(parent, name), err)
	}
	d := &Dir{parent: parent, name: name, temp: temp}
	// Without locks (some network filesystems) CleanStale leaves folders alone.
	d.lock, _ = lockFolder(temp)
	if err := os.Chmod(temp, masked(0o777)); err != nil {
		return nil, errors.Join(err, d.Abort())
	}
	return d, nil
}

// Path is the folder to write into.
func (d *Dir) Path() string { return d.temp }

// Abort removes what was written.
func (d *Dir) Abort() error {
	return errors.Join(os.RemoveAll(d.temp), d.unlock())
}

func (d *Dir) unlock() error {
	if d.lock == nil {
		return nil
	}
	err := d.lock.Close()
	d.lock = nil
	return err
}

// Commit makes the folder durable and gives it its name: every file is synced,
// manifest.json with sizes and SHA-256 is written last, the folder is renamed. A
// folder of that name is replaced in the same moment. After an error, and after
// a kill at any point, what was there before is still complete.
func (d *Dir) Commit() error {
	err := d.seal()
	if err == nil {
		err = d.publish()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("checkpoint %s: %w", filepath.Join(d.parent, d.name), err), d.Abort())
	}
	return d.unlock()
}

// seal syncs what was written and adds the manifest.
func (d *Dir) seal() error {
	m, err := d.syncFiles()
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(filepath.Join(d.temp, manifestFile), append(text, '\n'))
}

// syncFiles makes every file and folder durable and describes the files.
func (d *Dir) syncFiles() (*manifest, error) {
	m := &manifest{Version: 1, Files: []manifestItem{}}
	err := filepath.WalkDir(d.temp, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir():
			return syncDir(path)
		case !e.Type().IsRegular():
			return fmt.Errorf("%s is not a regular file", path)
		}
		item, err := describe(d.temp, path, true)
		if item.Path == manifestFile {
			return fmt.Errorf("%s is the name of the manifest itself", path)
		}
		m.Files = append(m.Files, item)
		return err
	})
	return m, err
}

// describe hashes a file of the folder dir, and syncs it if told to.
func describe(dir, path string, durable bool) (manifestItem, error) {
	rel, err := filepath.Rel(dir, path)
	if err != nil {
		return manifestItem{}, err
	}
	item := manifestItem{Path: filepath.ToSlash(rel)}
	f, err := os.Open(path)
	if err != nil {
		return item, err
	}
	defer f.Close()
	h := sha256.New()
	if item.Size, err = io.Copy(h, f); err != nil {
		return item, err
	}
	item.SHA256 = hex.EncodeToString(h.Sum(nil))
	if durable {
		err = f.Sync()
	}
	return item, err
}

// publish renames the sealed folder to its name.
func (d *Dir) publish() error {
	final := filepath.Join(d.parent, d.name)
	if !exists(final) {
		if err := os.Rename(d.temp, final); err != nil {
			return err
		}
		return syncDir(d.parent)
	}
	// An exchange leaves no moment without a complete folder. Where there is
	// none, a kill between the two renames leaves the old folder under
	// oldPrefix, and CleanStale brings it back.
	old := d.temp
	if err := exchange(d.temp, final); err != nil {
		old = filepath.Join(d.parent, oldPrefix+d.name)
		if err := os.RemoveAll(old); err != nil {
			return err
		}
		if err := os.Rename(final, old); err != nil {
			return err
		}
		if err := os.Rename(d.temp, final); err != nil {
			return errors.Join(err, os.Rename(old, final))
		}
	}
	if err := syncDir(d.parent); err != nil {
		return err
	}
	return os.RemoveAll(old)
}

// Verify checks a folder against its manifest, hashes included. Files that the
// manifest does not name are ignored.
func Verify(dir string) error {
	path := filepath.Join(dir, manifestFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s has no %s: it was interrupted or not written by dataflex: %w", dir, manifestFile, err)
	}
	if err != nil {
		return err
	}
	var m manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if m.Version != 1 {
		return fmt.Errorf("%s: version %d, this program knows 1", path, m.Version)
	}
	for _, want := range m.Files {
		if !filepath.IsLocal(filepath.FromSlash(want.Path)) {
			return fmt.Errorf("%s: path %q leaves the folder", path, want.Path)
		}
		file := filepath.Join(dir, filepath.FromSlash(want.Path))
		info, err := os.Stat(file)
		if err != nil {
			return fmt.Errorf("%s is listed in %s: %w", file, manifestFile, err)
		}
		if info.Size() != want.Size {
			return fmt.Errorf("%s has %d bytes, %s says %d", file, info.Size(), manifestFile, want.Size)
		}
		got, err := describe(dir, file, false)
		if err != nil {
			return err
		}
		if got.SHA256 != want.SHA256 {
			return fmt.Errorf("%s is damaged: SHA-256 %s, %s says %s", file, got.SHA256, manifestFile, want.SHA256)
		}
	}
	return nil
}

// CleanStale removes what killed runs left in dir: folders and files named
// ".tmp-…-<number>" that no living process writes. A complete folder that was
// making room for its successor is put back instead. It returns one line for
// each thing it did. Call it once, before writing: files carry no locks.
func CleanStale(dir string) (notes []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if !isTemporary(e.Name()) {
			continue
		}
		note, err := cleanOne(path, e.IsDir())
		if err != nil {
			return notes, err
		}
		notes = append(notes, note)
	}
	return notes, nil
}

// isTemporary recognises the names that this package gives: os.MkdirTemp and
// os.CreateTemp append digits, and so do checkpoint names.
func isTemporary(name string) bool {
	rest, ok := strings.CutPrefix(name, tempPrefix)
	dash := strings.LastIndexByte(rest, '-')
	return ok && dash > 0 && dash < len(rest)-1 && strings.Trim(rest[dash+1:], "0123456789") == ""
}

// cleanOne puts a replaced folder back or removes what nobody writes.
func cleanOne(path string, isDir bool) (note string, err error) {
	if isDir {
		lock, err := lockFolder(path)
		if err != nil {
			return fmt.Sprintf("left %s alone, another run may be writing it", path), nil
		}
		defer lock.Close()
	}
	if name, ok := strings.CutPrefix(filepath.Base(path), oldPrefix); ok {
		original := filepath.Join(filepath.Dir(path), name)
		if !exists(original) && Verify(path) == nil {
			return fmt.Sprintf("put %s back, which an interrupted run was replacing", original), os.Rename(path, original)
		}
	}
	return fmt.Sprintf("removed %s, left by an interrupted run", path), os.RemoveAll(path)
}
