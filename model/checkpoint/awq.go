package checkpoint

import "strings"

// awq is AWQ's format in the layout gemm: of a matrix [out, in] qweight [in, out/8] and qzeros
// [groups, out/8] hold codes of 4 bits of successive outputs, in a word in the order of
// awqPlaces; scales [groups, out].
//
// Source: AutoAWQ 0.2.9 utils/packing_utils.py.
type awq struct{ width int }

// awqPlaces is the place in a word of each of its eight outputs.
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

func (x *awqCodes) row(row int, dst []float32) {
	words, place := x.qweight.entry.shape[1], awqPlaces[row%8]
	for i := range dst {
		dst[i] = field(word(x.qweight, i*words+row/8), 4, place)
	}
}

func (x *awqCodes) scale(row, group int) (scale, zero float32) {
	out := x.scales.entry.shape[1]
	return number(x.scales, group*out+row), field(word(x.qzeros, group*out/8+row/8), 4, awqPlaces[row%8])
}
