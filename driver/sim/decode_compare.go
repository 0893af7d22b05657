package sim

// setp, set and selp.

type ordered interface {
	~int32 | ~uint32 | ~int64 | ~uint64 | ~float32 | ~float64
}

// compareRows makes a comparison of two rows of 32 or 64 bits.
func compareRows[T ordered, W uint32 | uint64](name string, conv func(W) T) func(a, b *[32]W) uint32 {
	bit := func(f func(x, y T) bool) func(a, b *[32]W) uint32 {
		return func(a, b *[32]W) (r uint32) {
			for i := range a {
				if f(conv(a[i]), conv(b[i])) {
					r |= 1 << i
				}
			}
			return r
		}
	}
	nan := func(x, y T) bool { return x != x || y != y }
	switch name {
	case "eq":
		return bit(func(x, y T) bool { return x == y })
	case "ne":
		return bit(func(x, y T) bool { return x < y || x > y })
	case "lt", "lo":
		return bit(func(x, y T) bool { return x < y })
	case "le", "ls":
		return bit(func(x, y T) bool { return x <= y })
	case "gt", "hi":
		return bit(func(x, y T) bool { return x > y })
	case "ge", "hs":
		return bit(func(x, y T) bool { return x >= y })
	case "equ":
		return bit(func(x, y T) bool { return x == y || nan(x, y) })
	case "neu":
		return bit(func(x, y T) bool { return x != y })
	case "ltu":
		return bit(func(x, y T) bool { return x < y || nan(x, y) })
	case "leu":
		return bit(func(x, y T) bool { return x <= y || nan(x, y) })
	case "gtu":
		return bit(func(x, y T) bool { return x > y || nan(x, y) })
	case "geu":
		return bit(func(x, y T) bool { return x >= y || nan(x, y) })
	case "num":
		return bit(func(x, y T) bool { return !nan(x, y) })
	}
	return bit(nan)
}

// The comparisons that are most frequent in kernels, written out.
func cmpEq32(a, b *row) (r uint32) {
	for i := range a {
		var v uint32
		if a[i] == b[i] {
			v = 1
		}
		r |= v << i
	}
	return r
}

func cmpNe32(a, b *row) uint32 { return ^cmpEq32(a, b) }

func cmpLtS32(a, b *row) (r uint32) {
	for i := range a {
		var v uint32
		if int32(a[i]) < int32(b[i]) {
			v = 1
		}
		r |= v << i
	}
	return r
}

func cmpLtU32(a, b *row) (r uint32) {
	for i := range a {
		var v uint32
		if a[i] < b[i] {
			v = 1
		}
		r |= v << i
	}
	return r
}

func swapped(f func(a, b *row) uint32) func(a, b *row) uint32 {
	return func(a, b *row) uint32 { return f(b, a) }
}

func negated(f func(a, b *row) uint32) func(a, b *row) uint32 {
	return func(a, b *row) uint32 { return ^f(a, b) }
}

// compare32 is a comparison of registers of up to 32 bits.
func compare32(name string, t typ, ftz bool) func(a, b *row) uint32 {
	switch {
	case t == tF32 && ftz:
		return compareRows(name, func(u uint32) float32 { return f32(flush(u)) })
	case t == tF32:
		return compareRows(name, f32)
	case t == tF16 || t == tBF16:
		return compareRows(name, t.half().decode)
	case t == tS16:
		return compareRows(name, func(u uint32) int32 { return int32(int16(u)) })
	}
	lt := cmpLtU32
	if t.signed() {
		lt = cmpLtS32
	}
	switch name {
	case "eq":
		return cmpEq32
	case "ne":
		return cmpNe32
	case "lt", "lo":
		return lt
	case "gt", "hi":
		return swapped(lt)
	case "ge", "hs":
		return negated(lt)
	}
	return negated(swapped(lt))
}

func compare64(name string, t typ) func(a, b *row64) uint32 {
	switch {
	case t == tF64:
		return compareRows(name, f64)
	case t.signed():
		return compareRows(name, func(u uint64) int64 { return int64(u) })
	}
	return compareRows(name, func(u uint64) uint64 { return u })
}

var integerComparisons = map[string]bool{"eq": true, "ne": true, "lt": true, "le": true, "gt": true, "ge": true, "lo": true, "ls": true, "hi": true, "hs": true}

func (d *decoder) comparison() string {
	return d.one("eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan")
}

var comparedTypes = []typ{tB16, tB32, tB64, tU16, tU32, tU64, tS16, tS32, tS64, tF16, tBF16, tF32, tF64}

// checkComparison refuses comparisons that a type does not have.
func (d *decoder) checkComparison(name string, t typ) {
	float := t == tF16 || t == tBF16 || t.class() == floatClass
	switch {
	case !float && !integerComparisons[name]:
		d.fail(".%s of .%s", name, t)
	case !float && t.class() == bitsClass && name != "eq" && name != "ne":
		d.fail(".%s of .%s: bits have no order", name, t)
	}
}

func decodeSetp(d *decoder) {
	name := d.comparison()
	join := d.maybe("and", "or", "xor")
	ftz := d.opt("ftz")
	t := d.typ(comparedTypes...)
	d.checkComparison(name, t)
	dst := d.arg(0)
	second := int32(-1)
	first := dst
	if dst.kind == pair {
		first, second = &dst.sub[0], d.dstOf(&dst.sub[1], tPred)
	}
	d.o.d, d.o.a, d.o.b = d.dstOf(first, tPred), d.src(1, t), d.src(2, t)
	var c32 func(a, b *row) uint32
	var c64 func(a, b *row64) uint32
	if t.size() == 8 {
		c64 = compare64(name, t)
		d.o.kind, d.o.cmp64 = kindCmp64, c64
	} else {
		c32 = compare32(name, t, ftz)
		d.o.kind, d.o.cmp = kindCmp, c32
	}
	if join == "" && second < 0 {
		return
	}
	p, neg := int32(0), false
	if join != "" {
		p, neg = d.predicate(3)
	}
	d.o.kind = kindRun
	d.o.run = func(_ *block, w *warp, o *op, m uint32) status {
		var r uint32
		if c64 != nil {
			r = c64(&w.r64[o.a], &w.r64[o.b])
		} else {
			r = c32(&w.r32[o.a], &w.r32[o.b])
		}
		q := w.p[p]
		if neg {
			q = ^q
		}
		x, y := joined(join, r, q), joined(join, ^r, q)
		w.p[o.d] = w.p[o.d]&^m | x&m
		if second >= 0 {
			w.p[second] = w.p[second]&^m | y&m
		}
		return next
	}
}

func joined(how string, a, b uint32) uint32 {
	switch how {
	case "and":
		return a & b
	case "or":
		return a | b
	case "xor":
		return a ^ b
	}
	return a
}

// decodeSet is set: all ones or 1.0 where the comparison holds.
func decodeSet(d *decoder) {
	name := d.comparison()
	ftz := d.opt("ftz")
	dt := d.typ(tU32, tS32, tF32)
	t := d.typ(comparedTypes...)
	d.checkComparison(name, t)
	yes := uint32(allLanes)
	if dt == tF32 {
		yes = u32(1)
	}
	d.o.d, d.o.a, d.o.b = d.dst(0, dt), d.src(1, t), d.src(2, t)
	d.o.run = func(_ *block, w *warp, o *op, m uint32) status {
		var r uint32
		if t.size() == 8 {
			r = compare64(name, t)(&w.r64[o.a], &w.r64[o.b])
		} else {
			r = compare32(name, t, ftz)(&w.r32[o.a], &w.r32[o.b])
		}
		for ; m != 0; m &= m - 1 {
			i := firstLane(m)
			w.r32[o.d][i] = 0
			if r>>i&1 != 0 {
				w.r32[o.d][i] = yes
			}
		}
		return next
	}
}

func decodeSelp(d *decoder) {
	t := d.typ(tB16, tB32, tB64, tU16, tU32, tU64, tS16, tS32, tS64, tF32, tF64)
	d.operands(t, 2)
	p, neg := d.predicate(3)
	if neg {
		d.fail("a negated predicate")
	}
	wide := t.size() == 8
	d.o.c = p
	d.o.run = runSelp32
	if wide {
		d.o.run = runSelp64
	}
}

func runSelp32(_ *block, w *warp, o *op, m uint32) status {
	a, b, d, p := &w.r32[o.a], &w.r32[o.b], &w.r32[o.d], w.p[o.c]
	if m == allLanes {
		for i := range d {
			v := b[i]
			if p>>i&1 != 0 {
				v = a[i]
			}
			d[i] = v
		}
		return next
	}
	x := *a
	y := *b
	blend(d, &x, m&p)
	blend(d, &y, m&^p)
	return next
}

func runSelp64(_ *block, w *warp, o *op, m uint32) status {
	x, y, p := w.r64[o.a], w.r64[o.b], w.p[o.c]
	blend64(&w.r64[o.d], &x, m&p)
	blend64(&w.r64[o.d], &y, m&^p)
	return next
}
