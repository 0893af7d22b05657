package checkpoint

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// gpt_oss' experts are released in MXFP4. For a tensor [n, in, out] the files have
// <name>_blocks [n, out, in/32, 16], two 4-bit codes per byte, the first in the lower half,
// and <name>_scales [n, out, in/32], the exponents of the blocks' scales, 127 for 1. They
// are read as one tensor of numbers, which are exact in float32 and bf16.
//
// Source: Open Compute Project 2023, OCP Microscaling Formats (MX) v1.0, sections 5.3 and
// 6.3; transformers 5 integrations/mxfp4.py.

// mxMethod is quantization_config's quant_method, and mxDType the dtype of the tensors.
const mxMethod, mxDType = "mxfp4", "MXFP4"

// mxBlock is the number of elements that share a scale.
const mxBlock = 32

// microscaled locates the parts of a tensor in MXFP4.
type microscaled struct{ blocks, scales location }

// mxCodes are the numbers of E2M1: a sign, two bits of exponent, one of mantissa.
var mxCodes = [16]float32{0, 0.5, 1, 1.5, 2, 3, 4, 6, float32(math.Copysign(0, -1)), -0.5, -1, -1.5, -2, -3, -4, -6}

// foldMicroscaled makes one tensor of each pair of blocks and scales.
func (w *Weights) foldMicroscaled() error {
	var made []string
	for _, name := range w.names {
		base, ok := strings.CutSuffix(name, "_blocks")
		if !ok || w.DType(name) != "U8" {
			continue
		}
		b, s := w.tensors[name], w.tensors[base+"_scales"]
		shape := b.entry.shape
		if s.file == nil || s.entry.dtype != "U8" || len(shape) != 4 || shape[3] != mxBlock/2 || !slices.Equal(s.entry.shape, shape[:3]) {
			return fmt.Errorf("%s: tensor %q %v in MXFP4 needs blocks of 16 bytes, and a U8 tensor %s_scales with a byte for each, which is %s %v",
				b.file.path, name, shape, base, s.entry.dtype, s.entry.shape)
		}
		if _, twice := w.tensors[base]; twice {
			return fmt.Errorf("%s: tensor %q is stored in MXFP4 as well", w.Path(base), base)
		}
		e := entry{name: base, dtype: mxDType, shape: []int{shape[0], shape[2] * mxBlock, shape[1]}, begin: b.entry.begin, end: b.entry.end}
		w.tensors[base] = location{file: b.file, entry: e, scaled: &microscaled{b, s}}
		delete(w.tensors, name)
		delete(w.tensors, base+"_scales")
		made = append(made, base)
	}
	if made == nil {
		return nil
	}
	w.names = slices.DeleteFunc(w.names, func(name string) bool { _, there := w.tensors[name]; return !there })
	w.names = append(w.names, made...)
	slices.Sort(w.names)
	return nil
}

// mxColumns is the number of columns that read fills together: one cache line.
const mxColumns = 16

// read writes the numbers of the tensor [n, in, out] to dst.
func (x *microscaled) read(dst []float32) {
	shape := x.blocks.entry.shape
	n, out, blocks := shape[0], shape[1], shape[2]
	codes, scales := x.blocks.data(), x.scales.data()
	for i := range n {
		matrix := dst[i*out*blocks*mxBlock:]
		for first := 0; first < out; first += mxColumns {
			for b := range blocks {
				for column := first; column < min(out, first+mxColumns); column++ {
					at := (i*out+column)*blocks + b
					decodeBlock(codes[at*mxBlock/2:(at+1)*mxBlock/2], scales[at], matrix[b*mxBlock*out+column:], out)
				}
			}
		}
	}
}

// decodeBlock writes a block's numbers to dst, at a stride.
func decodeBlock(codes []byte, scale byte, dst []float32, stride int) {
	factor := math.Ldexp(1, int(scale)-127)
	for j, c := range codes {
		dst[2*j*stride] = float32(float64(mxCodes[c&15]) * factor)
		dst[(2*j+1)*stride] = float32(float64(mxCodes[c>>4]) * factor)
	}
}

// data is the content of a tensor.
func (l location) data() []byte { return l.file.data[l.entry.begin:l.entry.end] }
