package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"
)

// reader walks a header; its first error is sticky.
type reader struct {
	all []byte
	at  int
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// bytes returns the next n bytes; nil where the file ends before them.
func (r *reader) bytes(n uint64) []byte {
	if left := uint64(len(r.all) - r.at); n > left {
		r.fail("its header continues at byte %d of %d: the download is incomplete, or the file is damaged", r.at, len(r.all))
	}
	if r.err != nil {
		return nil
	}
	b := r.all[r.at : r.at+int(n)]
	r.at += int(n)
	return b
}

func (r *reader) uint32() uint32 {
	if b := r.bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// count reads a number of items of at least size bytes each, for all of which the rest of the
// file must have room.
func (r *reader) count(what string, most, size uint64) int {
	n := r.uint64()
	if left := uint64(len(r.all)-r.at) / size; n > most || n > left {
		r.fail("it announces %d %s, more than it has room for: the download is incomplete, or the file is damaged", n, what)
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}

// string reads a text of at most most bytes.
func (r *reader) string(most uint64) string {
	n := r.uint64()
	if n > most {
		r.fail("it has a text of %d bytes at byte %d: the file is damaged", n, r.at)
	}
	b := r.bytes(n)
	if !utf8.Valid(b) {
		r.fail("the text at byte %d is not UTF-8", r.at-len(b))
	}
	return string(b)
}

// The kinds of values.
const (
	kindBool   = 7
	kindString = 8
	kindArray  = 9
)

// widths is the size in bytes of a number of each kind.
var widths = map[uint32]uint64{0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, kindBool: 1, 10: 8, 11: 8, 12: 8}

// maxText bounds a text among the values: chat templates take some KB.
const maxText = 64 << 20

// value reads a value: int, float64, bool, string, []int, []float64, []bool or []string.
func (r *reader) value(key string) any {
	switch kind := r.uint32(); kind {
	case kindString:
		return r.string(maxText)
	case kindArray:
		return r.array(key)
	default:
		return r.number(key, kind)
	}
}

func (r *reader) array(key string) any {
	kind := r.uint32()
	if kind == kindString {
		n := r.count("texts of "+key, math.MaxInt64, 8)
		list := []string{}
		for i := 0; i < n && r.err == nil; i++ {
			list = append(list, r.string(maxText))
		}
		return list
	}
	width, ok := widths[kind]
	if !ok {
		r.fail("%s is a list of values of kind %d, which GGUF does not have", key, kind)
		return nil
	}
	n := r.count("numbers of "+key, math.MaxInt64, width)
	switch kind {
	case kindBool:
		return list[bool](r, key, kind, n)
	case 6, 12:
		return list[float64](r, key, kind, n)
	}
	return list[int](r, key, kind, n)
}

func list[T any](r *reader, key string, kind uint32, n int) []T {
	out := []T{}
	for i := 0; i < n && r.err == nil; i++ {
		if v, ok := r.number(key, kind).(T); ok {
			out = append(out, v)
		}
	}
	return out
}

// number reads a number or a bool. A float32 becomes the float64 with the same shortest decimal
// digits: the writer meant 1e-5 where 9.999999747e-06 is stored.
func (r *reader) number(key string, kind uint32) any {
	width, ok := widths[kind]
	if !ok {
		r.fail("%s is of kind %d, which GGUF does not have", key, kind)
		return nil
	}
	b := r.bytes(width)
	if b == nil {
		return nil
	}
	le := binary.LittleEndian
	switch kind {
	case 0:
		return int(b[0])
	case 1:
		return int(int8(b[0]))
	case 2:
		return int(le.Uint16(b))
	case 3:
		return int(int16(le.Uint16(b)))
	case 4:
		return int(le.Uint32(b))
	case 5:
		return int(int32(le.Uint32(b)))
	case 6:
		return decimal(math.Float32frombits(le.Uint32(b)))
	case kindBool:
		if b[0] > 1 {
			r.fail("%s is %d, want true or false", key, b[0])
		}
		return b[0] == 1
	case 12:
		return math.Float64frombits(le.Uint64(b))
	}
	n := le.Uint64(b)
	if kind == 10 && n > math.MaxInt64 {
		r.fail("%s is %d, too large", key, n)
	}
	return int(n)
}
