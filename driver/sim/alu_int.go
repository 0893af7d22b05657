package sim

import "math/bits"

// Integer arithmetic on rows. The hot 32-bit functions are written out; the others are made
// from a function of one lane.

type integer interface {
	~uint16 | ~int16 | ~int32 | ~uint32 | ~int64 | ~uint64
}

func move32(d, a, _, _ *row) { *d = *a }

func move64(d, a, _, _ *row64) { *d = *a }

// each makes a row function of a lane function.
func each(f func(a, b, c uint32) uint32) func(d, a, b, c *row) {
	return func(d, a, b, c *row) {
		for i := range d {
			d[i] = f(a[i], b[i], c[i])
		}
	}
}

func each64(f func(a, b, c uint64) uint64) func(d, a, b, c *row64) {
	return func(d, a, b, c *row64) {
		for i := range d {
			d[i] = f(a[i], b[i], c[i])
		}
	}
}

// halves runs a 32-bit lane function on 16-bit values: operands are sign-extended if signed,
// and the result is truncated.
func halves(signed bool, f func(a, b, c uint32) uint32) func(d, a, b, c *row) {
	if !signed {
		return each(func(a, b, c uint32) uint32 { return f(a, b, c) & 0xffff })
	}
	ext := func(v uint32) uint32 { return uint32(int32(int16(v))) }
	return each(func(a, b, c uint32) uint32 { return f(ext(a), ext(b), ext(c)) & 0xffff })
}

// divide returns all ones for a zero divisor, as NVIDIA's code does; PTX leaves it
// undefined.
func divide[T integer](a, b T) T {
	if b == 0 {
		return ^T(0)
	}
	return a / b
}

func remainder[T integer](a, b T) T {
	if b == 0 {
		return a
	}
	return a % b
}

func mulHiU64(a, b, _ uint64) uint64 {
	hi, _ := bits.Mul64(a, b)
	return hi
}

func mulHiS64(a, b, _ uint64) uint64 {
	hi, _ := bits.Mul64(a, b)
	if int64(a) < 0 {
		hi -= b
	}
	if int64(b) < 0 {
		hi -= a
	}
	return hi
}

// extract is bfe: l bits of a from position p.
func extractU[T uint32 | uint64](a T, p, l uint32, width uint32) T {
	p, l = p&255, l&255
	if p >= width || l == 0 {
		return 0
	}
	return a >> p & (1<<min(l, width) - 1)
}

func extractS[T uint32 | uint64](a T, p, l uint32, width uint32) T {
	p, l = p&255, l&255
	if l == 0 {
		return 0
	}
	top := min(p+l-1, width-1)
	var sign T
	if a>>top&1 != 0 {
		sign = ^T(0)
	}
	if p >= width {
		return sign
	}
	n := min(l, width-p)
	v := a >> p & (1<<n - 1)
	return v | sign<<n
}

// insert is bfi: b with the low l bits of a inserted at position p.
func insert[T uint32 | uint64](a, b T, p, l uint32, width uint32) T {
	p, l = p&255, l&255
	if p >= width {
		return b
	}
	mask := (T(1)<<min(l, width) - 1) << p
	return b&^mask | a<<p&mask
}

// permute is prmt in its default mode: four selectors, each of a byte of {b, a}; bit 3 of a
// selector replicates the byte's sign.
func permute(a, b, sel uint32) uint32 {
	v := uint64(b)<<32 | uint64(a)
	var r uint32
	for i := range 4 {
		s := sel >> (4 * i)
		x := uint32(v>>(8*(s&7))) & 0xff
		if s&8 != 0 {
			x = uint32(int32(int8(x))>>7) & 0xff
		}
		r |= x << (8 * i)
	}
	return r
}

// permuteModes are prmt's other modes, as selectors for permute by the low bits of c.
var permuteModes = map[string][4]uint32{
	"f4e":  {0x3210, 0x4321, 0x5432, 0x6543},
	"b4e":  {0x5670, 0x6701, 0x7012, 0x0123},
	"rc8":  {0x0000, 0x1111, 0x2222, 0x3333},
	"ecl":  {0x3210, 0x3211, 0x3222, 0x3333},
	"ecr":  {0x0000, 0x1110, 0x2210, 0x3210},
	"rc16": {0x1010, 0x3232, 0x1010, 0x3232},
}

// lookup3 is lop3: the truth table lut of three bits.
func lookup3(lut uint32) func(d, a, b, c *row) {
	return each(func(a, b, c uint32) uint32 {
		var r uint32
		for k := range uint32(8) {
			if lut>>k&1 == 0 {
				continue
			}
			x, y, z := a, b, c
			if k&4 == 0 {
				x = ^x
			}
			if k&2 == 0 {
				y = ^y
			}
			if k&1 == 0 {
				z = ^z
			}
			r |= x & y & z
		}
		return r
	})
}

func funnelLeft(lo, hi, n uint32) uint32  { return uint32((uint64(hi)<<32 | uint64(lo)) << n >> 32) }
func funnelRight(lo, hi, n uint32) uint32 { return uint32((uint64(hi)<<32 | uint64(lo)) >> n) }

func highestBit(v uint32) uint32 {
	if v == 0 {
		return allLanes
	}
	return uint32(31 - bits.LeadingZeros32(v))
}

func abs32(a uint32) uint32 {
	if int32(a) < 0 {
		return -a
	}
	return a
}

// dot4 is dp4a.
func dot4(signedA, signedB bool) func(a, b, c uint32) uint32 {
	ext := func(v uint32, signed bool) int32 {
		if signed {
			return int32(int8(v))
		}
		return int32(uint8(v))
	}
	return func(a, b, c uint32) uint32 {
		for i := range 4 {
			c += uint32(ext(a>>(8*i), signedA) * ext(b>>(8*i), signedB))
		}
		return c
	}
}

func saturateS32(v int64) uint32 {
	return uint32(int32(min(max(v, -1<<31), 1<<31-1)))
}
