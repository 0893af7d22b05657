package checkpoint

import (
	"encoding/binary"
	"math"
	"unsafe"

	"dataflex.dev/dataflex/model/gguf"
)

// littleEndian reports whether memory has safetensors' byte order.
var littleEndian = func() bool {
	x := uint16(1)
	return *(*byte)(unsafe.Pointer(&x)) == 1
}()

// toFloat32 converts src, little-endian elements of dtype, into dst. It returns false for a
// dtype that is not supported.
func toFloat32(dtype string, src []byte, dst []float32) bool {
	le := binary.LittleEndian
	switch dtype {
	case "F32":
		if littleEndian {
			copy(float32Bytes(dst), src)
			return true
		}
		for i := range dst {
			dst[i] = math.Float32frombits(le.Uint32(src[4*i:]))
		}
	case "BF16":
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(le.Uint16(src[2*i:])) << 16)
		}
	case "F16":
		for i := range dst {
			dst[i] = gguf.Float16(le.Uint16(src[2*i:]))
		}
	case "F64":
		for i := range dst {
			dst[i] = float32(math.Float64frombits(le.Uint64(src[8*i:])))
		}
	default:
		return integerToFloat32(dtype, src, dst)
	}
	return true
}

func integerToFloat32(dtype string, src []byte, dst []float32) bool {
	le := binary.LittleEndian
	for i := range dst {
		switch dtype {
		case "BOOL", "U8":
			dst[i] = float32(src[i])
		case "I8":
			dst[i] = float32(int8(src[i]))
		case "U16":
			dst[i] = float32(le.Uint16(src[2*i:]))
		case "I16":
			dst[i] = float32(int16(le.Uint16(src[2*i:])))
		case "U32":
			dst[i] = float32(le.Uint32(src[4*i:]))
		case "I32":
			dst[i] = float32(int32(le.Uint32(src[4*i:])))
		case "U64":
			dst[i] = float32(le.Uint64(src[8*i:]))
		case "I64":
			dst[i] = float32(int64(le.Uint64(src[8*i:])))
		default:
			return false
		}
	}
	return true
}

// float32Bytes views floats as their bytes in memory.
func float32Bytes(s []float32) []byte {
	if len(s) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), 4*len(s))
}

func appendFloat32(b []byte, v float32) []byte {
	return binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
}

// appendBFloat16 rounds to nearest, ties to even; NaN stays NaN.
func appendBFloat16(b []byte, v float32) []byte {
	return binary.LittleEndian.AppendUint16(b, gguf.ToBFloat16(v))
}
