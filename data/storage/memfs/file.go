package memfs

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"dataflex.dev/dataflex/data/storage"
)

// file is an open node.
type file struct {
	fs     *FS
	node   *node
	path   string
	flag   int
	at     int64
	holds  bool // of the lock
	closed bool
}

func (f *file) Name() string { return f.path }

func (f *file) Stat() (fs.FileInfo, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return info{filepath.Base(f.path), f.node, int64(len(f.node.data)), f.node.changed}, nil
}

// shortRead is the most bytes that a short read returns.
const shortRead = 7

func (f *file) Read(p []byte) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usable(); err != nil {
		return 0, pathError("read", f.path, err)
	}
	if err := f.fs.read(); err != nil {
		return 0, pathError("read", f.path, err)
	}
	if f.at >= int64(len(f.node.data)) {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	if f.fs.short {
		p = p[:min(len(p), shortRead)]
	}
	n := copy(p, f.node.data[f.at:])
	f.at += int64(n)
	return n, nil
}

func (f *file) ReadAt(p []byte, at int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usable(); err != nil {
		return 0, pathError("read", f.path, err)
	}
	if err := f.fs.read(); err != nil {
		return 0, pathError("read", f.path, err)
	}
	if at >= int64(len(f.node.data)) {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	n := copy(p, f.node.data[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) usable() error {
	if f.closed {
		return os.ErrClosed
	}
	return nil
}

func (f *file) Write(p []byte) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.flag&os.O_APPEND != 0 {
		f.at = int64(len(f.node.data))
	}
	n, err := f.writeAt(p, f.at)
	f.at += int64(n)
	return n, err
}

func (f *file) WriteAt(p []byte, at int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.writeAt(p, at)
}

// writeAt writes half of a write that fails, as a full disk does.
func (f *file) writeAt(p []byte, at int64) (int, error) {
	if err := f.usable(); err != nil {
		return 0, pathError("write", f.path, err)
	}
	if f.flag&(os.O_WRONLY|os.O_RDWR) == 0 {
		return 0, pathError("write", f.path, syscall.EBADF)
	}
	err := f.fs.change("write", f.path)
	if errors.Is(err, ErrPowerCut) {
		return 0, pathError("write", f.path, err)
	}
	if err != nil {
		p = p[:len(p)/2]
	}
	if end := at + int64(len(p)); end > int64(len(f.node.data)) {
		f.node.data = append(f.node.data, make([]byte, end-int64(len(f.node.data)))...)
	}
	n := copy(f.node.data[at:], p)
	f.node.changed = time.Now()
	return n, pathError("write", f.path, err)
}

func (f *file) Chmod(mode fs.FileMode) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.node.mode = mode
	return nil
}

func (f *file) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.change("truncate", f.path); err != nil {
		return pathError("truncate", f.path, err)
	}
	data := make([]byte, size)
	copy(data, f.node.data)
	f.node.data, f.node.changed = data, time.Now()
	return nil
}

func (f *file) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usable(); err != nil {
		return pathError("sync", f.path, err)
	}
	if err := f.fs.change("sync", f.path); err != nil {
		return pathError("sync", f.path, err)
	}
	if f.node.isDir {
		f.node.durable = maps.Clone(f.node.entries)
	} else {
		f.node.synced = slices.Clone(f.node.data)
	}
	return nil
}

func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return os.ErrClosed
	}
	f.closed = true
	if f.holds {
		f.node.locked = false
	}
	return nil
}

func (f *file) TryLock() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.node.locked {
		return storage.ErrLocked
	}
	f.node.locked, f.holds = true, true
	return nil
}

// Map returns a copy.
func (f *file) Map() ([]byte, func() error, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.node.isDir {
		return nil, nil, pathError("map", f.path, syscall.EISDIR)
	}
	if err := f.fs.read(); err != nil {
		return nil, nil, pathError("map", f.path, err)
	}
	return slices.Clone(f.node.data), func() error { return nil }, nil
}
