package npy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

const magic = "\x93NUMPY"

// maxElements bounds the product of the shape, so that it cannot overflow.
const maxElements = 1 << 40

// Decode reads an array from a file's bytes. The array shares memory with them if it was stored
// in C order, little endian.
func Decode(raw []byte) (*Array, error) {
	head, data, err := split(raw)
	if err != nil {
		return nil, err
	}
	d, err := parseHeader(head)
	if err != nil {
		return nil, err
	}
	a := &Array{DType: d.dtype, Shape: d.shape}
	n := 1
	for _, s := range d.shape {
		if s != 0 && n > maxElements/s {
			return nil, fmt.Errorf("shape %v is too large", d.shape)
		}
		n *= s
	}
	size := d.dtype.size()
	if len(data) < n*size {
		return nil, fmt.Errorf("%w: %d elements of %d bytes, %d bytes are there", errTruncated, n, size, len(data))
	}
	a.Data = data[:n*size]
	if d.bigEndian && size > 1 {
		a.Data = swapped(a.Data, size)
	}
	if d.fortran && len(d.shape) > 1 {
		a.Data = cOrder(a.Data, d.shape, size)
	}
	return a, nil
}

// split checks the magic and separates the header from the elements.
func split(raw []byte) (head string, data []byte, err error) {
	if len(raw) < 10 || string(raw[:6]) != magic {
		return "", nil, errors.New("not a .npy file")
	}
	start, n := 10, int(binary.LittleEndian.Uint16(raw[8:]))
	switch raw[6] {
	case 1:
	case 2, 3:
		if len(raw) < 12 {
			return "", nil, errTruncated
		}
		start, n = 12, int(binary.LittleEndian.Uint32(raw[8:]))
	default:
		return "", nil, fmt.Errorf("version %d.%d of the format is not known", raw[6], raw[7])
	}
	if n > len(raw)-start {
		return "", nil, errTruncated
	}
	return string(raw[start : start+n]), raw[start+n:], nil
}

type header struct {
	dtype     DType
	bigEndian bool
	fortran   bool
	shape     []int
}

// parseHeader reads the Python dictionary. Its values must be a string, a word and a tuple of
// numbers; anything else denotes a kind of array that is refused.
func parseHeader(s string) (h header, err error) {
	descr, err := valueOf(s, "descr")
	if err != nil {
		return h, err
	}
	if h.dtype, h.bigEndian, err = parseType(descr); err != nil {
		return h, err
	}
	order, err := valueOf(s, "fortran_order")
	if err != nil {
		return h, err
	}
	switch {
	case strings.HasPrefix(order, "True"):
		h.fortran = true
	case !strings.HasPrefix(order, "False"):
		return h, fmt.Errorf("fortran_order in the header %q is neither True nor False", s)
	}
	shape, err := valueOf(s, "shape")
	if err != nil {
		return h, err
	}
	h.shape, err = parseShape(shape)
	return h, err
}

// valueOf is the rest of the header from the value of a key on.
func valueOf(s, key string) (string, error) {
	for _, quote := range []string{"'", `"`} {
		if _, rest, ok := strings.Cut(s, quote+key+quote); ok {
			if rest = strings.TrimLeft(rest, " "); strings.HasPrefix(rest, ":") {
				return strings.TrimLeft(rest[1:], " "), nil
			}
		}
	}
	return "", fmt.Errorf("the header %q has no %s", s, key)
}

func parseType(v string) (t DType, big bool, err error) {
	if v == "" || (v[0] != '\'' && v[0] != '"') {
		return "", false, errors.New("structured arrays are not read: save one plain array")
	}
	name, _, ok := strings.Cut(v[1:], v[:1])
	if !ok || len(name) < 2 {
		return "", false, fmt.Errorf("descr %q is not an element type", v)
	}
	t = DType(name[1:])
	switch {
	case t[0] == 'O':
		return "", false, errors.New("arrays of Python objects are pickles, which are never read: save numbers")
	case !strings.ContainsRune("<>|=", rune(name[0])) || t.size() == 0:
		return "", false, fmt.Errorf("element type %q is not read: bool, integers and floats of 2, 4 and 8 bytes are", name)
	}
	return t, name[0] == '>', nil
}

func parseShape(v string) ([]int, error) {
	inside, _, ok := strings.Cut(strings.TrimPrefix(v, "("), ")")
	if !ok || !strings.HasPrefix(v, "(") {
		return nil, fmt.Errorf("shape %q is not a tuple", v)
	}
	shape := []int{}
	for _, f := range strings.Split(inside, ",") {
		if f = strings.TrimSpace(f); f == "" {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSuffix(f, "L")) // Python 2 wrote 3L
		if err != nil || n < 0 || n > maxElements {
			return nil, fmt.Errorf("shape (%s) has the dimension %q", inside, f)
		}
		shape = append(shape, n)
	}
	return shape, nil
}

func swapped(data []byte, size int) []byte {
	out := make([]byte, len(data))
	for i := 0; i < len(data); i += size {
		for j := range size {
			out[i+j] = data[i+size-1-j]
		}
	}
	return out
}

// cOrder turns column-major elements into row-major ones.
func cOrder(data []byte, shape []int, size int) []byte {
	out := make([]byte, len(data))
	index := make([]int, len(shape))
	for to := 0; to < len(data); to += size {
		from, stride := 0, size
		for i, d := range shape {
			from += index[i] * stride
			stride *= d
		}
		copy(out[to:to+size], data[from:from+size])
		for i := len(shape) - 1; i >= 0; i-- {
			if index[i]++; index[i] < shape[i] {
				break
			}
			index[i] = 0
		}
	}
	return out
}

// Element lists the element types of arrays that can be written.
type Element interface{ float32 | float64 | int64 }

// Encode is the file of an array of that shape, byte for byte as numpy.save writes it. It
// panics when the number of values differs from the shape's.
func Encode[T Element](values []T, shape ...int) []byte {
	n := 1
	for _, d := range shape {
		n *= d
	}
	if n != len(values) {
		panic(fmt.Sprintf("npy: Encode: %d values for shape %v", len(values), shape))
	}
	out := slices.Grow(Head[T](shape...), 8*n)
	for _, v := range values {
		switch v := any(v).(type) {
		case float32:
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
		case float64:
			out = binary.LittleEndian.AppendUint64(out, math.Float64bits(v))
		case int64:
			out = binary.LittleEndian.AppendUint64(out, uint64(v))
		}
	}
	return out
}

// Head is what such a file begins with: the elements follow, little endian.
func Head[T Element](shape ...int) []byte {
	dims := ""
	for i, d := range shape {
		if i > 0 {
			dims += ", "
		}
		dims += strconv.Itoa(d)
	}
	if len(shape) == 1 {
		dims += ","
	}
	var zero T
	descr := "<f4"
	switch any(zero).(type) {
	case float64:
		descr = "<f8"
	case int64:
		descr = "<i8"
	}
	head := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, dims)
	if len(shape) > 0 { // numpy reserves space for the first dimension to grow to 21 digits
		head += strings.Repeat(" ", max(0, 21-len(strconv.Itoa(shape[0]))))
	}
	pad := 63 - (10+len(head))%64
	head += strings.Repeat(" ", pad) + "\n"
	out := binary.LittleEndian.AppendUint16([]byte(magic+"\x01\x00"), uint16(len(head)))
	return append(out, head...)
}
