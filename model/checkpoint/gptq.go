package checkpoint

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// gptq is GPTQ's format. For a matrix [out, in], qweight [in·bits/32, out] has the codes of
// consecutive inputs from a word's low bits up, qzeros [groups, out·bits/32] those of
// consecutive outputs, scales is [groups, out], g_idx [in] the inputs' groups. The first
// version stores zeros minus one, the second stores them unchanged.
//
// Source: AutoGPTQ 0.7.1 qlinear_cuda_old.py; GPTQModel 7.7.0 qlinear/__init__.py.
type gptq struct {
	bits, width int
	offset      uint32 // must be added to the stored zeros
	mixed       bool   // dynamic: a module may have its own bits and groups
}

func readGPTQ(f *fields) format {
	g := &gptq{bits: f.int("bits", 4), width: f.int("group_size", 128), offset: 1}
	if !slices.Contains([]int{4, 8}, g.bits) {
		f.fail("bits is %d: GPTQ's codes of 4 and 8 bits are read; %s", g.bits, otherFolder)
	}
	readWidth(f, g.width)
	for _, key := range []string{"checkpoint_format", "format"} {
		switch name := strings.ToLower(f.string(key, "gptq")); name {
		case "gptq":
		case "gptq_v2":
			g.offset = 0
		default:
			f.fail("%s is %q: gptq and gptq_v2 are read; %s", key, name, otherFolder)
		}
	}
	if pack := f.string("pack_dtype", "int32"); pack != "int32" {
		f.fail("pack_dtype is %q: int32 is read; %s", pack, otherFolder)
	}
	if f.bool("is_marlin_format", false) {
		f.fail("is_marlin_format: codes in Marlin's order are not read; %s", otherFolder)
	}
	if f.has("dynamic") {
		d := f.object("dynamic")
		g.mixed = d != nil && len(d.raw) > 0
	}
	return g
}

// readWidth checks a group_size; -1 is one group per row.
func readWidth(f *fields, width int) {
	if width != -1 && (width < 1 || width > maxSize) {
		f.fail("group_size is %d, want at least 1, or -1 for one group in all", width)
	}
}

func (g *gptq) codes(name, _ string) string { return moduleOf(name, "qweight") }

// moduleOf is the module of which a tensor is the given part, "" if it is another part.
func moduleOf(name, part string) string {
	module, last := cutLast(name)
	if last != part {
		return ""
	}
	return module
}

func (g *gptq) activations() bool { return false }

func (g *gptq) matrix(p *parts) *grouped {
	m, x := &grouped{}, &gptqCodes{bits: g.bits, offset: g.offset}
	x.qweight = p.get("qweight", integerTypes, -1, -1)
	if p.err != nil {
		return m
	}
	m.rows = x.qweight.entry.shape[1]
	if x.scales = p.get("scales", floatTypes, -1, m.rows); p.err != nil {
		return m
	}
	groups := x.scales.entry.shape[0]
	if g.mixed && p.has("qzeros") {
		x.bits = bitsOf(p.get("qzeros", integerTypes, groups, -1), m.rows)
	}
	if x.bits != 4 && x.bits != 8 {
		p.fail("%s.qzeros has codes of %d bits: 4 and 8 are read", p.module, x.bits)
		return m
	}
	m.label = fmt.Sprintf("GPTQ int%d", x.bits)
	m.cols, m.packing = x.qweight.entry.shape[0]*32/x.bits, x
	switch {
	case g.mixed && m.cols%groups == 0:
		m.width = m.cols / groups
	case g.width == -1:
		m.width = m.cols
	default:
		m.width = g.width
	}
	if m.groups() != groups {
		p.fail("%s.scales has %d groups, and group_size %d makes %d of %d columns", p.module, groups, g.width, m.groups(), m.cols)
	}
	x.qzeros = p.get("qzeros", integerTypes, groups, (m.rows*x.bits+31)/32)
	if p.has("g_idx") {
		m.setOrder(p, "g_idx")
	}
	return m
}

// bitsOf is the number of bits of each zero, if there are that many rows.
func bitsOf(qzeros location, rows int) int {
	if qzeros.file == nil {
		return 0
	}
	return qzeros.entry.shape[1] * 32 / rows
}

// gptqCodes are the parts of a matrix.
type gptqCodes struct {
	bits                    int
	offset                  uint32
	qweight, qzeros, scales location
}

func (x *gptqCodes) codes(first, cols int, dst []float32) {
	data, out, each := x.qweight.data(), x.qweight.entry.shape[1], 32/x.bits
	for i := range x.qweight.entry.shape[0] {
		column := data[4*(i*out+first):]
		for r := range len(dst) / cols {
			unpack(binary.LittleEndian.Uint32(column[4*r:]), x.bits, 0, dst[r*cols+i*each:][:each])
		}
	}
}

func (x *gptqCodes) scale(row, group int) (scale, zero float32) {
	each := 32 / x.bits
	w := word(x.qzeros, group*x.qzeros.entry.shape[1]+row/each)>>(x.bits*(row%each)) + x.offset
	return number(x.scales, group*x.scales.entry.shape[1]+row), field(w, x.bits, 0)
}
