package asmtest

import "math"

// operations is what each instruction does; true means the jump is taken.
// Operands are in Go's order: the destination last, Intel's first source before
// it, Intel's second source first.
var operations map[string]func(m *machine, in *instruction) bool

func init() {
	operations = map[string]func(m *machine, in *instruction) bool{
		"RET": next, "PREFETCHT0": next, "PREFETCHT1": next,
		"VZEROUPPER": func(m *machine, _ *instruction) bool {
			for r := range 16 {
				clear(m.vector[r][4:])
			}
			return false
		},
		"JMP": func(*machine, *instruction) bool { return true },
		"JE":  func(m *machine, _ *instruction) bool { return m.zero },
		"JNE": func(m *machine, _ *instruction) bool { return !m.zero },
		"JL":  func(m *machine, _ *instruction) bool { return m.sign },
		"JGE": func(m *machine, _ *instruction) bool { return !m.sign },

		"MOVQ": move, "MOVB": moveByte, "LEAQ": address,
		"ADDQ": arithmetic(func(a, b uint64) uint64 { return a + b }),
		"SUBQ": arithmetic(func(a, b uint64) uint64 { return a - b }),
		"ANDQ": arithmetic(func(a, b uint64) uint64 { return a & b }),
		"SHRQ": arithmetic(func(a, b uint64) uint64 { return a >> b }),
		"CMPQ": func(m *machine, in *instruction) bool {
			m.setFlags(m.integer(in.args[0]) - m.integer(in.args[1]))
			return false
		},
		"TESTQ": func(m *machine, in *instruction) bool {
			m.setFlags(m.general[in.args[0].reg] & m.general[in.args[1].reg])
			return false
		},
		"DECQ": func(m *machine, in *instruction) bool {
			r := in.args[0].reg
			m.general[r] = m.setFlags(m.general[r] - 1)
			return false
		},
		"TESTB": func(m *machine, in *instruction) bool {
			m.setFlags(m.general[in.args[0].reg] & m.general[in.args[1].reg] & 255)
			return false
		},

		"VMOVUPS": copyVector, "VMOVAPS": copyVector, "VMOVUPD": copyVector,
		"VBROADCASTSS": broadcast, "VINSERTF128": insert, "VSHUFPS": shuffle, "VCVTPS2PD": widen,
		"VUNPCKLPS": unpack(0), "VUNPCKHPS": unpack(2),

		"VXORPS": wordwise(func(a, b uint32) uint32 { return a ^ b }),
		"VPXORD": wordwise(func(a, b uint32) uint32 { return a ^ b }),
		"VPADDD": wordwise(func(a, b uint32) uint32 { return a + b }),
		"VPSUBD": wordwise(func(a, b uint32) uint32 { return a - b }),
		"VPSLLD": shift(func(a uint32, by uint64) uint32 { return a << by }),
		"VPSRAD": shift(func(a uint32, by uint64) uint32 { return uint32(int32(a) >> by) }),

		"VADDPS": floats(func(a, b float32) float32 { return a + b }),
		"VSUBPS": floats(func(a, b float32) float32 { return a - b }),
		"VMULPS": floats(func(a, b float32) float32 { return a * b }),
		"VDIVPS": floats(func(a, b float32) float32 { return a / b }),
		"VMINPS": floats(func(a, b float32) float32 {
			if a < b {
				return a
			}
			return b
		}),
		"VMAXPS": floats(func(a, b float32) float32 {
			if a > b {
				return a
			}
			return b
		}),
		"VFMADD231PS":  fused(func(d, a, b float32) float32 { return fma32(a, b, d) }),
		"VFMADD213PS":  fused(func(d, a, b float32) float32 { return fma32(a, d, b) }),
		"VFNMADD231PS": fused(func(d, a, b float32) float32 { return fma32(-a, b, d) }),
		"VADDPD":       doubles(func(_, a, b float64) float64 { return a + b }),
		"VFMADD231PD":  doubles(func(d, a, b float64) float64 { return math.FMA(a, b, d) }),

		"VPOR":      wordwise(func(a, b uint32) uint32 { return a | b }),
		"VPAND":     wordwise(func(a, b uint32) uint32 { return a & b }),
		"VPANDD":    wordwise(func(a, b uint32) uint32 { return a & b }),
		"VPCMPEQD":  wordwise(func(a, b uint32) uint32 { return mask(a == b) }),
		"VPCMPGTD":  wordwise(func(a, b uint32) uint32 { return mask(int32(a) > int32(b)) }),
		"VPSRLD":    shift(func(a uint32, by uint64) uint32 { return a >> by }),
		"VPBLENDVB": blendBytes, "VPACKUSDW": packWords, "VPERMQ": permuteQuarters,

		"VPMOVZXWD": wordsToDoublewords, "VPMOVDW": doublewordsToWords, "VPTERNLOGD": ternary, "VDPBF16PS": dotBF16,
		"LDTILECFG": configureTiles, "TILERELEASE": releaseTiles,
		"TILEZERO": zeroTile, "TILELOADD": loadTile, "TILESTORED": storeTile, "TDPBF16PS": multiplyTiles,
	}
}

func next(*machine, *instruction) bool { return false }

func move(m *machine, in *instruction) bool {
	m.general[in.args[1].reg] = m.integer(in.args[0])
	return false
}

func moveByte(m *machine, in *instruction) bool {
	r := &m.general[in.args[1].reg]
	*r = *r&^255 | uint64(*(*byte)(m.at(in.args[0], 1)))
	return false
}

func address(m *machine, in *instruction) bool {
	m.general[in.args[1].reg] = m.address(in.args[0])
	return false
}

func arithmetic(f func(a, b uint64) uint64) func(*machine, *instruction) bool {
	return func(m *machine, in *instruction) bool {
		r := in.args[1].reg
		m.general[r] = m.setFlags(f(m.general[r], m.integer(in.args[0])))
		return false
	}
}

func copyVector(m *machine, in *instruction) bool {
	n := in.args[0].lanes + in.args[1].lanes // one of them is memory, without lanes
	if in.args[0].kind == in.args[1].kind {
		n = in.args[1].lanes
	}
	m.set(in.args[1], m.get(in.args[0], n), n)
	return false
}

func broadcast(m *machine, in *instruction) bool {
	v := m.get(in.args[0], 1)
	for i := range v {
		v[i] = v[0]
	}
	m.set(in.args[1], v, in.args[1].lanes)
	return false
}

func insert(m *machine, in *instruction) bool {
	low, v := m.get(in.args[1], 4), m.get(in.args[2], 8)
	at := 4 * int(in.args[0].value)
	copy(v[at:at+4], low[:4])
	m.set(in.args[3], v, in.args[3].lanes)
	return false
}

func shuffle(m *machine, in *instruction) bool {
	n, pick := in.args[3].lanes, in.args[0].value
	b, a := m.get(in.args[1], n), m.get(in.args[2], n)
	var d lanes
	for q := 0; q < n; q += 4 {
		for i := range 4 {
			s := &a
			if i >= 2 {
				s = &b
			}
			d[q+i] = s[q+int(pick>>(2*i))&3]
		}
	}
	m.set(in.args[3], d, n)
	return false
}

// unpack interleaves words from, from+1 of each quarter.
func unpack(from int) func(*machine, *instruction) bool {
	return func(m *machine, in *instruction) bool {
		n := in.args[2].lanes
		b, a := m.get(in.args[0], n), m.get(in.args[1], n)
		var d lanes
		for q := from; q < n; q += 4 {
			p := q - from
			d[p], d[p+1], d[p+2], d[p+3] = a[q], b[q], a[q+1], b[q+1]
		}
		m.set(in.args[2], d, n)
		return false
	}
}

func widen(m *machine, in *instruction) bool {
	n := in.args[1].lanes
	s := m.get(in.args[0], n/2)
	var d lanes
	for i := range n / 2 {
		d.setDouble(i, float64(math.Float32frombits(s[i])))
	}
	m.set(in.args[1], d, n)
	return false
}

func wordwise(f func(a, b uint32) uint32) func(*machine, *instruction) bool {
	return func(m *machine, in *instruction) bool {
		n := in.args[2].lanes
		b, a := m.get(in.args[0], n), m.get(in.args[1], n)
		for i := range n {
			a[i] = f(a[i], b[i])
		}
		m.set(in.args[2], a, n)
		return false
	}
}

func shift(f func(a uint32, by uint64) uint32) func(*machine, *instruction) bool {
	return func(m *machine, in *instruction) bool {
		n := in.args[2].lanes
		v := m.get(in.args[1], n)
		for i := range n {
			v[i] = f(v[i], in.args[0].value)
		}
		m.set(in.args[2], v, n)
		return false
	}
}

func floats(f func(a, b float32) float32) func(*machine, *instruction) bool {
	return wordwise(func(a, b uint32) uint32 {
		return math.Float32bits(f(math.Float32frombits(a), math.Float32frombits(b)))
	})
}

func fused(f func(d, a, b float32) float32) func(*machine, *instruction) bool {
	return func(m *machine, in *instruction) bool {
		n := in.args[2].lanes
		b, a, d := m.get(in.args[0], n), m.get(in.args[1], n), m.get(in.args[2], n)
		for i := range n {
			d[i] = math.Float32bits(f(math.Float32frombits(d[i]), math.Float32frombits(a[i]), math.Float32frombits(b[i])))
		}
		m.set(in.args[2], d, n)
		return false
	}
}

func doubles(f func(d, a, b float64) float64) func(*machine, *instruction) bool {
	return func(m *machine, in *instruction) bool {
		n := in.args[2].lanes
		b, a, d := m.get(in.args[0], n), m.get(in.args[1], n), m.get(in.args[2], n)
		for i := range n / 2 {
			d.setDouble(i, f(d.double(i), a.double(i), b.double(i)))
		}
		m.set(in.args[2], d, n)
		return false
	}
}

func (v *lanes) double(i int) float64 {
	return math.Float64frombits(uint64(v[2*i]) | uint64(v[2*i+1])<<32)
}

func (v *lanes) setDouble(i int, d float64) {
	b := math.Float64bits(d)
	v[2*i], v[2*i+1] = uint32(b), uint32(b>>32)
}

// fma32 is x*y+z with one rounding. The product is exact in float64; the sum is
// rounded to odd there, which keeps the rounding to float32 right.
func fma32(x, y, z float32) float32 {
	p, q := float64(x)*float64(y), float64(z)
	s := p + q
	if math.IsInf(s, 0) || s != s {
		return float32(s)
	}
	t := s - p
	lost := (p - (s - t)) + (q - t)
	if bits := math.Float64bits(s); lost != 0 && bits&1 == 0 {
		if (lost > 0) == (s > 0) {
			bits++
		} else {
			bits--
		}
		s = math.Float64frombits(bits)
	}
	return float32(s)
}
