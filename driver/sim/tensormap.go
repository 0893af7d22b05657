package sim

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
)

// tensorMap is the content of the interpreter's 128 bytes; NVIDIA's are opaque.
type tensorMap struct {
	rank    int
	elem    int
	swizzle uint32
	typ     driver.TensorType
	addr    uint64
	dims    [5]uint64
	strides [5]uint64 // of dimension i; 0 is the element itself
	box     [5]uint32
}

const tensorMagic = 0x4d54_4644 // "DFTM"

// EncodeTensorMap checks t by the rules of cuTensorMapEncodeTiled.
func (d *Device) EncodeTensorMap(t driver.TensorMap) (out driver.EncodedTensorMap, err error) {
	fail := func(format string, args ...any) (driver.EncodedTensorMap, error) {
		return out, fmt.Errorf("sim: tensor map: "+format, args...)
	}
	n, size := len(t.Dims), t.Type.Size()
	if n < 1 || n > 5 || len(t.Strides) != n-1 || len(t.Box) != n {
		return fail("%d dimensions, %d strides, %d box extents", n, len(t.Strides), len(t.Box))
	}
	if t.Addr%16 != 0 {
		return fail("address %#x is not 16-byte aligned", t.Addr)
	}
	inner := int(t.Box[0]) * size
	switch t.Swizzle {
	case 0:
	case 32, 64, 128:
		if inner > t.Swizzle {
			return fail("a box %d bytes wide in a swizzle of %d", inner, t.Swizzle)
		}
	default:
		return fail("swizzle %d", t.Swizzle)
	}
	if inner%16 != 0 {
		return fail("a box %d bytes wide: not a multiple of 16", inner)
	}
	le.PutUint32(out[:], tensorMagic)
	out[4], out[5], out[6], out[7] = byte(n), byte(size), byte(t.Swizzle), byte(t.Type)
	le.PutUint64(out[8:], uint64(t.Addr))
	for i := range n {
		if t.Dims[i] == 0 || t.Dims[i] > 1<<32 || t.Box[i] == 0 || t.Box[i] > 256 {
			return fail("dimension %d: extent %d, box %d", i, t.Dims[i], t.Box[i])
		}
		le.PutUint64(out[16+8*i:], t.Dims[i]-1)
		le.PutUint16(out[96+2*i:], uint16(t.Box[i]))
		if i > 0 {
			s := t.Strides[i-1]
			if s%16 != 0 || s >= 1<<40 {
				return fail("stride %d of %d bytes", i, s)
			}
			le.PutUint64(out[56+8*(i-1):], s)
		}
	}
	return out, nil
}

func readTensorMap(p []byte) (t tensorMap, ok bool) {
	if le.Uint32(p) != tensorMagic {
		return t, false
	}
	t.rank, t.elem, t.swizzle, t.typ = int(p[4]), int(p[5]), uint32(p[6]), driver.TensorType(p[7])
	t.addr = le.Uint64(p[8:])
	for i := range t.rank {
		t.dims[i] = le.Uint64(p[16+8*i:]) + 1
		t.box[i] = uint32(le.Uint16(p[96+2*i:]))
		if i > 0 {
			t.strides[i] = le.Uint64(p[56+8*(i-1):])
		}
	}
	t.strides[0] = uint64(t.elem)
	return t, true
}

// rowBytes is a box's innermost extent in bytes; bytes is the size of the box.
func (t *tensorMap) rowBytes() int { return int(t.box[0]) * t.elem }

func (t *tensorMap) bytes() int {
	n := t.rowBytes()
	for i := 1; i < t.rank; i++ {
		n *= int(t.box[i])
	}
	return n
}

// swizzle permutes 16-byte chunks: the address bits from 4 up are xored with those from 7
// up, one, two or three of them for 32, 64 or 128 bytes.
func swizzle(addr, width uint32) uint32 {
	switch width {
	case 128:
		return addr ^ addr>>3&0x70
	case 64:
		return addr ^ addr>>3&0x30
	case 32:
		return addr ^ addr>>3&0x10
	}
	return addr
}

// rows calls f for each innermost row of the box at c: its offset in the box in bytes, its
// address in global memory, and the range of its bytes that is inside the tensor.
func (t *tensorMap) rows(c [5]int32, f func(at int, addr uint64, lo, hi int)) {
	outer := 1
	for i := 1; i < t.rank; i++ {
		outer *= int(t.box[i])
	}
	for r := range outer {
		addr, inside := t.addr, true
		rest := r
		for i := 1; i < t.rank; i++ {
			x := int64(c[i]) + int64(rest%int(t.box[i]))
			rest /= int(t.box[i])
			inside = inside && x >= 0 && uint64(x) < t.dims[i]
			addr += uint64(x) * t.strides[i]
		}
		lo, hi := 0, 0
		if inside {
			lo = int(max(0, -int64(c[0]))) * t.elem
			hi = int(min(int64(t.box[0]), int64(t.dims[0])-int64(c[0]))) * t.elem
		}
		addr += uint64(int64(c[0]) * int64(t.elem))
		f(r*t.rowBytes(), addr, lo, max(lo, hi))
	}
}
