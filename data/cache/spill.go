package cache

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"unsafe"

	"dataflex.dev/dataflex/data/storage"
)

const (
	spillAfter = 1 << 15 // values that are kept in the heap; more of them go to a file
	spillChunk = 1 << 12 // values written at once
)

// spill collects one value per row without taking memory for each: from spillAfter on they
// are in a file without a name, which is mapped in the end, so that the kernel can take their
// pages back and the garbage collector does not look at them. Where there can be no such file,
// or its disk is full, they stay in the heap.
//
// Pointers in the values are not seen by the garbage collector: what they point to must be
// mapped memory, or be kept alive by something else.
type spill[T any] struct {
	dirs    []string // where the file may be, first choice first
	after   int
	values  []T // in the heap: all of them, or those not written yet
	file    storage.File
	written int
	inHeap  bool // the rows stay in memory
}

func newSpill[T any](after int, dirs ...string) *spill[T] {
	return &spill[T]{dirs: dirs, after: after, inHeap: runtime.GOOS == "windows"} // files are not mapped on Windows
}

func (s *spill[T]) len() int { return s.written + len(s.values) }

func (s *spill[T]) add(v T) error {
	s.values = append(s.values, v)
	if s.inHeap || s.file == nil && len(s.values) < s.after || len(s.values) < spillChunk {
		return nil
	}
	return s.flush()
}

// flush moves the values to the file, or gives the file up.
func (s *spill[T]) flush() error {
	if s.file == nil {
		if s.file = unnamed(s.dirs); s.file == nil {
			s.inHeap = true
			return nil
		}
	}
	if _, err := s.file.Write(bytesOf(s.values)); err != nil {
		return s.giveUp()
	}
	s.written += len(s.values)
	if cap(s.values) > spillChunk {
		s.values = make([]T, 0, spillChunk)
	}
	s.values = s.values[:0]
	return nil
}

// giveUp reads back what was written.
func (s *spill[T]) giveUp() error {
	all := make([]T, 0, 2*s.len())
	chunk := make([]T, spillChunk)
	for at := 0; at < s.written; at += len(chunk) {
		chunk = chunk[:min(len(chunk), s.written-at)]
		b := bytesOf(chunk)
		if _, err := io.ReadFull(io.NewSectionReader(s.file, int64(at)*int64(unsafe.Sizeof(chunk[0])), int64(len(b))), b); err != nil {
			return fmt.Errorf("reading %s: %w", s.file.Name(), err)
		}
		all = append(all, chunk...)
	}
	s.values, s.written, s.inHeap = append(all, s.values...), 0, true
	err := s.file.Close()
	s.file = nil
	return err
}

// all returns the values, read-only, valid until unmap.
func (s *spill[T]) all() (values []T, unmap func() error, err error) {
	if s.file != nil && len(s.values) > 0 {
		if err := s.flush(); err != nil {
			return nil, nil, err
		}
	}
	if s.file == nil {
		return s.values, func() error { return nil }, nil
	}
	b, unmap, err := s.file.Map() // outlives the file's Close
	if err != nil {
		return nil, nil, err
	}
	values = unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), s.written)
	return values, unmap, s.Close()
}

// Close gives the file up without its values, if all has not.
func (s *spill[T]) Close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

func bytesOf[T any](values []T) []byte {
	var v T
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), len(values)*int(unsafe.Sizeof(v)))
}

// unnamed opens a file that goes with the process; nil where no folder takes one.
func unnamed(dirs []string) storage.File {
	for _, dir := range append(dirs, os.TempDir()) {
		name := filepath.Join(dir, fmt.Sprintf(".rows-%d-%d", os.Getpid(), rand.Uint32()))
		f, err := storage.Create(name)
		if err != nil {
			continue
		}
		if storage.Remove(name) == nil {
			return f
		}
		_ = f.Close()
	}
	return nil
}
