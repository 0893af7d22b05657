package asmtest

import (
	"fmt"
	"math"
	"unsafe"
)

// The instructions of bf16, after the pseudocode of Intel's Software Developer's Manual,
// volume 2. Both multiply pairs: the lower half of a word is the even number. Denormal
// numbers are taken for zero, and none are made.

// wordsToDoublewords is VPMOVZXWD from memory.
func wordsToDoublewords(m *machine, in *instruction) bool {
	n := in.args[1].lanes
	half := unsafe.Slice((*uint16)(m.at(in.args[0], 2*n)), n)
	var d lanes
	for i := range n {
		d[i] = uint32(half[i])
	}
	m.set(in.args[1], d, n)
	return false
}

// doublewordsToWords is VPMOVDW to memory: the lower halves.
func doublewordsToWords(m *machine, in *instruction) bool {
	n := in.args[0].lanes
	v, half := m.get(in.args[0], n), unsafe.Slice((*uint16)(m.at(in.args[1], 2*n)), n)
	for i := range half {
		half[i] = uint16(v[i])
	}
	return false
}

// ternary is VPTERNLOGD: bit i of the immediate is the result where the bits of the
// destination, the first source and the second are those of the number i.
func ternary(m *machine, in *instruction) bool {
	n, table := in.args[3].lanes, uint32(in.args[0].value)
	c, b, a := m.get(in.args[1], n), m.get(in.args[2], n), m.get(in.args[3], n)
	var d lanes
	for l := range n {
		for bit := range 32 {
			i := a[l]>>bit&1<<2 | b[l]>>bit&1<<1 | c[l]>>bit&1
			d[l] |= table >> i & 1 << bit
		}
	}
	m.set(in.args[3], d, n)
	return false
}

func mask(yes bool) uint32 {
	if yes {
		return math.MaxUint32
	}
	return 0
}

// blendBytes is VPBLENDVB, for masks that are the same in all bytes of a word.
func blendBytes(m *machine, in *instruction) bool {
	n := in.args[3].lanes
	which, b, a := m.get(in.args[0], n), m.get(in.args[1], n), m.get(in.args[2], n)
	for i := range n {
		switch which[i] {
		case math.MaxUint32:
			a[i] = b[i]
		case 0:
		default:
			m.err = fmt.Errorf("a mask of %#x", which[i])
		}
	}
	m.set(in.args[3], a, n)
	return false
}

// packWords is VPACKUSDW: signed doublewords become words, in halves of 128 bits.
func packWords(m *machine, in *instruction) bool {
	n := in.args[2].lanes
	b, a := m.get(in.args[0], n), m.get(in.args[1], n)
	word := func(x uint32) uint32 { return uint32(min(max(int32(x), 0), math.MaxUint16)) }
	var d lanes
	for q := 0; q < n; q += 4 {
		for i := range 2 {
			d[q+i] = word(a[q+2*i]) | word(a[q+2*i+1])<<16
			d[q+2+i] = word(b[q+2*i]) | word(b[q+2*i+1])<<16
		}
	}
	m.set(in.args[2], d, n)
	return false
}

// permuteQuarters is VPERMQ with an immediate.
func permuteQuarters(m *machine, in *instruction) bool {
	n, pick := in.args[2].lanes, in.args[0].value
	a := m.get(in.args[1], n)
	var d lanes
	for q := 0; q < n; q += 8 {
		for i := range 4 {
			from := q + 2*int(pick>>(2*i)&3)
			d[q+2*i], d[q+2*i+1] = a[from], a[from+1]
		}
	}
	m.set(in.args[2], d, n)
	return false
}

// dotBF16 is VDPBF16PS: the odd numbers' product is added before the even ones'.
func dotBF16(m *machine, in *instruction) bool {
	n := in.args[2].lanes
	b, a, d := m.get(in.args[0], n), m.get(in.args[1], n), m.get(in.args[2], n)
	for i := range n {
		s := flushed(d[i])
		s = flush(fma32(upper(a[i]), upper(b[i]), s))
		s = flush(fma32(lower(a[i]), lower(b[i]), s))
		d[i] = math.Float32bits(s)
	}
	m.set(in.args[2], d, n)
	return false
}

func upper(pair uint32) float32 { return flushed(pair &^ 0xffff) }
func lower(pair uint32) float32 { return flushed(pair << 16) }

func flushed(bits uint32) float32 { return flush(math.Float32frombits(bits)) }

// flush makes denormal numbers zero.
func flush(x float32) float32 {
	if bits := math.Float32bits(x); bits&0x7f800000 == 0 {
		return math.Float32frombits(bits & (1 << 31))
	}
	return x
}

// tileData is a tile of 16 rows of 64 bytes.
type tileData [16][16]uint32

// configureTiles is LDTILECFG, of the one configuration that is used: palette 1, eight
// tiles of 16 rows of 64 bytes.
func configureTiles(m *machine, in *instruction) bool {
	c := unsafe.Slice((*byte)(m.at(in.args[0], 64)), 64)
	want := [64]byte{0: 1}
	for i := range 8 {
		want[16+2*i], want[48+i] = 64, 16
	}
	if [64]byte(c) != want {
		m.err = fmt.Errorf("a configuration of other tiles than 16 rows of 64 bytes")
	}
	m.tiled, m.tiles = true, [8]tileData{}
	return false
}

func releaseTiles(m *machine, _ *instruction) bool {
	m.tiled, m.tiles = false, [8]tileData{}
	return false
}

// tile is a tile that an instruction names.
func (m *machine) tile(o operand) *tileData {
	if !m.tiled {
		m.err = fmt.Errorf("tiles are not configured")
	}
	return &m.tiles[o.reg]
}

func zeroTile(m *machine, in *instruction) bool {
	*m.tile(in.args[0]) = tileData{}
	return false
}

// rowOf is the memory of row r of a tile at o, whose index is the distance between rows.
func (m *machine) rowOf(o operand, r int) *[16]uint32 {
	stride := m.general[o.index] * uint64(o.scale)
	o.index = -1
	o.disp += r * int(stride)
	return (*[16]uint32)(m.at(o, 64))
}

func loadTile(m *machine, in *instruction) bool {
	t := m.tile(in.args[1])
	for r := range t {
		t[r] = *m.rowOf(in.args[0], r)
	}
	return false
}

func storeTile(m *machine, in *instruction) bool {
	t := m.tile(in.args[0])
	for r := range t {
		*m.rowOf(in.args[1], r) = t[r]
	}
	return false
}

// multiplyTiles is TDPBF16PS: even and odd numbers are summed apart over the 16 pairs, and
// their sum is added to the tile.
func multiplyTiles(m *machine, in *instruction) bool {
	b, a, c := m.tile(in.args[0]), m.tile(in.args[1]), m.tile(in.args[2])
	for r := range c {
		for n := range c[r] {
			var even, odd float32
			for k := range 16 {
				even = flush(fma32(lower(a[r][k]), lower(b[k][n]), even))
				odd = flush(fma32(upper(a[r][k]), upper(b[k][n]), odd))
			}
			sum := flush(even + odd)
			c[r][n] = math.Float32bits(flush(flushed(c[r][n]) + sum))
		}
	}
	return false
}
