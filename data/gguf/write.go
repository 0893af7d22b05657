package gguf

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// Value is a key of a file's header with its value: a uint32, int32, uint64, float32, bool or
// string, or a list of int32, float32 or string.
type Value struct {
	Key   string
	Value any
}

// alignment is the format's default, used where general.alignment is absent.
const alignment = 32

// Write writes a file of version 3: the values, the tensors' names and offsets, and their
// bytes, which data writes for tensor i. Of the tensors only Name, Type and Shape are read. The
// error names the key or the tensor.
func Write(w io.Writer, values []Value, tensors []Tensor, data func(i int, w io.Writer) error) error {
	head := append([]byte("GGUF"), 3, 0, 0, 0)
	head = binary.LittleEndian.AppendUint64(head, uint64(len(tensors)))
	head = binary.LittleEndian.AppendUint64(head, uint64(len(values)))
	for _, v := range values {
		var err error
		if head, err = v.append(head); err != nil {
			return err
		}
	}
	sizes := make([]uint64, len(tensors))
	var at uint64
	for i := range tensors {
		t := &tensors[i]
		n, err := t.size()
		if err != nil {
			return err
		}
		head = t.append(head, at)
		sizes[i], at = n, aligned(at+n)
	}
	out := &counter{w: w}
	if _, err := out.Write(head); err != nil {
		return err
	}
	for i, n := range sizes {
		if err := out.pad(); err != nil {
			return err
		}
		start := out.n
		if err := data(i, out); err != nil {
			return fmt.Errorf("tensor %q: %w", tensors[i].Name, err)
		}
		if got := out.n - start; got != n {
			panic(fmt.Sprintf("gguf: tensor %q has %d bytes, %d were written", tensors[i].Name, n, got))
		}
	}
	return out.pad()
}

func aligned(n uint64) uint64 { return (n + alignment - 1) &^ (alignment - 1) }

// append adds the tensor's entry in the header.
func (t *Tensor) append(b []byte, begin uint64) []byte {
	b = appendText(b, t.Name)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(t.Shape)))
	for i := range t.Shape {
		b = binary.LittleEndian.AppendUint64(b, uint64(t.Shape[len(t.Shape)-1-i]))
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(t.Type))
	return binary.LittleEndian.AppendUint64(b, begin)
}

func appendText(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// append adds the value to a header.
func (v Value) append(b []byte) ([]byte, error) {
	b = appendText(b, v.Key)
	le := binary.LittleEndian
	switch x := v.Value.(type) {
	case uint32:
		return le.AppendUint32(le.AppendUint32(b, 4), x), nil
	case int32:
		return le.AppendUint32(le.AppendUint32(b, 5), uint32(x)), nil
	case float32:
		return le.AppendUint32(le.AppendUint32(b, 6), math.Float32bits(x)), nil
	case bool:
		b = append(le.AppendUint32(b, kindBool), 0)
		if x {
			b[len(b)-1] = 1
		}
		return b, nil
	case string:
		return appendText(le.AppendUint32(b, kindString), x), nil
	case uint64:
		return le.AppendUint64(le.AppendUint32(b, 10), x), nil
	case []int32:
		b = appendList(b, 5, len(x))
		for _, n := range x {
			b = le.AppendUint32(b, uint32(n))
		}
		return b, nil
	case []float32:
		b = appendList(b, 6, len(x))
		for _, n := range x {
			b = le.AppendUint32(b, math.Float32bits(n))
		}
		return b, nil
	case []string:
		b = appendList(b, kindString, len(x))
		for _, s := range x {
			b = appendText(b, s)
		}
		return b, nil
	}
	return nil, fmt.Errorf("gguf: %s: a %T cannot be written", v.Key, v.Value)
}

func appendList(b []byte, kind uint32, n int) []byte {
	b = binary.LittleEndian.AppendUint32(b, kindArray)
	b = binary.LittleEndian.AppendUint32(b, kind)
	return binary.LittleEndian.AppendUint64(b, uint64(n))
}

// counter counts the bytes written through it.
type counter struct {
	w io.Writer
	n uint64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += uint64(n)
	return n, err
}

// pad writes zeros up to the next offset at which a tensor may begin.
func (c *counter) pad() error {
	_, err := c.Write(make([]byte, aligned(c.n)-c.n))
	return err
}
