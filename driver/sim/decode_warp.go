package sim

// Instructions that exchange values between the lanes of a warp.

var warpOpcodes = map[string]func(*decoder){
	"shfl": decodeShfl, "vote": decodeVote, "match": decodeMatch, "redux": decodeRedux,
	"activemask": decodeActivemask, "elect": decodeElect,
}

func decodeShfl(d *decoder) {
	d.one("sync")
	mode := d.one("up", "down", "bfly", "idx")
	d.typ(tB32)
	dst := d.arg(0)
	ok := int32(-1)
	if dst.kind == pair {
		ok = d.dstOf(&dst.sub[1], tPred)
		dst = &dst.sub[0]
	}
	d.o.d, d.o.a, d.o.b, d.o.c = d.dstOf(dst, tB32), d.src(1, tB32), d.src(2, tB32), d.src(3, tB32)
	mask := d.src(4, tB32)
	d.o.run = func(b *block, w *warp, o *op, m uint32) status {
		return b.groups(w, o, &w.r32[mask], m, func(g uint32) { b.shuffle(w, o, mode, ok, g) })
	}
}

func (b *block) shuffle(w *warp, o *op, mode string, ok int32, g uint32) {
	src := w.r32[o.a]
	sel, ctl, d := &w.r32[o.b], &w.r32[o.c], &w.r32[o.d]
	for m := g; m != 0; m &= m - 1 {
		i := uint32(firstLane(m))
		j, valid := shuffleSource(mode, i, sel[i]&31, ctl[i])
		if !valid {
			j = i
		}
		if g>>(j&31)&1 == 0 {
			b.fault(w, o, int(i), BadShuffle, "reads lane %d, which does not take part", j)
		}
		d[i] = src[j&31]
		if ok >= 0 {
			w.p[ok] &^= 1 << i
			if valid {
				w.p[ok] |= 1 << i
			}
		}
	}
}

// shuffleSource is the lane that lane i reads: c has the clamp in its low five bits and the
// segment mask eight bits higher.
func shuffleSource(mode string, i, n, c uint32) (j uint32, valid bool) {
	clamp, seg := c&31, c>>8&31
	top := i&seg | clamp&^seg
	switch mode {
	case "up":
		j = i - n
		return j, int32(j) >= int32(top)
	case "down":
		j = i + n
	case "bfly":
		j = i ^ n
	default:
		j = i&seg | n&^seg
	}
	return j, j <= top
}

func decodeVote(d *decoder) {
	d.one("sync")
	how := d.one("all", "any", "uni", "ballot")
	if how == "ballot" {
		d.typ(tB32)
		d.o.d = d.dst(0, tB32)
	} else {
		d.typ(tPred)
		d.o.d = d.dst(0, tPred)
	}
	p, neg := d.predicate(1)
	mask := d.src(2, tB32)
	d.o.run = func(b *block, w *warp, o *op, m uint32) status {
		v := w.p[p]
		if neg {
			v = ^v
		}
		return b.groups(w, o, &w.r32[mask], m, func(g uint32) {
			yes := v & g
			if how == "ballot" {
				for m := g; m != 0; m &= m - 1 {
					w.r32[o.d][firstLane(m)] = yes
				}
				return
			}
			r := how == "all" && yes == g || how == "any" && yes != 0 || how == "uni" && (yes == 0 || yes == g)
			w.p[o.d] &^= g
			if r {
				w.p[o.d] |= g
			}
		})
	}
}

func decodeMatch(d *decoder) {
	how := d.one("any", "all")
	d.one("sync")
	t := d.typ(tB32, tB64)
	dst := d.arg(0)
	ok := int32(-1)
	if dst.kind == pair {
		if how == "any" {
			d.fail("match.any has no predicate")
		}
		ok = d.dstOf(&dst.sub[1], tPred)
		dst = &dst.sub[0]
	}
	d.o.d, d.o.a = d.dstOf(dst, tB32), d.src(1, t)
	mask := d.src(2, tB32)
	at := func(w *warp, o *op, i int) uint64 {
		if t == tB64 {
			return w.r64[o.a][i]
		}
		return uint64(w.r32[o.a][i])
	}
	d.o.run = func(b *block, w *warp, o *op, m uint32) status {
		return b.groups(w, o, &w.r32[mask], m, func(g uint32) {
			var out row
			for m := g; m != 0; m &= m - 1 {
				i := firstLane(m)
				for n := g; n != 0; n &= n - 1 {
					if j := firstLane(n); at(w, o, j) == at(w, o, i) {
						out[i] |= 1 << j
					}
				}
			}
			same := out[firstLane(g)] == g
			if how == "all" && !same {
				out = row{}
			}
			blend(&w.r32[o.d], &out, g)
			if ok >= 0 {
				w.p[ok] &^= g
				if same {
					w.p[ok] |= g
				}
			}
		})
	}
}

func decodeRedux(d *decoder) {
	d.one("sync")
	how := d.one("add", "min", "max", "and", "or", "xor")
	var t typ
	switch how {
	case "add", "min", "max":
		t = d.typ(tU32, tS32)
	default:
		t = d.typ(tB32)
	}
	d.o.d, d.o.a = d.dst(0, t), d.src(1, t)
	mask := d.src(2, tB32)
	f := integerAtomic(how, t)
	d.o.run = func(b *block, w *warp, o *op, m uint32) status {
		return b.groups(w, o, &w.r32[mask], m, func(g uint32) {
			i := firstLane(g)
			v := uint64(w.r32[o.a][i])
			for m := g &^ (1 << i); m != 0; m &= m - 1 {
				v = f(v, uint64(w.r32[o.a][firstLane(m)]), 0)
			}
			for m := g; m != 0; m &= m - 1 {
				w.r32[o.d][firstLane(m)] = uint32(v)
			}
		})
	}
}

func decodeActivemask(d *decoder) {
	d.typ(tB32)
	d.o.d = d.dst(0, tB32)
	d.o.run = func(_ *block, w *warp, o *op, m uint32) status {
		for mm := m; mm != 0; mm &= mm - 1 {
			w.r32[o.d][firstLane(mm)] = m
		}
		return next
	}
}

// decodeElect elects the lowest lane.
func decodeElect(d *decoder) {
	d.one("sync")
	dst := d.arg(0)
	if dst.kind != pair {
		d.fail("a register and a predicate are expected")
	}
	d.o.d = d.dstOf(&dst.sub[0], tB32)
	p := d.dstOf(&dst.sub[1], tPred)
	mask := d.src(1, tB32)
	d.o.run = func(b *block, w *warp, o *op, m uint32) status {
		return b.groups(w, o, &w.r32[mask], m, func(g uint32) {
			leader := firstLane(g)
			w.p[p] = w.p[p]&^g | 1<<leader
			for m := g; m != 0; m &= m - 1 {
				w.r32[o.d][firstLane(m)] = uint32(leader)
			}
		})
	}
}

// integerAtomic returns the functions shared by atomics and redux: of the old value, the
// operand and, for cas, the new value.
func integerAtomic(how string, t typ) func(old, b, c uint64) uint64 {
	cut := func(v uint64) uint64 { return extendU(v, t) }
	switch how {
	case "add":
		return func(a, b, _ uint64) uint64 { return cut(a + b) }
	case "and":
		return func(a, b, _ uint64) uint64 { return a & b }
	case "or":
		return func(a, b, _ uint64) uint64 { return a | b }
	case "xor":
		return func(a, b, _ uint64) uint64 { return a ^ b }
	case "exch":
		return func(_, b, _ uint64) uint64 { return b }
	case "cas":
		return func(a, b, c uint64) uint64 {
			if a == b {
				return c
			}
			return a
		}
	case "inc":
		return func(a, b, _ uint64) uint64 {
			if a >= b {
				return 0
			}
			return a + 1
		}
	case "dec":
		return func(a, b, _ uint64) uint64 {
			if a == 0 || a > b {
				return b
			}
			return a - 1
		}
	}
	less := how == "min"
	return func(a, b, _ uint64) uint64 {
		x, y := extend(a, t), extend(b, t)
		smaller := x < y
		if t.signed() {
			smaller = int64(x) < int64(y)
		}
		if smaller == less {
			return a
		}
		return b
	}
}

// extendU truncates v to the width of t.
func extendU(v uint64, t typ) uint64 {
	n := 64 - 8*t.size()
	return v << n >> n
}
