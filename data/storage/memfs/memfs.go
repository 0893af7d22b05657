// Package memfs is an in-memory file system for tests that fails on request: the n-th change is
// refused, or a power cut at that change loses everything that was not synced; reads come up
// short or fail.
//
// It guarantees no more than POSIX does: syncing a file makes its content durable, not its
// name; a name is durable once its folder was synced. A test with kill -9 keeps the page cache
// and so cannot notice a missing sync; this one can.
package memfs

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"dataflex.dev/dataflex/data/storage"
)

// Kind is a kind of fault.
type Kind int

const (
	None     Kind = iota
	Refuse        // the n-th change fails with EIO, and nothing else does
	Full          // from the n-th change on, creating and writing fail with ENOSPC
	PowerCut      // power is lost at the n-th change: nothing works until Restart
	ReadFail      // the n-th read fails with EIO
)

// Fault is what goes wrong at the n-th change or read, counted from 1.
type Fault struct {
	Kind Kind
	N    int
}

// ErrPowerCut is what every operation returns after a power cut.
var ErrPowerCut = errors.New("the power is gone")

// FS is a file system. Its root is the folder on which it is mounted.
type FS struct {
	mu             sync.Mutex
	root           string
	top            *node
	fault          Fault
	changes, reads int
	dead           bool
	short          bool
	log            []string
	cuts           *cuts // nil: not recorded
}

// node is a file or a folder, with its durable state.
type node struct {
	isDir   bool
	mode    fs.FileMode
	changed time.Time
	data    []byte
	synced  []byte // replaced by a sync, never written into
	entries map[string]*node
	durable map[string]*node
	locked  bool
}

func newDir(mode fs.FileMode) *node {
	return &node{isDir: true, mode: mode, changed: time.Now(), entries: map[string]*node{}, durable: map[string]*node{}}
}

// New is an empty file system for the folder root.
func New(root string) *FS {
	return &FS{root: filepath.Clean(root), top: newDir(0o777)}
}

// Plan sets the fault; counting starts again from 1.
func (f *FS) Plan(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.changes, f.reads, f.log = fault, 0, 0, nil
}

// ShortReads makes every Read return at most a few bytes, as the contract of io.Reader allows.
func (f *FS) ShortReads(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.short = on
}

// Changes is the number of changes since Plan.
func (f *FS) Changes() int { f.mu.Lock(); defer f.mu.Unlock(); return f.changes }

// Reads is the number of reads since Plan.
func (f *FS) Reads() int { f.mu.Lock(); defer f.mu.Unlock(); return f.reads }

// Log lists the changes since Plan.
func (f *FS) Log() []string { f.mu.Lock(); defer f.mu.Unlock(); return slices.Clone(f.log) }

// Restart is the disk's content after power is restored: what was synced. Files that are open
// belong to the process that was lost.
func (f *FS) Restart() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
	return &FS{root: f.root, top: f.top.afterPowerCut(durableNames)}
}

// names is which entries of a folder a power cut leaves.
type names func(*node) map[string]*node

func durableNames(n *node) map[string]*node { return n.durable }
func allNames(n *node) map[string]*node     { return n.entries }

func (n *node) afterPowerCut(left names) *node {
	m := &node{isDir: n.isDir, mode: n.mode, changed: n.changed, data: slices.Clone(n.synced), synced: n.synced}
	if n.isDir {
		m.entries, m.durable = map[string]*node{}, map[string]*node{}
		for name, e := range left(n) {
			m.entries[name] = e.afterPowerCut(left)
		}
		maps.Copy(m.durable, m.entries)
	}
	return m
}

// change counts a change and returns the error of the one that fails. The caller holds mu.
func (f *FS) change(what, path string) error {
	if f.dead {
		return ErrPowerCut
	}
	if f.cuts != nil {
		f.cuts.record(f)
	}
	f.changes++
	f.log = append(f.log, what+" "+strings.TrimPrefix(path, f.root))
	switch {
	case f.fault.Kind == PowerCut && f.changes == f.fault.N:
		f.dead = true
		return ErrPowerCut
	case f.fault.Kind == Refuse && f.changes == f.fault.N:
		return syscall.EIO
	case f.fault.Kind == Full && f.changes >= f.fault.N && (what == "write" || what == "create" || what == "mkdir"):
		return syscall.ENOSPC
	}
	return nil
}

// read counts a read.
func (f *FS) read() error {
	if f.dead {
		return ErrPowerCut
	}
	if f.reads++; f.fault.Kind == ReadFail && f.reads == f.fault.N {
		return syscall.EIO
	}
	return nil
}

// find is the node at a path; nil where there is none.
func (f *FS) find(path string) *node {
	rel, err := filepath.Rel(f.root, filepath.Clean(path))
	if err != nil {
		return nil
	}
	n := f.top
	if rel == "." {
		return n
	}
	for part := range strings.SplitSeq(rel, string(filepath.Separator)) {
		if n = n.entries[part]; n == nil {
			return nil
		}
	}
	return n
}

// parent is the folder of a path and the name in it.
func (f *FS) parent(path string) (*node, string) {
	n := f.find(filepath.Dir(filepath.Clean(path)))
	if n == nil || !n.isDir {
		return nil, ""
	}
	return n, filepath.Base(path)
}

func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}

// OpenFile implements storage.FS.
func (f *FS) OpenFile(path string, flag int, perm fs.FileMode) (storage.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return nil, pathError("open", path, ErrPowerCut)
	}
	n := f.find(path)
	switch {
	case n != nil && flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return nil, pathError("open", path, syscall.EEXIST)
	case n == nil && flag&os.O_CREATE == 0:
		return nil, pathError("open", path, syscall.ENOENT)
	case n == nil:
		dir, name := f.parent(path)
		if dir == nil {
			return nil, pathError("open", path, syscall.ENOENT)
		}
		if err := f.change("create", path); err != nil {
			return nil, pathError("open", path, err)
		}
		n = &node{mode: perm &^ 0o022, changed: time.Now()}
		dir.entries[name] = n
	case n.isDir && flag&(os.O_WRONLY|os.O_RDWR) != 0:
		return nil, pathError("open", path, syscall.EISDIR)
	case flag&os.O_TRUNC != 0:
		if err := f.change("truncate", path); err != nil {
			return nil, pathError("open", path, err)
		}
		n.data, n.changed = nil, time.Now()
	}
	return &file{fs: f, node: n, path: path, flag: flag}, nil
}

// Mkdir implements storage.FS.
func (f *FS) Mkdir(path string, perm fs.FileMode) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, name := f.parent(path)
	switch {
	case dir == nil:
		return pathError("mkdir", path, syscall.ENOENT)
	case dir.entries[name] != nil:
		return pathError("mkdir", path, syscall.EEXIST)
	}
	if err := f.change("mkdir", path); err != nil {
		return pathError("mkdir", path, err)
	}
	dir.entries[name] = newDir(perm &^ 0o022)
	return nil
}

// Rename implements storage.FS.
func (f *FS) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	fail := func(err error) error { return &os.LinkError{Op: "rename", Old: from, New: to, Err: err} }
	dir, name := f.parent(from)
	toDir, toName := f.parent(to)
	if dir == nil || toDir == nil || dir.entries[name] == nil {
		return fail(syscall.ENOENT)
	}
	if there := toDir.entries[toName]; there != nil && there.isDir && len(there.entries) > 0 {
		return fail(syscall.ENOTEMPTY)
	}
	if err := f.change("rename", from+" to "+filepath.Base(to)); err != nil {
		return fail(err)
	}
	n := dir.entries[name]
	delete(dir.entries, name)
	toDir.entries[toName] = n
	return nil
}

// Exchange implements storage.FS.
func (f *FS) Exchange(a, b string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	aDir, aName := f.parent(a)
	bDir, bName := f.parent(b)
	fail := func(err error) error { return &os.LinkError{Op: "exchange", Old: a, New: b, Err: err} }
	if aDir == nil || bDir == nil || aDir.entries[aName] == nil || bDir.entries[bName] == nil {
		return fail(syscall.ENOENT)
	}
	if err := f.change("exchange", a+" with "+filepath.Base(b)); err != nil {
		return fail(err)
	}
	aDir.entries[aName], bDir.entries[bName] = bDir.entries[bName], aDir.entries[aName]
	return nil
}

// Remove implements storage.FS.
func (f *FS) Remove(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, name := f.parent(path)
	if dir == nil || dir.entries[name] == nil {
		return pathError("remove", path, syscall.ENOENT)
	}
	if n := dir.entries[name]; n.isDir && len(n.entries) > 0 {
		return pathError("remove", path, syscall.ENOTEMPTY)
	}
	if err := f.change("remove", path); err != nil {
		return pathError("remove", path, err)
	}
	delete(dir.entries, name)
	return nil
}

// Stat implements storage.FS.
func (f *FS) Stat(path string) (fs.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return nil, pathError("stat", path, ErrPowerCut)
	}
	n := f.find(path)
	if n == nil {
		return nil, pathError("stat", path, syscall.ENOENT)
	}
	return info{filepath.Base(path), n, int64(len(n.data)), n.changed}, nil
}

// Lstat implements storage.FS: there are no links.
func (f *FS) Lstat(path string) (fs.FileInfo, error) { return f.Stat(path) }

// Readlink implements storage.FS.
func (f *FS) Readlink(path string) (string, error) {
	return "", pathError("readlink", path, syscall.EINVAL)
}

// ReadDir implements storage.FS.
func (f *FS) ReadDir(path string) ([]fs.DirEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.find(path)
	if n == nil || !n.isDir {
		return nil, pathError("open", path, syscall.ENOENT)
	}
	if err := f.read(); err != nil {
		return nil, pathError("readdirent", path, err)
	}
	var out []fs.DirEntry
	for _, name := range slices.Sorted(maps.Keys(n.entries)) {
		e := n.entries[name]
		out = append(out, fs.FileInfoToDirEntry(info{name, e, int64(len(e.data)), e.changed}))
	}
	return out, nil
}

// info is a snapshot of a node. os.SameFile only knows the operating system's files; here equal
// Sys means the same file.
type info struct {
	name    string
	node    *node
	size    int64
	changed time.Time
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) ModTime() time.Time { return i.changed }
func (i info) IsDir() bool        { return i.node.isDir }
func (i info) Sys() any           { return i.node }
func (i info) Mode() fs.FileMode {
	if i.node.isDir {
		return i.node.mode | fs.ModeDir
	}
	return i.node.mode
}
