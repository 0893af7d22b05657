package sim

import "math/bits"

// opcodes is the decode table. Every base opcode has a function that consumes its modifiers
// and operands.
var opcodes map[string]func(*decoder)

func init() {
	opcodes = map[string]func(*decoder){}
	for _, t := range []map[string]func(*decoder){
		integerOpcodes, floatOpcodes, moveOpcodes, controlOpcodes, warpOpcodes, matrixOpcodes, asyncOpcodes, hopperOpcodes, clusterOpcodes,
	} {
		for n, f := range t {
			opcodes[n] = f
		}
	}
}

var integerOpcodes = map[string]func(*decoder){
	"mul24": decodeMul24, "rem": decodeDivRem,
	"and": decodeLogic, "or": decodeLogic, "xor": decodeLogic, "not": decodeNot, "cnot": decodeCnot,
	"shl": decodeShift, "shr": decodeShift, "shf": decodeFunnel,
	"bfe": decodeBfe, "bfi": decodeBfi, "prmt": decodePrmt, "lop3": decodeLop3,
	"popc": decodeCount, "clz": decodeCount, "brev": decodeBrev, "bfind": decodeBfind,
	"sad": decodeSad, "dp4a": decodeDp4a,
	"addc": decodeCarry, "subc": decodeCarry, "madc": decodeMadCarry,
}

var intTypes = []typ{tU16, tS16, tU32, tS32, tU64, tS64}

type intOp struct {
	w32 func(d, a, b, c *row)
	w64 func(d, a, b, c *row64)
	w16 func(d, a, b, c *row)
}

// integer chooses the function of an op of n sources by the width of t.
func (d *decoder) integer(t typ, n int, f intOp) {
	switch t.size() {
	case 8:
		d.alu64(t, n, f.w64)
	case 4:
		d.alu(t, n, f.w32)
	default:
		d.alu(t, n, f.w16)
	}
}

func decodeIntAddSub(d *decoder) {
	if d.opt("cc") {
		d.carry(false)
		return
	}
	sat := d.opt("sat")
	t := d.typ(intTypes...)
	if sat {
		if t != tS32 {
			d.fail(".sat is only possible with .s32")
		}
		if d.base == "add" {
			d.alu(t, 2, each(func(a, b, _ uint32) uint32 { return saturateS32(int64(int32(a)) + int64(int32(b))) }))
		} else {
			d.alu(t, 2, each(func(a, b, _ uint32) uint32 { return saturateS32(int64(int32(a)) - int64(int32(b))) }))
		}
		return
	}
	if d.base == "add" {
		d.integer(t, 2, intOp{fast.add32, fast.add64, halves(false, func(a, b, _ uint32) uint32 { return a + b })})
	} else {
		d.integer(t, 2, intOp{fast.sub32, fast.sub64, halves(false, func(a, b, _ uint32) uint32 { return a - b })})
	}
}

func decodeIntMul(d *decoder) {
	mode := d.one("lo", "hi", "wide")
	if mode == "lo" && d.base == "mad" && d.opt("cc") {
		d.madCarry(mode, false, true)
		return
	}
	t := d.typ(intTypes...)
	s := t.signed()
	mad := d.base == "mad"
	n := 2
	if mad {
		n = 3
	}
	plus := func(c uint32) uint32 {
		if mad {
			return c
		}
		return 0
	}
	switch mode {
	case "lo":
		f := intOp{fast.mul32, mul64, halves(s, func(a, b, c uint32) uint32 { return a*b + plus(c) })}
		if mad {
			f.w32, f.w64 = fast.mad32, mad64
		}
		d.integer(t, n, f)
	case "hi":
		f := intOp{fast.mulHiU32, each64(mulHiU64), halves(s, func(a, b, c uint32) uint32 { return uint32(int32(a*b)>>16) + plus(c) })}
		if s {
			f.w32, f.w64 = mulHiS32, each64(mulHiS64)
		}
		if mad {
			f.w32, f.w64 = thenAdd(f.w32), thenAdd64(f.w64)
		}
		d.integer(t, n, f)
	default:
		d.wide(t, mad)
	}
}

func thenAdd(f func(d, a, b, c *row)) func(d, a, b, c *row) {
	return func(d, a, b, c *row) {
		var t row
		f(&t, a, b, c)
		fast.add32(d, &t, c, nil)
	}
}

func thenAdd64(f func(d, a, b, c *row64)) func(d, a, b, c *row64) {
	return func(d, a, b, c *row64) {
		var t row64
		f(&t, a, b, c)
		fast.add64(d, &t, c, nil)
	}
}

// wide is mul.wide and mad.wide: the result has twice the width.
func (d *decoder) wide(t typ, mad bool) {
	twice := map[typ]typ{tU16: tU32, tS16: tS32, tU32: tU64, tS32: tS64}[t]
	if twice == tNone {
		d.fail(".wide of .%s", t)
	}
	d.o.a, d.o.b = d.src(1, t), d.src(2, t)
	if mad {
		d.o.c = d.src(3, twice)
	}
	d.o.d = d.dst(0, twice)
	if t.size() == 2 {
		ext := func(v uint32) uint32 { return v }
		if t.signed() {
			ext = func(v uint32) uint32 { return uint32(int32(int16(v))) }
		}
		d.o.kind = kindAlu
		d.o.f32 = each(func(a, b, c uint32) uint32 {
			if !mad {
				c = 0
			}
			return ext(a)*ext(b) + c
		})
		return
	}
	d.o.kind = kindWiden
	switch {
	case mad && t.signed():
		d.o.widen = fast.madWideS
	case mad:
		d.o.widen = fast.madWideU
	case t.signed():
		d.o.widen = fast.wideS
	default:
		d.o.widen = fast.wideU
	}
}

func decodeMul24(d *decoder) {
	d.one("lo")
	t := d.typ(tU32, tS32)
	ext := func(v uint32) uint32 { return v & 0xffffff }
	if t.signed() {
		ext = func(v uint32) uint32 { return uint32(int32(v<<8) >> 8) }
	}
	d.alu(t, 2, each(func(a, b, _ uint32) uint32 { return ext(a) * ext(b) }))
}

func decodeDivRem(d *decoder) {
	t := d.typ(intTypes...)
	var u func(a, b, c uint32) uint32
	var f intOp
	switch {
	case d.base == "div" && t.signed():
		u = func(a, b, _ uint32) uint32 { return uint32(divide(int32(a), int32(b))) }
		f.w64 = each64(func(a, b, _ uint64) uint64 { return uint64(divide(int64(a), int64(b))) })
	case d.base == "div":
		u = func(a, b, _ uint32) uint32 { return divide(a, b) }
		f.w64 = each64(func(a, b, _ uint64) uint64 { return divide(a, b) })
	case t.signed():
		u = func(a, b, _ uint32) uint32 { return uint32(remainder(int32(a), int32(b))) }
		f.w64 = each64(func(a, b, _ uint64) uint64 { return uint64(remainder(int64(a), int64(b))) })
	default:
		u = func(a, b, _ uint32) uint32 { return remainder(a, b) }
		f.w64 = each64(func(a, b, _ uint64) uint64 { return remainder(a, b) })
	}
	f.w32, f.w16 = each(u), halves(t.signed(), u)
	d.integer(t, 2, f)
}

func decodeIntMinMax(d *decoder) {
	t := d.typ(intTypes...)
	var u func(a, b, c uint32) uint32
	var f intOp
	switch {
	case d.base == "min" && t.signed():
		u = func(a, b, _ uint32) uint32 { return uint32(min(int32(a), int32(b))) }
		f.w64 = each64(func(a, b, _ uint64) uint64 { return uint64(min(int64(a), int64(b))) })
	case d.base == "min":
		u = func(a, b, _ uint32) uint32 { return min(a, b) }
		f.w64 = each64(func(a, b, _ uint64) uint64 { return min(a, b) })
	case t.signed():
		u = func(a, b, _ uint32) uint32 { return uint32(max(int32(a), int32(b))) }
		f.w64 = each64(func(a, b, _ uint64) uint64 { return uint64(max(int64(a), int64(b))) })
	default:
		u = func(a, b, _ uint32) uint32 { return max(a, b) }
		f.w64 = each64(func(a, b, _ uint64) uint64 { return max(a, b) })
	}
	f.w32, f.w16 = each(u), halves(t.signed(), u)
	d.integer(t, 2, f)
}

// decodeIntNegAbs is neg and abs of signed integers.
func decodeIntNegAbs(d *decoder) {
	t := d.typ(tS16, tS32, tS64)
	u := func(a, _, _ uint32) uint32 { return -a }
	v := func(a, _, _ uint64) uint64 { return -a }
	if d.base == "abs" {
		u = func(a, _, _ uint32) uint32 { return abs32(a) }
		v = func(a, _, _ uint64) uint64 {
			if int64(a) < 0 {
				return -a
			}
			return a
		}
	}
	d.integer(t, 1, intOp{each(u), each64(v), halves(true, u)})
}

var bitTypes = []typ{tPred, tB16, tB32, tB64}

func decodeLogic(d *decoder) {
	t := d.typ(bitTypes...)
	if t == tPred {
		d.predicates(2, map[string]func(a, b uint32) uint32{
			"and": func(a, b uint32) uint32 { return a & b },
			"or":  func(a, b uint32) uint32 { return a | b },
			"xor": func(a, b uint32) uint32 { return a ^ b },
		}[d.base])
		return
	}
	f := map[string]intOp{"and": {fast.and32, fast.and64, fast.and32}, "or": {fast.or32, fast.or64, fast.or32}, "xor": {fast.xor32, fast.xor64, fast.xor32}}[d.base]
	d.integer(t, 2, f)
}

func decodeNot(d *decoder) {
	t := d.typ(bitTypes...)
	if t == tPred {
		d.predicates(1, func(a, _ uint32) uint32 { return ^a })
		return
	}
	mask := lowMask(t.size())
	n := each(func(a, _, _ uint32) uint32 { return ^a & mask })
	d.integer(t, 1, intOp{n, each64(func(a, _, _ uint64) uint64 { return ^a }), n})
}

// predicates is an op on predicate registers.
func (d *decoder) predicates(n int, f func(a, b uint32) uint32) {
	slot := func(i int) int32 {
		p, neg := d.predicate(i)
		if neg {
			d.fail("a negated operand")
		}
		return p
	}
	d.o.d, d.o.a = d.dst(0, tPred), slot(1)
	if n == 2 {
		d.o.b = slot(2)
	}
	d.o.run = func(_ *block, w *warp, o *op, m uint32) status {
		w.p[o.d] = w.p[o.d]&^m | f(w.p[o.a], w.p[o.b])&m
		return next
	}
}

func decodeCnot(d *decoder) {
	t := d.typ(tB16, tB32, tB64)
	f := each(func(a, _, _ uint32) uint32 {
		if a == 0 {
			return 1
		}
		return 0
	})
	d.integer(t, 1, intOp{f, each64(func(a, _, _ uint64) uint64 {
		if a == 0 {
			return 1
		}
		return 0
	}), f})
}

func decodeShift(d *decoder) {
	left := d.base == "shl"
	var t typ
	if left {
		t = d.typ(tB16, tB32, tB64)
	} else {
		t = d.typ(tB16, tB32, tB64, tU16, tU32, tU64, tS16, tS32, tS64)
	}
	d.o.d, d.o.a, d.o.b = d.dst(0, t), d.src(1, t), d.src(2, tU32)
	if t.size() == 8 {
		d.o.run = shift64(left, t.signed())
		return
	}
	d.o.kind = kindAlu
	switch {
	case left && t.size() == 2:
		d.o.f32 = each(func(a, b, _ uint32) uint32 { return a << b & 0xffff })
	case left:
		d.o.f32 = fast.shl32
	case t == tS16:
		d.o.f32 = each(func(a, b, _ uint32) uint32 { return uint32(int32(int16(a))>>b) & 0xffff })
	case t.signed():
		d.o.f32 = fast.shrS32
	default:
		d.o.f32 = fast.shrU32
	}
}

func shift64(left, signed bool) func(b *block, w *warp, o *op, m uint32) status {
	return func(_ *block, w *warp, o *op, m uint32) status {
		d, a, n := &w.t64, &w.r64[o.a], &w.r32[o.b]
		if m == allLanes {
			d = &w.r64[o.d]
		}
		switch {
		case left:
			for i := range d {
				d[i] = a[i] << n[i]
			}
		case signed:
			for i := range d {
				d[i] = uint64(int64(a[i]) >> n[i])
			}
		default:
			for i := range d {
				d[i] = a[i] >> n[i]
			}
		}
		if m != allLanes {
			blend64(&w.r64[o.d], d, m)
		}
		return next
	}
}

func decodeFunnel(d *decoder) {
	dir, mode := d.one("l", "r"), d.one("clamp", "wrap")
	d.typ(tB32)
	f := funnelLeft
	if dir == "r" {
		f = funnelRight
	}
	if mode == "clamp" {
		d.alu(tB32, 3, each(func(a, b, c uint32) uint32 { return f(a, b, min(c, 32)) }))
	} else {
		d.alu(tB32, 3, each(func(a, b, c uint32) uint32 { return f(a, b, c&31) }))
	}
}

func decodeCount(d *decoder) {
	t := d.typ(tB32, tB64)
	d.o.d, d.o.a = d.dst(0, tU32), d.src(1, t)
	pop := d.base == "popc"
	if t == tB32 {
		d.o.kind = kindAlu
		if pop {
			d.o.f32 = each(func(a, _, _ uint32) uint32 { return uint32(bits.OnesCount32(a)) })
		} else {
			d.o.f32 = each(func(a, _, _ uint32) uint32 { return uint32(bits.LeadingZeros32(a)) })
		}
		return
	}
	d.o.kind = kindNarrow
	d.o.narrow = func(d *row, a, _ *row64, _ *row) {
		for i := range d {
			if pop {
				d[i] = uint32(bits.OnesCount64(a[i]))
			} else {
				d[i] = uint32(bits.LeadingZeros64(a[i]))
			}
		}
	}
}

func decodeBrev(d *decoder) {
	t := d.typ(tB32, tB64)
	d.integer(t, 1, intOp{
		w32: each(func(a, _, _ uint32) uint32 { return bits.Reverse32(a) }),
		w64: each64(func(a, _, _ uint64) uint64 { return bits.Reverse64(a) }),
	})
}

func decodeBfind(d *decoder) {
	amount := d.opt("shiftamt")
	t := d.typ(tU32, tS32)
	d.alu(t, 1, each(func(a, _, _ uint32) uint32 {
		if t.signed() && int32(a) < 0 {
			a = ^a
		}
		r := highestBit(a)
		if amount && r != allLanes {
			r = 31 - r
		}
		return r
	}))
}
