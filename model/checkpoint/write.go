package checkpoint

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
)

// Tensor is a named tensor to be written, float32 or, with Raw, the bytes of any dtype. Its
// memory is read until WriteSafetensors returns, and not copied.
type Tensor struct {
	Name  string
	Shape []int // row-major
	F32   []float32
	DType string // in the file: "F32" (or ""), or "BF16" (rounded to nearest even); with Raw any
	Raw   []byte // in place of F32: written unchanged
}

// Bytes is the size of the tensor's data in the file.
func (t Tensor) Bytes() int {
	switch {
	case t.Raw != nil:
		return len(t.Raw)
	case t.DType == "BF16":
		return 2 * len(t.F32)
	}
	return 4 * len(t.F32)
}

// WriteSafetensors writes tensors atomically. The bytes are those that the safetensors
// library writes: larger dtypes first, then by name, a header padded to 8 bytes with spaces;
// metadata keys are sorted (the library leaves their order to a hash map), so that the same
// input always gives the same file.
func WriteSafetensors(path string, metadata map[string]string, tensors []Tensor) error {
	blocks := make([]block, len(tensors))
	for i, t := range tensors {
		b, err := t.block()
		if err != nil {
			return fmt.Errorf("writing %s: %w", path, err)
		}
		blocks[i] = b
	}
	header, err := layOut(metadata, blocks)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	total := int64(len(header))
	for _, b := range blocks {
		total += int64(b.size)
	}
	return storage.Write(path, total, func(w io.Writer) error { return writeBlocks(w, header, blocks) })
}

// block is the data of a tensor to be written.
type block struct {
	name, dtype string
	shape       []int
	size        uint64
	write       func(io.Writer) error
}

// block prepares a tensor in its file dtype.
func (t Tensor) block() (block, error) {
	b := block{name: t.Name, dtype: t.DType, shape: t.Shape}
	if t.Raw != nil {
		b.size, b.write = uint64(len(t.Raw)), t.WriteRaw
		if n, ok := byteSize(t.DType, t.Shape); !ok || n != b.size {
			return b, fmt.Errorf("tensor %q: %s %v is not %d bytes", t.Name, t.DType, t.Shape, len(t.Raw))
		}
		return b, nil
	}
	switch t.DType {
	case "", "F32":
		b.dtype = "F32"
		b.write = func(w io.Writer) error { return writeConverted(w, t.F32, appendFloat32) }
		if littleEndian {
			b.write = func(w io.Writer) error { _, err := w.Write(float32Bytes(t.F32)); return err }
		}
	case "BF16":
		b.write = func(w io.Writer) error { return writeConverted(w, t.F32, appendBFloat16) }
	default:
		return b, fmt.Errorf("tensor %q: dtype %s is not written (F32 and BF16 are)", t.Name, t.DType)
	}
	n, ok := byteSize(b.dtype, t.Shape)
	if !ok || n*8 != bitsPerElement[b.dtype]*uint64(len(t.F32)) {
		return b, fmt.Errorf("tensor %q has shape %v but %d elements", t.Name, t.Shape, len(t.F32))
	}
	b.size = n
	return b, nil
}

// WriteRaw writes the bytes of Raw, which may be in a mapped file.
func (t Tensor) WriteRaw(w io.Writer) (err error) {
	defer storage.CatchFault(&err)()
	_, err = w.Write(t.Raw)
	return err
}

// writeConverted writes s through a small buffer.
func writeConverted(w io.Writer, s []float32, appendTo func([]byte, float32) []byte) error {
	const chunk = 1 << 14
	buf := make([]byte, 0, 4*min(chunk, len(s)))
	for part := range slices.Chunk(s, chunk) {
		buf = buf[:0]
		for _, v := range part {
			buf = appendTo(buf, v)
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
	}
	return nil
}

func writeBlocks(w io.Writer, header []byte, blocks []block) error {
	if _, err := w.Write(header); err != nil {
		return err
	}
	for _, b := range blocks {
		if err := b.write(w); err != nil {
			return err
		}
	}
	return nil
}

// dtypeOrder is the order of safetensors' Dtype, whose larger values come first in a file.
var dtypeOrder = []string{
	"BOOL", "F4", "F6_E2M3", "F6_E3M2", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0",
	"I16", "U16", "F16", "BF16", "I32", "U32", "F32", "C64", "F64", "I64", "U64",
}

// layOut sorts blocks into file order and returns the header with its length.
func layOut(metadata map[string]string, blocks []block) ([]byte, error) {
	slices.SortStableFunc(blocks, func(a, b block) int {
		if c := slices.Index(dtypeOrder, b.dtype) - slices.Index(dtypeOrder, a.dtype); c != 0 {
			return c
		}
		return strings.Compare(a.name, b.name)
	})
	var h bytes.Buffer
	h.Write(make([]byte, 8))
	h.WriteByte('{')
	if len(metadata) > 0 {
		h.WriteString(`"__metadata__":{`)
		for i, k := range slices.Sorted(maps.Keys(metadata)) {
			separator(&h, i)
			h.WriteString(pyjson.Encode(k, 0))
			h.WriteByte(':')
			h.WriteString(pyjson.Encode(metadata[k], 0))
		}
		h.WriteByte('}')
	}
	var at uint64
	used := map[string]bool{"__metadata__": true}
	for i, b := range blocks {
		if used[b.name] {
			return nil, fmt.Errorf("tensor name %q is reserved or used twice", b.name)
		}
		used[b.name] = true
		separator(&h, i+len(metadata))
		h.WriteString(pyjson.Encode(b.name, 0))
		fmt.Fprintf(&h, `:{"dtype":%q,"shape":[%s],"data_offsets":[%d,%d]}`, b.dtype, joinInts(b.shape), at, at+b.size)
		at += b.size
	}
	h.WriteByte('}')
	for h.Len()%8 != 0 {
		h.WriteByte(' ')
	}
	if h.Len()-8 > maxHeader {
		return nil, fmt.Errorf("header of %d bytes, the format allows %d", h.Len()-8, maxHeader)
	}
	out := h.Bytes()
	binary.LittleEndian.PutUint64(out, uint64(len(out)-8))
	return out, nil
}

func separator(h *bytes.Buffer, i int) {
	if i > 0 {
		h.WriteByte(',')
	}
}

func joinInts(s []int) string {
	parts := make([]string, len(s))
	for i, v := range s {
		parts[i] = fmt.Sprint(v)
	}
	return strings.Join(parts, ",")
}
