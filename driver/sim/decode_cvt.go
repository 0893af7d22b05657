package sim

import "math"

// Conversions. A value goes through int64 or float64, which hold every source exactly except
// u64 near its maximum and s64/u64 to float; those are rounded once by Go.

var cvtTypes = []typ{
	tU8, tS8, tB8, tU16, tS16, tU32, tS32, tU64, tS64, tF16, tBF16, tF32, tF64, tTF32,
	tF16x2, tBF16x2, tE4M3x2, tE5M2x2,
}

func isFloat(t typ) bool {
	switch t {
	case tF16, tBF16, tF32, tF64, tTF32:
		return true
	}
	return false
}

func isPacked(t typ) bool {
	switch t {
	case tF16x2, tBF16x2, tE4M3x2, tE5M2x2:
		return true
	}
	return false
}

func (t typ) format() format {
	switch t {
	case tF16, tF16x2:
		return formatF16
	case tBF16, tBF16x2:
		return formatBF16
	case tE4M3x2:
		return formatE4M3
	case tE5M2x2:
		return formatE5M2
	}
	return formatF32
}

func decodeCvt(d *decoder) {
	mode := d.maybe("rn", "rna", "rz", "rm", "rp", "rni", "rzi", "rmi", "rpi")
	relu, ftz, sat := false, false, false
	switch {
	case d.opt("relu"):
		relu = true
	case d.opt("satfinite"):
		sat = true
		relu = d.opt("relu")
	default:
		ftz = d.opt("ftz")
		sat = d.opt("sat")
	}
	dt, st := d.typ(cvtTypes...), d.typ(cvtTypes...)
	if isPacked(dt) || isPacked(st) {
		if ftz {
			d.fail(".ftz with packed formats")
		}
		d.packed(dt, st, mode, relu, sat)
		return
	}
	intMode := len(mode) == 3 && mode[2] == 'i'
	switch {
	case isFloat(dt) && isFloat(st):
		if dt == tTF32 && mode != "rna" || dt != tTF32 && mode == "" && dt.size() < st.size() || dt.size() > st.size() && mode != "" && !intMode {
			d.fail("conversion .%s.%s with rounding %q", dt, st, mode)
		}
	case isFloat(dt):
		if mode == "" || intMode {
			d.fail("integer to float needs a rounding")
		}
	case isFloat(st):
		if !intMode {
			d.fail("float to integer needs an integer rounding")
		}
	case mode != "":
		d.fail("rounding between integers")
	}
	if relu {
		d.fail(".relu is for packed formats and tf32 only")
	}
	if fast := fastCvt(dt, st, ftz || sat); fast != nil {
		fast(d, dt, st)
		return
	}
	d.convert(dt, st, mode, ftz, sat)
}

// fastCvt are the conversions that are frequent in inner loops.
func fastCvt(dt, st typ, modified bool) func(d *decoder, dt, st typ) {
	if modified || isFloat(dt) || isFloat(st) {
		return nil
	}
	switch {
	case dt.size() == 8 && st.size() == 4 && !st.signed():
		return func(d *decoder, dt, st typ) {
			d.o.kind, d.o.d, d.o.a = kindWiden, d.dst(0, dt), d.cvtSrc(1, st)
			d.o.widen = widenU
		}
	case dt.size() == 8 && st.size() == 4:
		return func(d *decoder, dt, st typ) {
			d.o.kind, d.o.d, d.o.a = kindWiden, d.dst(0, dt), d.cvtSrc(1, st)
			d.o.widen = widenS
		}
	case dt.size() == 4 && st.size() == 8:
		return func(d *decoder, dt, st typ) {
			d.o.kind, d.o.d, d.o.a = kindNarrow, d.dst(0, dt), d.src(1, st)
			d.o.narrow = narrow64
		}
	}
	return nil
}

// cvtReg relaxes the width of a cvt operand: a register may be wider than the type.
func (d *decoder) cvtReg(o *operand, t typ) (slot int32, wide bool) {
	if o.kind == regOperand && o.reg.typ != tPred && o.reg.typ.size() > t.size() && !isFloat(t) {
		return int32(o.reg.slot), o.reg.typ.size() == 8
	}
	return d.srcOf(o, t), t.size() == 8
}

// cvtSrc is a source in the 32-bit file.
func (d *decoder) cvtSrc(i int, t typ) int32 {
	s, wide := d.cvtReg(d.arg(i), t)
	if wide {
		d.fail("a 64-bit register as .%s", t)
	}
	return s
}

func (d *decoder) convert(dt, st typ, mode string, ftz, sat bool) {
	var dstWide, srcWide bool
	if dst := d.arg(0); dst.kind == sink {
		d.o.d, dstWide = d.sink(dt), dt.size() == 8
	} else {
		d.o.d, dstWide = d.cvtReg(dst, dt)
	}
	d.o.a, srcWide = d.cvtReg(d.arg(1), st)
	regSize := dt.size()
	if o := d.arg(0); o.kind == regOperand {
		regSize = o.reg.typ.size()
	}
	f := converter(dt, st, mode, ftz, sat)
	d.o.run = func(_ *block, w *warp, o *op, m uint32) status {
		for ; m != 0; m &= m - 1 {
			i := firstLane(m)
			var v uint64
			if srcWide {
				v = w.r64[o.a][i]
			} else {
				v = uint64(w.r32[o.a][i])
			}
			v = f(v)
			if dstWide {
				w.r64[o.d][i] = v
			} else {
				w.r32[o.d][i] = uint32(v) & lowMask(regSize)
			}
		}
		return next
	}
}

// converter makes the function for one value; results of signed types are sign-extended.
func converter(dt, st typ, mode string, ftz, sat bool) func(uint64) uint64 {
	switch {
	case isFloat(st) && isFloat(dt):
		return func(v uint64) uint64 { return fromFloat(dt, toFloat(st, v, ftz), mode, ftz, sat) }
	case isFloat(dt):
		return func(v uint64) uint64 { return intToFloat(dt, st, v, mode, sat) }
	case isFloat(st):
		r := roundingNames[mode[:2]]
		return func(v uint64) uint64 { return floatToInt(dt, roundInt(toFloat(st, v, ftz), r)) }
	}
	return func(v uint64) uint64 {
		x := extend(v, st)
		if sat {
			x = clampInt(dt, x, st)
		}
		return extend(x, dt)
	}
}

// extend reads v as an integer of type t.
func extend(v uint64, t typ) uint64 {
	n := 64 - 8*t.size()
	if t.signed() {
		return uint64(int64(v<<n) >> n)
	}
	return v << n >> n
}

func intRange(t typ) (lo float64, hi float64) {
	n := 8 * t.size()
	if t.signed() {
		return -math.Ldexp(1, n-1), math.Ldexp(1, n-1) - 1
	}
	return 0, math.Ldexp(1, n) - 1
}

func clampInt(dt typ, x uint64, st typ) uint64 {
	n := 8 * dt.size()
	if st.signed() {
		v := int64(x)
		if !dt.signed() {
			if v < 0 {
				return 0
			}
			if n < 64 && v > 1<<n-1 {
				return 1<<n - 1
			}
			return x
		}
		if n < 64 {
			return uint64(min(max(v, -1<<(n-1)), 1<<(n-1)-1))
		}
		return x
	}
	hi := uint64(math.MaxUint64)
	if dt.signed() {
		hi = 1<<(n-1) - 1
	} else if n < 64 {
		hi = 1<<n - 1
	}
	return min(x, hi)
}

// floatToInt clamps, as cvt does; NaN gives 0.
func floatToInt(t typ, x float64) uint64 {
	lo, hi := intRange(t)
	switch {
	case x != x:
		return 0
	case x <= lo:
		if t.signed() {
			return uint64(int64(-1) << (8*t.size() - 1))
		}
		return 0
	case x >= hi && t.size() == 8 && !t.signed():
		return math.MaxUint64
	case x >= hi && t.size() == 8:
		return math.MaxInt64
	case x >= hi:
		return uint64(hi)
	case t.signed():
		return uint64(int64(x))
	}
	return uint64(x)
}

func toFloat(t typ, v uint64, ftz bool) float64 {
	switch t {
	case tF64:
		return f64(v)
	case tF32, tTF32:
		if ftz {
			v = uint64(flush(uint32(v)))
		}
		return float64(f32(uint32(v)))
	}
	return float64(t.half().decode(uint32(v)))
}

func fromFloat(t typ, x float64, mode string, ftz, sat bool) uint64 {
	r := nearestEven
	if mode != "" {
		r = roundingNames[mode[:2]]
	}
	if len(mode) == 3 && mode[2] == 'i' {
		x = roundInt(x, r)
	}
	if sat {
		x = float64(f32(saturate(u32(float32(x)))))
	}
	switch t {
	case tF64:
		return u64(x)
	case tTF32:
		return roundTF32(u32(float32(x)))
	case tF32:
		v := u32(float32(x))
		if mode != "rn" && len(mode) == 2 {
			v = formatF32.encode(x, r, false)
		}
		if x != x {
			v = canonicalNaN
		}
		if ftz {
			v = flush(v)
		}
		return uint64(v)
	}
	return uint64(t.format().encode(x, r, false))
}

// roundTF32 keeps 10 bits of the fraction, ties away from zero.
func roundTF32(u uint32) uint64 {
	if u&0x7f800000 == 0x7f800000 {
		return uint64(u)
	}
	return uint64((u + 0x1000) &^ 0x1fff)
}

func intToFloat(dt, st typ, v uint64, mode string, sat bool) uint64 {
	x := extend(v, st)
	if mode == "rn" && dt == tF32 && !sat {
		if st.signed() {
			return uint64(u32(float32(int64(x))))
		}
		return uint64(u32(float32(x)))
	}
	f := float64(x)
	if st.signed() {
		f = float64(int64(x))
	}
	return fromFloat(dt, f, mode, false, sat)
}

// packed is the conversions between pairs and float32, and between pairs.
func (d *decoder) packed(dt, st typ, mode string, relu, sat bool) {
	fp8 := func(t typ) bool { return t == tE4M3x2 || t == tE5M2x2 }
	bits := map[bool]typ{true: tB16, false: tB32}
	switch {
	case isPacked(dt) && st == tF32:
		if mode != "rn" && (mode != "rz" || fp8(dt)) || fp8(dt) && !sat {
			d.fail("rounding %q to .%s", mode, dt)
		}
		d.o.d, d.o.a, d.o.b = d.dst(0, bits[fp8(dt)]), d.src(1, tF32), d.src(2, tF32)
		d.o.kind, d.o.f32 = kindAlu, packer(dt, roundingNames[mode], relu, sat)
	case dt == tF16x2 && fp8(st):
		if mode != "rn" || sat {
			d.fail("fp8 to f16x2 is .rn")
		}
		d.o.d, d.o.a = d.dst(0, tB32), d.src(1, tB16)
		d.o.kind = kindAlu
		from := st.format()
		d.o.f32 = each(func(a, _, _ uint32) uint32 {
			one := func(u uint32) uint32 {
				x := float64(from.decode(u & 0xff))
				if relu {
					x = max(x, 0)
				}
				return formatF16.encode(x, nearestEven, false)
			}
			return one(a) | one(a>>8)<<16
		})
	case fp8(dt) && st == tF16x2:
		if mode != "rn" || !sat {
			d.fail("f16x2 to fp8 is .rn.satfinite")
		}
		d.o.d, d.o.a = d.dst(0, tB16), d.src(1, tB32)
		d.o.kind = kindAlu
		to := dt.format()
		d.o.f32 = each(func(a, _, _ uint32) uint32 {
			return to.encode(float64(half16[a&0xffff]), nearestEven, true) | to.encode(float64(half16[a>>16]), nearestEven, true)<<8
		})
	default:
		d.fail("conversion .%s.%s", dt, st)
	}
}

// packer makes a function that puts the first source in the upper half of the result.
func packer(dt typ, r rounding, relu, sat bool) func(d, a, b, c *row) {
	if dt == tBF16x2 && r == nearestEven && !relu && !sat {
		return func(d, a, b, _ *row) {
			for i := range d {
				d[i] = bf16(a[i])<<16 | bf16(b[i])
			}
		}
	}
	to, width := dt.format(), 8*dt.size()/2
	one := func(u uint32) uint32 {
		x := float64(f32(u))
		if relu && x == x {
			x = max(x, 0)
		}
		return to.encode(x, r, sat)
	}
	return each(func(a, b, _ uint32) uint32 { return one(a)<<width | one(b) })
}
