package checkpoint

import (
	"encoding/binary"
	"strings"
)

// awq is AWQ's format in the layout gemm. For a matrix [out, in], qweight [in, out/8] and
// qzeros [groups, out/8] have 4-bit codes of consecutive outputs, in each word in the order
// of awqPlaces; scales is [groups, out].
//
// Source: AutoAWQ 0.2.9 utils/packing_utils.py.
type awq struct{ width int }

// awqPlaces is the position in a word of each of its eight outputs.
var awqPlaces = [8]int{0, 4, 1, 5, 2, 6, 3, 7}

func readAWQ(f *fields) format {
	a := &awq{width: f.int("group_size", f.int("q_group_size", 128))}
	if bits := f.int("bits", f.int("w_bit", 4)); bits != 4 {
		f.fail("bits is %d: AWQ's codes of 4 bits are read; %s", bits, otherFolder)
	}
	readWidth(f, a.width)
	for _, key := range []string{"version", "format"} {
		if name := strings.ToLower(f.string(key, "gemm")); name != "gemm" {
			f.fail("%s is %q: AWQ's layout gemm is read; %s", key, name, otherFolder)
		}
	}
	if !f.bool("zero_point", true) {
		f.fail("zero_point is false: AWQ's codes with zero points are read; %s", otherFolder)
	}
	return a
}

func (a *awq) codes(name, _ string) string { return moduleOf(name, "qweight") }

func (a *awq) activations() bool { return false }

func (a *awq) matrix(p *parts) *grouped {
	m, x := &grouped{label: "AWQ int4"}, &awqCodes{}
	x.qweight = p.get("qweight", integerTypes, -1, -1)
	if p.err != nil {
		return m
	}
	m.cols, m.rows, m.packing = x.qweight.entry.shape[0], x.qweight.entry.shape[1]*8, x
	if m.width = a.width; m.width == -1 {
		m.width = m.cols
	}
	x.qzeros = p.get("qzeros", integerTypes, m.groups(), m.rows/8)
	x.scales = p.get("scales", floatTypes, m.groups(), m.rows)
	return m
}

// awqCodes are the parts of a matrix.
type awqCodes struct{ qweight, qzeros, scales location }

func (x *awqCodes) codes(first, cols int, dst []float32) {
	const line = 16 // inputs that are unpacked together: one cache line for each output
	data, words := x.qweight.data(), x.qweight.entry.shape[1]
	var packed [line]uint32
	for from := 0; from < cols; from += line {
		inputs := min(line, cols-from)
		for k := range len(dst) / cols / 8 {
			for i := range inputs {
				packed[i] = binary.LittleEndian.Uint32(data[4*((from+i)*words+first/8+k):])
			}
			for j, place := range awqPlaces {
				out := dst[(8*k+j)*cols+from:][:inputs]
				for i := range out {
					out[i] = float32(int32(packed[i] >> (4 * place) & 15))
				}
			}
		}
	}
}

func (x *awqCodes) scale(row, group int) (scale, zero float32) {
	out := x.scales.entry.shape[1]
	return number(x.scales, group*out+row), field(word(x.qzeros, group*out/8+row/8), 4, awqPlaces[row%8])
}
