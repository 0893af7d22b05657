package gguf

import (
	"encoding/binary"
	"math"

	container "dataflex.dev/dataflex/data/gguf"
)

// Dequantize decodes the blocks of a type to float32, as ggml's dequantize_row_* do. dst has as
// many elements as src stores. It returns false for a type that is not supported.
func Dequantize(t container.Type, src []byte, dst []float32) bool {
	switch t {
	case container.F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case container.F16:
		for i := range dst {
			dst[i] = half(src[2*i:])
		}
	case container.BF16:
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
		}
	case container.Q8_0:
		blocks(src, 34, dst, 32, q8)
	case container.Q4_0:
		blocks(src, 18, dst, 32, func(b []byte, y []float32) { nibbles(y, half(b), -8*half(b), b[2:], nil) })
	case container.Q4_1:
		blocks(src, 20, dst, 32, func(b []byte, y []float32) { nibbles(y, half(b), half(b[2:]), b[4:], nil) })
	case container.Q5_0:
		blocks(src, 22, dst, 32, func(b []byte, y []float32) { nibbles(y, half(b), -16*half(b), b[6:], b[2:6]) })
	case container.Q5_1:
		blocks(src, 24, dst, 32, func(b []byte, y []float32) { nibbles(y, half(b), half(b[2:]), b[8:], b[4:8]) })
	case container.Q4_K:
		blocks(src, 144, dst, 256, func(b []byte, y []float32) { q45K(b, nil, b[16:], y) })
	case container.Q5_K:
		blocks(src, 176, dst, 256, func(b []byte, y []float32) { q45K(b, b[16:48], b[48:], y) })
	case container.Q6_K:
		blocks(src, 210, dst, 256, q6K)
	default:
		return false
	}
	return true
}

// blocks calls f with every block of width bytes and the n numbers it decodes to.
func blocks(src []byte, width int, dst []float32, n int, f func(b []byte, y []float32)) {
	for i := range len(dst) / n {
		f(src[i*width:(i+1)*width], dst[i*n:(i+1)*n])
	}
}

// half is the binary16 at b.
func half(b []byte) float32 { return Float16(binary.LittleEndian.Uint16(b)) }

// q8 is a block of Q8_0: a scale and 32 signed bytes.
func q8(b []byte, y []float32) {
	d := half(b)
	for i := range y {
		y[i] = d * float32(int8(b[2+i]))
	}
}

// nibbles is shared by the four types with 32 numbers per block: y = d·q + m with four bits of
// q in low, those of the first 16 numbers in the lower halves, and the fifth bit, where the
// type has one, in a bit of high. Types without a minimum are d·(q - 8) or d·(q - 16): products
// of an 11-bit and a 5-bit number, which are exact, so that the order does not matter.
func nibbles(y []float32, d, m float32, low, high []byte) {
	var bits uint32
	if high != nil {
		bits = binary.LittleEndian.Uint32(high)
	}
	for i := range 16 {
		first := uint32(low[i]&15) | bits>>i&1<<4
		second := uint32(low[i]>>4) | bits>>(i+16)&1<<4
		// The conversion prevents the compiler from fusing the product and the sum.
		y[i], y[i+16] = float32(d*float32(first))+m, float32(d*float32(second))+m
	}
}

// q45K is a block of Q4_K or Q5_K: eight parts of 32 numbers y = d·scale·q - dmin·min with
// six bits of scale and min each. high holds the fifth bit of part i in its bit i.
func q45K(b, high, low []byte, y []float32) {
	d, dmin := half(b), half(b[2:])
	for part := range 8 {
		scale, least := scaleMin(b[4:16], part)
		d, m := d*float32(scale), dmin*float32(least)
		for i := range 32 {
			q := low[part/2*32+i] >> (part % 2 * 4) & 15
			if high != nil {
				q |= high[i] >> part & 1 << 4
			}
			y[part*32+i] = float32(d*float32(q)) - m
		}
	}
}

// scaleMin unpacks the six bits of scale and min of a part (get_scale_min_k4).
func scaleMin(b []byte, part int) (scale, least byte) {
	if part < 4 {
		return b[part] & 63, b[part+4] & 63
	}
	return b[part+4]&15 | b[part-4]>>6<<4, b[part+4]>>4 | b[part]>>6<<4
}

// q6K is a block of Q6_K: 16 parts of 16 numbers y = d·scale·(q - 32), the lower four bits
// of q first, then the upper two, the signed scales and d.
func q6K(b []byte, y []float32) {
	low, high, scales, d := b[:128], b[128:192], b[192:208], half(b[208:])
	for i := range 256 {
		// Halves of 128 numbers; in each, four runs of 32.
		side, run, at := i/128, i%128/32, i%32
		q := low[side*64+run%2*32+at]>>(run/2*4)&15 | high[side*32+at]>>(2*run)&3<<4
		y[i] = d * float32(int8(scales[i/16])) * float32(int(q)-32)
	}
}

// Float16 widens an IEEE 754 binary16; every value is exact in float32.
func Float16(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exp := uint32(h>>10) & 0x1f
	frac := uint32(h & 0x3ff)
	switch {
	case exp == 0: // zero or subnormal: frac · 2^-24
		return math.Float32frombits(sign | math.Float32bits(float32(frac)*0x1p-24))
	case exp == 0x1f: // infinity or NaN, payload kept
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}
