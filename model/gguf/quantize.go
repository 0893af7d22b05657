package gguf

import (
	"encoding/binary"
	"math"

	container "dataflex.dev/dataflex/data/gguf"
)

// Append appends the numbers to dst in the type's format and returns false for a type that is
// not written. F32, F16, BF16 and Q8_0 are written; the number of elements is a multiple of the
// block. The bytes equal those of llama.cpp's gguf package.
func Append(kind container.Type, dst []byte, src []float32) ([]byte, bool) {
	le := binary.LittleEndian
	switch kind {
	case container.F32:
		for _, v := range src {
			dst = le.AppendUint32(dst, math.Float32bits(v))
		}
	case container.F16:
		for _, v := range src {
			dst = le.AppendUint16(dst, ToFloat16(v))
		}
	case container.BF16:
		for _, v := range src {
			dst = le.AppendUint16(dst, ToBFloat16(v))
		}
	case container.Q8_0:
		for i := 0; i < len(src); i += 32 {
			dst = appendQ8(dst, src[i:i+32])
		}
	default:
		return dst, false
	}
	return dst, true
}

// appendQ8 appends a block of Q8_0: the scale max|x|/127 in binary16, and for every number the
// nearest multiple of the unrounded scale (quantize_row_q8_0_ref of ggml-quants.c).
func appendQ8(dst []byte, x []float32) []byte {
	var most float32
	for _, v := range x {
		most = max(most, float32(math.Abs(float64(v))))
	}
	d := most / 127
	var inverse float32
	if d != 0 {
		inverse = 1 / d
	}
	dst = binary.LittleEndian.AppendUint16(dst, ToFloat16(d))
	for _, v := range x {
		dst = append(dst, byte(int8(math.Round(float64(v*inverse)))))
	}
	return dst
}

// ToBFloat16 rounds to nearest even; NaN stays NaN.
func ToBFloat16(v float32) uint16 {
	b := math.Float32bits(v)
	if v != v {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// ToFloat16 rounds to nearest even; a number that is too large becomes infinite, as in PyTorch.
func ToFloat16(v float32) uint16 {
	b := math.Float32bits(v)
	sign := uint16(b >> 16 & 0x8000)
	switch a := math.Float32frombits(b &^ (1 << 31)); {
	case v != v:
		return sign | 0x7e00
	case a >= 65520: // halfway to the next power of two
		return sign | 0x7c00
	case a < 1.0/(1<<14): // subnormal: multiples of 2^-24
		return sign | uint16(math.RoundToEven(float64(a)*(1<<24)))
	}
	b &^= 1 << 31
	b += 0xfff + b>>13&1 // a carry into the exponent is correct
	return sign | uint16(b>>13-(127-15)<<10)
}
