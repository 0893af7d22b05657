package checkpoint

import (
	"encoding/binary"
	"errors"
	"math"
	"runtime"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/task"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/model/gguf"
)

// grouped is a matrix [rows, cols] whose elements are (code - zero)·scale, with a scale and
// a zero for each group of columns of a row. The product is computed in float32, and rounded
// for bf16.
type grouped struct {
	label      string // the format, for messages
	rows, cols int
	stored     uint64   // bytes in the files
	width      int      // columns of a group, adjacent; the last group may have fewer
	order      location // groups of the columns [cols], if groups are not adjacent columns
	packing
}

// packing provides the codes and scales of a matrix.
type packing interface {
	// codes writes the codes of rows of cols elements to dst, as numbers, starting with row
	// first, a multiple of bandRows.
	codes(first, cols int, dst []float32)
	// scale returns the factor of a row's group, and the zero to subtract from its codes.
	scale(row, group int) (scale, zero float32)
}

// groups is the number of groups of a row.
func (m *grouped) groups() int { return (m.cols + m.width - 1) / m.width }

// setOrder reads a g_idx, which must name existing groups; one for groups of adjacent
// columns is left out.
func (m *grouped) setOrder(p *parts, part string) {
	l := p.get(part, integerTypes, m.cols)
	if p.err != nil {
		return
	}
	plain, groups := true, m.groups()
	for i := range m.cols {
		group := int(int32(word(l, i)))
		if group < 0 || group >= groups {
			p.fail("%s.%s puts column %d into group %d, and there are %d", p.module, part, i, group, groups)
			return
		}
		plain = plain && group == i/m.width
	}
	if !plain {
		m.order = l
	}
}

// read writes the numbers of rows from first on to dst.
func (m *grouped) read(first int, dst []float32) {
	scales, zeros := make([]float32, m.groups()), make([]float32, m.groups())
	m.codes(first, m.cols, dst)
	for row := first; len(dst) > 0; row++ {
		x := dst[:m.cols]
		dst = dst[m.cols:]
		for g := range scales {
			scales[g], zeros[g] = m.scale(row, g)
		}
		if m.order.file != nil {
			for i := range x {
				g := word(m.order, i)
				x[i] = (x[i] - zeros[g]) * scales[g]
			}
			continue
		}
		for g := range scales {
			scale, zero := scales[g], zeros[g]
			group := x[g*m.width : min((g+1)*m.width, m.cols)]
			for i, code := range group {
				group[i] = (code - zero) * scale
			}
		}
	}
}

// bandRows is the number of rows that are read together: words contain the codes of
// consecutive rows.
const bandRows = 32

// bands calls f for bands of rows, in parallel.
func (m *grouped) bands(f func(first, rows int)) error {
	workers := min(runtime.GOMAXPROCS(0), (m.rows+bandRows-1)/bandRows)
	faults := make([]error, workers)
	var g task.Group
	for w := range workers {
		g.Go(func() {
			defer storage.CatchFault(&faults[w])()
			for first := w * bandRows; first < m.rows; first += workers * bandRows {
				f(first, min(bandRows, m.rows-first))
			}
		})
	}
	g.Wait()
	return errors.Join(faults...)
}

// float32s writes the matrix to dst.
func (m *grouped) float32s(dst []float32) error {
	return m.bands(func(first, rows int) { m.read(first, dst[first*m.cols:(first+rows)*m.cols]) })
}

// bf16s writes the matrix to dst, rounded to nearest even: only the bands being read are in
// float32.
func (m *grouped) bf16s(dst []driver.BF16) error {
	return m.bands(func(first, rows int) {
		x := make([]float32, rows*m.cols)
		m.read(first, x)
		cast.NarrowHost(x, dst[first*m.cols:(first+rows)*m.cols])
	})
}

// word is an element of a tensor of 32-bit integers.
func word(l location, i int) uint32 { return binary.LittleEndian.Uint32(l.data()[4*i:]) }

// field is the code with that many bits at a position of a word.
func field(w uint32, bits, place int) float32 { return float32(w >> (bits * place) & (1<<bits - 1)) }

// unpack writes the codes of a word, from its low bits up and minus zero, to dst.
func unpack(w uint32, bits int, zero int32, dst []float32) {
	mask := uint32(1)<<bits - 1
	for j := range dst {
		dst[j] = float32(int32(w&mask) - zero)
		w >>= bits
	}
}

// number is an element of a tensor of scales or zeros.
func number(l location, i int) float32 {
	b, le := l.data(), binary.LittleEndian
	switch l.entry.dtype {
	case "F32":
		return math.Float32frombits(le.Uint32(b[4*i:]))
	case "F16":
		return gguf.Float16(le.Uint16(b[2*i:]))
	case "BF16":
		return math.Float32frombits(uint32(le.Uint16(b[2*i:])) << 16)
	case "I8":
		return float32(int8(b[i]))
	case "U8", "F8_E8M0":
		if b[i] == 0xff {
			return float32(math.NaN())
		}
		return float32(math.Ldexp(1, int(b[i])-127))
	}
	panic("checkpoint: scales of " + l.entry.dtype)
}
