// Package npy reads and writes NumPy's .npy files: one array of bool, integer or
// floating-point elements. Pickled objects, structures, strings and complex numbers
// are refused.
//
// The format (numpy.lib.format, versions 1.0 to 3.0): the magic "\x93NUMPY", two
// version bytes, the header's length (2 bytes in version 1, 4 afterwards, little
// endian), the header — a Python dictionary of descr, fortran_order and shape,
// padded with spaces to a multiple of 64 — then the elements.
package npy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"dataflex.dev/dataflex/data/storage"
)

// DType names an element type as NumPy does, without byte order: f4, i8, b1, ….
type DType string

// The element types.
const (
	Bool    DType = "b1"
	Int8    DType = "i1"
	Int16   DType = "i2"
	Int32   DType = "i4"
	Int64   DType = "i8"
	Uint8   DType = "u1"
	Uint16  DType = "u2"
	Uint32  DType = "u4"
	Uint64  DType = "u8"
	Float16 DType = "f2"
	Float32 DType = "f4"
	Float64 DType = "f8"
)

// size is the size of an element in bytes; 0 for an unknown type.
func (t DType) size() int {
	switch t {
	case Bool, Int8, Uint8, Int16, Uint16, Int32, Uint32, Int64, Uint64, Float16, Float32, Float64:
		return int(t[1] - '0')
	}
	return 0
}

// Float reports whether the elements are floating-point numbers.
func (t DType) Float() bool { return t[0] == 'f' }

// Array is the contents of a file: elements in C order, little endian.
type Array struct {
	DType DType
	Shape []int // empty for a scalar
	Data  []byte
}

// Len is the number of elements.
func (a *Array) Len() int {
	n := 1
	for _, d := range a.Shape {
		n *= d
	}
	return n
}

// Read reads a file.
func Read(path string) (*Array, error) {
	raw, err := storage.ReadInput(path, math.MaxInt64-1)
	if err != nil {
		return nil, err
	}
	a, err := Decode(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return a, nil
}

// Float64s are the elements as float64: exact except for integers beyond 2^53.
func (a *Array) Float64s() []float64 {
	out := make([]float64, a.Len())
	for i := range out {
		switch a.DType {
		case Float16:
			out[i] = float16(binary.LittleEndian.Uint16(a.Data[2*i:]))
		case Float32:
			out[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(a.Data[4*i:])))
		case Float64:
			out[i] = math.Float64frombits(binary.LittleEndian.Uint64(a.Data[8*i:]))
		case Uint64:
			out[i] = float64(binary.LittleEndian.Uint64(a.Data[8*i:]))
		default:
			out[i] = float64(a.integer(i))
		}
	}
	return out
}

// Float32s are the elements rounded to float32.
func (a *Array) Float32s() []float32 {
	out := make([]float32, a.Len())
	if a.DType == Float32 {
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(a.Data[4*i:]))
		}
		return out
	}
	for i, x := range a.Float64s() {
		out[i] = float32(x)
	}
	return out
}

// Ints are the elements of an array of integers or bools. Any other type, and an element that
// does not fit in an int, is an error.
func (a *Array) Ints() ([]int, error) {
	if a.DType.Float() {
		return nil, fmt.Errorf("elements are %s, integers are needed", a.DType)
	}
	out := make([]int, a.Len())
	for i := range out {
		v := a.integer(i)
		if a.DType == Uint64 && v < 0 {
			return nil, fmt.Errorf("element %d is %d: too large", i, uint64(v))
		}
		out[i] = int(v)
	}
	return out, nil
}

// integer is element i of an array that does not hold floats; a Uint64 beyond the range wraps.
func (a *Array) integer(i int) int64 {
	d := a.Data[i*a.DType.size():]
	switch a.DType {
	case Int8:
		return int64(int8(d[0]))
	case Int16:
		return int64(int16(binary.LittleEndian.Uint16(d)))
	case Uint16:
		return int64(binary.LittleEndian.Uint16(d))
	case Int32:
		return int64(int32(binary.LittleEndian.Uint32(d)))
	case Uint32:
		return int64(binary.LittleEndian.Uint32(d))
	case Int64, Uint64:
		return int64(binary.LittleEndian.Uint64(d))
	}
	return int64(d[0]) // Uint8, Bool
}

// float16 widens an IEEE half.
func float16(h uint16) float64 {
	sign := 1.0
	if h>>15 == 1 {
		sign = -1
	}
	exp, frac := int(h>>10&31), float64(h&1023)
	switch exp {
	case 0:
		return sign * math.Ldexp(frac, -24)
	case 31:
		if frac != 0 {
			return math.NaN()
		}
		return math.Inf(int(sign))
	}
	return sign * math.Ldexp(1024+frac, exp-25)
}

var errTruncated = errors.New("the file ends early")
