package sim

import "math/bits"

func decodeBfe(d *decoder) {
	t := d.typ(tU32, tS32, tU64, tS64)
	if t.size() == 4 {
		d.o.d, d.o.a, d.o.b, d.o.c = d.dst(0, t), d.src(1, t), d.src(2, tU32), d.src(3, tU32)
		d.o.kind = kindAlu
		if t.signed() {
			d.o.f32 = each(func(a, p, l uint32) uint32 { return extractS(a, p, l, 32) })
		} else {
			d.o.f32 = each(func(a, p, l uint32) uint32 { return extractU(a, p, l, 32) })
		}
		return
	}
	d.o.d, d.o.a, d.o.b, d.o.c = d.dst(0, t), d.src(1, t), d.src(2, tU32), d.src(3, tU32)
	d.o.run = lanes64(func(w *warp, o *op, i int) uint64 {
		a, p, l := w.r64[o.a][i], w.r32[o.b][i], w.r32[o.c][i]
		if t.signed() {
			return extractS(a, p, l, 64)
		}
		return extractU(a, p, l, 64)
	})
}

// lanes64 makes an op from a function that computes a 64-bit result lane by lane.
func lanes64(f func(w *warp, o *op, i int) uint64) func(b *block, w *warp, o *op, m uint32) status {
	return func(_ *block, w *warp, o *op, m uint32) status {
		for ; m != 0; m &= m - 1 {
			i := firstLane(m)
			w.r64[o.d][i] = f(w, o, i)
		}
		return next
	}
}

func lanes32(f func(w *warp, o *op, i int) uint32) func(b *block, w *warp, o *op, m uint32) status {
	return func(_ *block, w *warp, o *op, m uint32) status {
		for ; m != 0; m &= m - 1 {
			i := firstLane(m)
			w.r32[o.d][i] = f(w, o, i)
		}
		return next
	}
}

func decodeBfi(d *decoder) {
	t := d.typ(tB32, tB64)
	d.o.d, d.o.a, d.o.b = d.dst(0, t), d.src(1, t), d.src(2, t)
	d.o.v = []int32{d.src(3, tU32), d.src(4, tU32)}
	if t == tB64 {
		d.o.run = lanes64(func(w *warp, o *op, i int) uint64 {
			return insert(w.r64[o.a][i], w.r64[o.b][i], w.r32[o.v[0]][i], w.r32[o.v[1]][i], 64)
		})
		return
	}
	d.o.run = lanes32(func(w *warp, o *op, i int) uint32 {
		return insert(w.r32[o.a][i], w.r32[o.b][i], w.r32[o.v[0]][i], w.r32[o.v[1]][i], 32)
	})
}

func decodePrmt(d *decoder) {
	d.typ(tB32)
	f := permute
	if mode := d.maybe("f4e", "b4e", "rc8", "ecl", "ecr", "rc16"); mode != "" {
		table := permuteModes[mode]
		f = func(a, b, c uint32) uint32 { return permute(a, b, table[c&3]) }
	}
	d.alu(tB32, 3, each(f))
}

func decodeLop3(d *decoder) {
	d.typ(tB32)
	lut := uint32(d.number(4, 0, 255))
	d.alu(tB32, 3, lookup3(lut))
}

func decodeSad(d *decoder) {
	t := d.typ(tU32, tS32)
	d.alu(t, 3, each(func(a, b, c uint32) uint32 {
		if t.signed() && int32(a) < int32(b) || !t.signed() && a < b {
			a, b = b, a
		}
		return c + a - b
	}))
}

func decodeDp4a(d *decoder) {
	ta, tb := d.typ(tU32, tS32), d.typ(tU32, tS32)
	d.alu(tB32, 3, each(dot4(ta.signed(), tb.signed())))
}

// carry is add.cc, addc, sub.cc and subc: in is true if the carry is an input.
func (d *decoder) carry(in bool) {
	out := !in || d.opt("cc")
	t := d.typ(tU32, tS32, tU64, tS64)
	sub := d.base[:3] == "sub"
	d.operands(t, 2)
	d.o.run = func(_ *block, w *warp, o *op, m uint32) status {
		for mm := m; mm != 0; mm &= mm - 1 {
			i := firstLane(mm)
			c := uint64(0)
			if in {
				c = uint64(w.carry >> i & 1)
			}
			var r, co uint64
			if t.size() == 8 {
				r, co = addCarry(w.r64[o.a][i], w.r64[o.b][i], c, sub)
				w.r64[o.d][i] = r
			} else {
				x, y := uint64(w.r32[o.a][i]), uint64(w.r32[o.b][i])
				if sub {
					r = x - y - c
				} else {
					r = x + y + c
				}
				co = r >> 32 & 1
				w.r32[o.d][i] = uint32(r)
			}
			if out {
				w.carry = w.carry&^(1<<i) | uint32(co)<<i
			}
		}
		return next
	}
}

func addCarry(a, b, c uint64, sub bool) (sum, carry uint64) {
	if sub {
		return bits.Sub64(a, b, c)
	}
	return bits.Add64(a, b, c)
}

func decodeCarry(d *decoder) { d.carry(true) }

func decodeMadCarry(d *decoder) {
	mode := d.one("lo", "hi")
	d.madCarry(mode, true, d.opt("cc"))
}

// madCarry is mad.cc and madc of 32 bits.
func (d *decoder) madCarry(mode string, in, out bool) {
	t := d.typ(tU32, tS32)
	d.operands(t, 3)
	d.o.run = func(_ *block, w *warp, o *op, m uint32) status {
		for mm := m; mm != 0; mm &= mm - 1 {
			i := firstLane(mm)
			p := uint64(w.r32[o.a][i]) * uint64(w.r32[o.b][i])
			if t.signed() {
				p = uint64(int64(int32(w.r32[o.a][i])) * int64(int32(w.r32[o.b][i])))
			}
			if mode == "hi" {
				p >>= 32
			}
			r := uint64(uint32(p)) + uint64(w.r32[o.c][i])
			if in {
				r += uint64(w.carry >> i & 1)
			}
			w.r32[o.d][i] = uint32(r)
			if out {
				w.carry = w.carry&^(1<<i) | uint32(r>>32)<<i
			}
		}
		return next
	}
}
