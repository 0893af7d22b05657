package checkpoint

import (
	"math"
	"slices"
	"strings"
)

// fp8 is the format of matrices in E4M3: weight [out, in], and weight_scale_inv or
// weight_scale, by which its numbers are multiplied: one for all, one for each output, or
// one for each block, of which the last may be smaller. Matrices kept by
// modules_to_not_convert have no scale.
//
// Source: Micikevicius et al. 2022, FP8 formats for deep learning, table 1; transformers 5.24
// integrations/finegrained_fp8.py; DeepSeek-V3's config.json.
type fp8 struct {
	block []int // rows and columns of a block; nil: no blocks
}

// fp8DType is E4M3 without infinities, in safetensors' spelling.
const fp8DType = "F8_E4M3"

func readFP8(f *fields) format {
	if name := strings.ToLower(f.string("fmt", "e4m3")); name != "e4m3" {
		f.fail("fmt is %q: e4m3 is read; %s", name, otherFolder)
	}
	x := &fp8{block: f.ints("weight_block_size")}
	if len(x.block) != 0 && len(x.block) != 2 || slices.ContainsFunc(x.block, func(n int) bool { return n < 1 || n > maxSize }) {
		f.fail("weight_block_size is %v, want the rows and columns of a block", x.block)
	}
	return x
}

// activations are quantised to fp8 in every product with such a matrix.
func (x *fp8) activations() bool { return true }

func (x *fp8) codes(name, dtype string) string {
	if dtype != fp8DType {
		return ""
	}
	return moduleOf(name, "weight")
}

// fp8Scales are the dtypes of scales; a byte is the exponent of a power of two.
var fp8Scales = append(slices.Clone(floatTypes), "F8_E8M0", "U8")

func (x *fp8) matrix(p *parts) *grouped {
	part := "weight_scale_inv"
	if !p.has(part) && p.has("weight_scale") {
		part = "weight_scale"
	}
	return bytesMatrix(p, "FP8 E4M3", fp8DType, scales{part: part, dtypes: fp8Scales, block: x.block})
}

// scales describes how a matrix that is not packed is scaled.
type scales struct {
	part   string   // the tensor of scales
	dtypes []string // its possible dtypes
	zeros  string   // the tensor of zeros, with the scales' shape; "" = none
	block  []int    // rows and columns that share a scale; nil: all elements, or each row
}

// bytesMatrix is a matrix with one byte per element.
func bytesMatrix(p *parts, label, dtype string, s scales) *grouped {
	m, x := &grouped{label: label}, &byteCodes{table: &integers}
	if dtype == fp8DType {
		x.table = &e4m3
	}
	if x.weight = p.get("weight", []string{dtype}, -1, -1); p.err != nil {
		return m
	}
	m.rows, m.cols, m.packing = x.weight.entry.shape[0], x.weight.entry.shape[1], x
	m.width, x.height, x.across = s.fit(p, m)
	if x.scales = p.get(s.part, s.dtypes, shapeOf(p, s.part)...); s.zeros != "" && p.err == nil {
		x.zeros = p.get(s.zeros, []string{"I8"}, x.scales.entry.shape...)
	}
	return m
}

// shapeOf is a part's shape.
func shapeOf(p *parts, part string) []int { return p.weights.tensors[p.module+"."+part].entry.shape }

// fit returns how many columns and rows share a scale, and how many scales there are in a
// row of the matrix m. A number of scales that matches neither blocks, rows nor one is an
// error.
func (s scales) fit(p *parts, m *grouped) (width, height, across int) {
	if !p.has(s.part) {
		p.fail("its part %s.%s is missing", p.module, s.part)
		return m.cols, m.rows, 1
	}
	shape := shapeOf(p, s.part)
	n := elements(location{entry: entry{shape: shape}})
	if len(s.block) == 2 {
		down, across := (m.rows+s.block[0]-1)/s.block[0], (m.cols+s.block[1]-1)/s.block[1]
		if !slices.Equal(shape, []int{down, across}) {
			p.fail("%s.%s is %v, and blocks of %v make [%d %d] of [%d %d]", p.module, s.part, shape, s.block, down, across, m.rows, m.cols)
		}
		return s.block[1], s.block[0], across
	}
	switch {
	case n == 1:
		return m.cols, m.rows, 1
	case n == m.rows && len(shape) <= 2 && shape[0] == m.rows:
		return m.cols, 1, 1
	}
	p.fail("%s.%s is %v: without blocks one scale, or one for each of %d rows, is read", p.module, s.part, shape, m.rows)
	return m.cols, m.rows, 1
}

// byteCodes are the parts of a matrix of bytes.
type byteCodes struct {
	weight, scales, zeros location
	table                 *[256]float32
	height, across        int
}

func (x *byteCodes) codes(first, cols int, dst []float32) {
	for i, code := range x.weight.data()[first*cols:][:len(dst)] {
		dst[i] = x.table[code]
	}
}

func (x *byteCodes) scale(row, group int) (scale, zero float32) {
	at := row/x.height*x.across + group
	if x.zeros.file != nil {
		zero = number(x.zeros, at)
	}
	return number(x.scales, at), zero
}

// e4m3 are the values of the bytes: a sign, four bits of exponent, three of mantissa, and no
// infinities: with the largest exponent only the largest mantissa is NaN.
var e4m3 = func() (t [256]float32) {
	for i := range t {
		exponent, mantissa := i>>3&15, i&7
		x := math.Ldexp(float64(mantissa), -9)
		switch {
		case exponent == 15 && mantissa == 7:
			x = math.NaN()
		case exponent > 0:
			x = math.Ldexp(float64(8+mantissa), exponent-10)
		}
		if i >= 128 {
			x = -x
		}
		t[i] = float32(x)
	}
	return t
}()

// integers are the bytes as signed integers.
var integers = func() (t [256]float32) {
	for i := range t {
		t[i] = float32(int8(i))
	}
	return t
}()
