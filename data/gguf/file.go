// Package gguf reads the container of GGUF files, versions 2 and 3, little-endian, and writes
// version 3: the values that describe a model and its tokenizer, and the offsets of the tensors
// (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
//
// A file is not trusted: every size it announces is checked against the file's size before
// memory is allocated, and what is allocated is proportional to its header.
package gguf

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"path/filepath"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/storage"
)

// Is reports whether a path names a GGUF file.
func Is(path string) bool { return strings.EqualFold(filepath.Ext(path), ".gguf") }

// File is a GGUF file mapped into memory.
type File struct {
	Path    string
	Tensors []Tensor // in the order of the file
	Data    []byte   // what the tensors' offsets are relative to

	values map[string]any
	unmap  func() error
}

// Tensor describes a tensor and its place in the file.
type Tensor struct {
	Name       string
	Type       Type
	Shape      []int // the slowest dimension first, as in safetensors; ggml counts the other way round
	Begin, End uint64
}

// Open maps and checks a file. Errors name the file.
func Open(path string) (*File, error) {
	b, unmap, err := storage.Map(path)
	if err != nil {
		return nil, err
	}
	f := &File{Path: path, unmap: unmap}
	if err := f.parse(b); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), unmap())
	}
	return f, nil
}

// Close unmaps the file.
func (f *File) Close() error { return f.unmap() }

// Limits of a header; the largest known has two thousand tensors and fifty values.
const (
	maxTensors    = 1 << 20
	maxValues     = 1 << 16
	maxName       = 1 << 16 // bytes of a key or a tensor's name
	maxDimensions = 4
)

// parse reads the header of a file's bytes.
func (f *File) parse(b []byte) (err error) {
	defer storage.CatchFault(&err)()
	if bytes.HasPrefix(b, []byte("version https://git-lfs")) {
		return errors.New("this is a git-lfs pointer, not the model: run `git lfs pull` in its repository")
	}
	r := &reader{all: b}
	if magic := r.bytes(4); r.err != nil || string(magic) != "GGUF" {
		return errors.New("it does not begin with GGUF: not a GGUF file, or a damaged one")
	}
	switch version := r.uint32(); {
	case version == 1:
		return errors.New("it is GGUF version 1, which is not read (2 and 3 are): convert the model again with a current llama.cpp")
	case version&0xffff == 0 && version != 0:
		return errors.New("its numbers are big-endian, which is not read: convert it with gguf_convert_endian.py of the gguf package")
	case version != 2 && version != 3 && r.err == nil:
		return fmt.Errorf("it is GGUF version %d, which is not read (2 and 3 are)", version)
	}
	tensors, values := r.count("tensors", maxTensors, 8+4+8+4+8), r.count("values", maxValues, 8+4+1)
	f.values = map[string]any{}
	for range values {
		f.readValue(r)
	}
	if r.err == nil {
		f.readTensors(r, tensors)
	}
	if r.err != nil {
		return r.err
	}
	return f.place(r)
}

func (f *File) readValue(r *reader) {
	key := r.string(maxName)
	if _, twice := f.values[key]; twice {
		r.fail("it has the key %q twice", key)
	}
	if v := r.value(key); r.err == nil {
		f.values[key] = v
	}
}

func (f *File) readTensors(r *reader, n int) {
	seen := map[string]bool{}
	for range n {
		t := Tensor{Name: r.string(maxName)}
		dims := r.uint32()
		if r.err == nil && (dims == 0 || dims > maxDimensions) {
			r.fail("tensor %q has %d dimensions, want 1 to %d", t.Name, dims, maxDimensions)
		}
		for range dims {
			if r.err != nil {
				return
			}
			d := r.uint64()
			if d == 0 || d > 1<<40 {
				r.fail("tensor %q has a dimension of %d", t.Name, d)
			}
			t.Shape = append(t.Shape, int(d))
		}
		slices.Reverse(t.Shape)
		t.Type = Type(r.uint32())
		t.Begin = r.uint64()
		if seen[t.Name] {
			r.fail("it has the tensor %q twice", t.Name)
		}
		if r.err != nil {
			return
		}
		seen[t.Name] = true
		f.Tensors = append(f.Tensors, t)
	}
}

// place computes where the tensors end, and refuses tensors that overlap or lie outside the
// file.
func (f *File) place(r *reader) error {
	alignment := uint64(alignment)
	if v, ok := f.values["general.alignment"]; ok {
		n, whole := v.(int)
		if !whole || n < 1 || n > 1<<20 || n&(n-1) != 0 {
			return fmt.Errorf("general.alignment is %v, want a power of two", v)
		}
		alignment = uint64(n)
	}
	start := (uint64(r.at) + alignment - 1) &^ (alignment - 1)
	size := uint64(len(r.all))
	if start > size {
		if len(f.Tensors) > 0 {
			return errors.New("it ends before its tensors: the download is incomplete")
		}
		start = size
	}
	f.Data = r.all[start:]
	for i := range f.Tensors {
		t := &f.Tensors[i]
		n, err := t.size()
		if err != nil {
			return err
		}
		end, carry := bits.Add64(t.Begin, n, 0)
		switch {
		case t.Begin%alignment != 0:
			return fmt.Errorf("tensor %q begins at %d, which is not a multiple of the alignment %d", t.Name, t.Begin, alignment)
		case carry != 0 || end > size-start:
			return fmt.Errorf("tensor %q needs %d bytes from %d on, the file has %d there: the download is incomplete", t.Name, n, t.Begin, size-start)
		}
		t.End = end
	}
	sorted := slices.SortedFunc(slices.Values(f.Tensors), func(a, b Tensor) int { return cmp.Compare(a.Begin, b.Begin) })
	for i := 1; i < len(sorted); i++ {
		if a, b := sorted[i-1], sorted[i]; b.Begin < a.End {
			return fmt.Errorf("tensors %q and %q overlap", a.Name, b.Name)
		}
	}
	return nil
}

// size is the tensor's size in bytes: rows are whole blocks.
func (t *Tensor) size() (uint64, error) {
	l, known := layouts[t.Type]
	if !known {
		return 0, fmt.Errorf("tensor %q is %s, which is not read (%s are): take a file of one of those", t.Name, t.Type, readable)
	}
	row := uint64(t.Shape[len(t.Shape)-1])
	if row%l.elements != 0 {
		return 0, fmt.Errorf("tensor %q has rows of %d numbers, %s stores them in blocks of %d", t.Name, row, t.Type, l.elements)
	}
	n := row / l.elements * l.bytes
	for _, d := range t.Shape[:len(t.Shape)-1] {
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 || lo > 1<<62 {
			return 0, fmt.Errorf("tensor %q %v overflows", t.Name, t.Shape)
		}
		n = lo
	}
	return n, nil
}
