package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
)

// exportFile records what export wrote to a folder, so that the next export knows which files
// it may replace.
const exportFile = ".dataflex_export.json"

// target is the folder that export writes. Files are staged first: a folder that did not exist
// appears complete, and in an existing one files are replaced, config.json last, since a folder
// without it is not taken for a model.
type target struct {
	dir     string
	sources string // the model and the adapters merged
	exists  bool
	own     map[string]int64 // sizes of the files of an earlier export of the same sources
	doomed  []string         // weights of another model, if overwriting was requested
	lock    *storage.Lock
	staged  *storage.Folder
}

// openTarget checks that files of these names would overwrite nothing but an earlier export of
// the same sources, unless overwriting was requested.
func openTarget(dir string, sources []string, names []string, overwrite bool) (t *target, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	t = &target{dir: dir, sources: strings.Join(sources, " + "), own: map[string]int64{}}
	parent, name := filepath.Split(dir)
	switch info, err := storage.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case !info.IsDir():
		return nil, fmt.Errorf("%s is a file", dir)
	default:
		t.exists = true
		parent, name = dir, "export" // its parent may be on another file system, or not writable
	}
	if err := storage.MkdirAll(parent); err != nil {
		return nil, err
	}
	if t.lock, err = storage.TakeLock(filepath.Join(parent, "."+name+".lock")); err != nil {
		return nil, err
	}
	if t.exists {
		if err := t.look(names, overwrite); err != nil {
			return nil, errors.Join(err, t.lock.Release())
		}
	}
	_, _ = storage.CleanStaleFolder(parent, name)
	if t.staged, err = storage.Begin(parent, name); err != nil {
		return nil, errors.Join(err, t.lock.Release())
	}
	return t, nil
}

// look examines what is in the folder.
func (t *target) look(names []string, overwrite bool) error {
	sources := t.readOwn()
	entries, err := storage.ReadDir(t.dir)
	if err != nil {
		return err
	}
	var others []string
	for _, e := range entries {
		n := e.Name()
		info, err := e.Info()
		if err != nil {
			return err
		}
		size, own := t.own[n]
		own = own && size == info.Size()
		switch {
		case own && (sources == t.sources || overwrite):
		case slices.Contains(names, n) && info.IsDir():
			return fmt.Errorf("%s is a folder where export writes a file", filepath.Join(t.dir, n))
		case isWeights(n), slices.Contains(names, n):
			others = append(others, n)
			if isWeights(n) && !slices.Contains(names, n) {
				t.doomed = append(t.doomed, n)
			}
		}
	}
	for _, n := range names { // of files in folders
		info, err := storage.Stat(filepath.Join(t.dir, n))
		if err != nil || !strings.Contains(n, "/") {
			continue
		}
		if size, own := t.own[n]; !own || size != info.Size() || sources != t.sources {
			others = append(others, n)
		}
	}
	if len(others) > 0 && !overwrite {
		return fmt.Errorf("%s contains another model (%s): name another folder, or give --overwrite to replace it", t.dir, strings.Join(others, ", "))
	}
	return nil
}

// isWeights recognises files that transformers would load as a model's weights.
func isWeights(name string) bool {
	if name == storage.ModelFile || name == storage.ModelIndexFile || name == storage.AdapterFile {
		return true
	}
	var part, of int
	n, err := fmt.Sscanf(name, "model-%d-of-%d.safetensors", &part, &of)
	return n == 2 && err == nil && name == shardName(part-1, of)
}

// readOwn reads the record of an earlier export and returns its sources.
func (t *target) readOwn() (sources string) {
	text, err := storage.ReadFile(filepath.Join(t.dir, exportFile))
	if err != nil {
		return ""
	}
	o, err := pyjson.DecodeObject(text)
	if err != nil {
		return ""
	}
	files, _ := o.Get("files").(pyjson.Object)
	for _, f := range files {
		if size, ok := f.Value.(int); ok {
			t.own[f.Key] = int64(size)
		}
	}
	sources, _ = o.Get("sources").(string)
	return sources
}

// writeOwn records files as written by export.
func (t *target) writeOwn(dir string, files map[string]int64) error {
	list := pyjson.Object{}
	for _, n := range slices.Sorted(maps.Keys(files)) {
		list = append(list, pyjson.Field{Key: n, Value: int(files[n])})
	}
	o := pyjson.Object{{Key: "sources", Value: t.sources}, {Key: "files", Value: list}}
	return storage.WriteFile(filepath.Join(dir, exportFile), []byte(pyjson.Encode(o, 2)+"\n"))
}

// path is the folder to write to.
func (t *target) path() string { return t.staged.Path() }

// abort removes staged files that were not installed.
func (t *target) abort() error {
	var err error
	if t.staged != nil {
		err = t.staged.Abort()
	}
	return errors.Join(err, t.lock.Release())
}

// install moves the staged files to their place.
func (t *target) install() error {
	files := map[string]int64{}
	if err := sizes(t.path(), "", files); err != nil {
		return err
	}
	if t.exists {
		return t.replace(files)
	}
	if err := t.writeOwn(t.path(), files); err != nil {
		return err
	}
	staged := t.staged
	t.staged = nil
	return staged.Publish()
}

// sizes adds the sizes of the files below a folder, by their paths in it.
func sizes(dir, below string, files map[string]int64) error {
	entries, err := storage.ReadDir(filepath.Join(dir, below))
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(below, e.Name())
		if e.IsDir() {
			if err := sizes(dir, name, files); err != nil {
				return err
			}
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		files[name] = info.Size()
	}
	return nil
}

// replace moves the staged files into an existing folder. After a kill at any point the next
// export recognises all files.
func (t *target) replace(files map[string]int64) error {
	if err := t.writeOwn(t.path(), files); err != nil {
		return err
	}
	move := func(n string) error {
		if err := storage.MkdirAll(filepath.Dir(filepath.Join(t.dir, n))); err != nil {
			return err
		}
		return storage.Rename(filepath.Join(t.path(), n), filepath.Join(t.dir, n))
	}
	for _, n := range slices.Concat([]string{storage.ConfigFile}, t.doomed, slices.Collect(maps.Keys(t.own))) {
		if err := storage.RemoveIfThere(filepath.Join(t.dir, n)); err != nil {
			return err
		}
	}
	if err := storage.SyncDir(t.dir); err != nil {
		return err
	}
	if err := move(exportFile); err != nil {
		return err
	}
	for n := range files {
		if n == storage.ConfigFile {
			continue
		}
		if err := move(n); err != nil {
			return err
		}
	}
	if err := storage.SyncDir(t.dir); err != nil {
		return err
	}
	if err := move(storage.ConfigFile); err != nil {
		return err
	}
	return storage.SyncDir(t.dir)
}
