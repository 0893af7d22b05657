package sim

import "math/bits"

// Atomics on global and shared memory.

type atomicOp struct {
	t     typ
	f     func(old, b, c uint64) uint64
	b, c  []int32 // operand slots, one per element
	noOld bool    // red: does not return the old value
	slots []int32
	isCas bool
}

func decodeAtomic(d *decoder) {
	a := &access{n: 1, atomic: true, store: true, sync: true}
	if d.maybe("relaxed", "acquire", "release", "acq_rel") != "" || len(d.mods) > 0 {
		d.maybe("cta", "cluster", "gpu", "sys")
	}
	in := d.maybe("global", "shared", "shared::cta", "shared::cluster")
	s := spaceNames[in]
	a.cluster = in == "shared::cluster"
	d.maybe("cta", "cluster", "gpu", "sys")
	how := d.one("add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec")
	noftz := d.opt("noftz")
	policy := d.opt("L2::cache_hint")
	switch d.maybe("v2", "v4", "v8") {
	case "v2":
		a.n = 2
	case "v4":
		a.n = 4
	case "v8":
		a.n = 8
	}
	t := d.typ(tB32, tU32, tS32, tF32, tB64, tU64, tS64, tF64, tF16, tF16x2, tBF16, tBF16x2)
	if half := t == tF16 || t == tF16x2 || t == tBF16 || t == tBF16x2; half != noftz {
		d.fail(".noftz belongs to 16-bit floats and only to them")
	}
	x := &atomicOp{t: t, f: d.atomicFunc(how, t), noOld: d.base == "red", isCas: how == "cas"}
	a.size = uint8(t.size())
	if a.bytes() > 16 || a.n > 1 && (s != spaceGlobal || t.class() == intClass) {
		d.fail("a vector of that form")
	}
	if d.base == "red" && (how == "exch" || how == "cas") {
		d.fail("red.%s", how)
	}
	i := 0
	if !x.noOld {
		x.slots = d.list(0, int(a.n), t)
		i = 1
	}
	d.accessTo(d.arg(i), s, a)
	x.b = d.list(i+1, int(a.n), t)
	if x.isCas {
		x.c = d.list(i+2, 1, t)
	}
	if policy {
		d.src(d.argc()-1, tB64)
	}
	d.o.mem, d.o.ext = a, x
	d.o.run = runAtomic
}

func (d *decoder) atomicFunc(how string, t typ) func(old, b, c uint64) uint64 {
	isHalf := t == tF16 || t == tF16x2 || t == tBF16 || t == tBF16x2
	switch {
	case t == tF32 || t == tF64 || isHalf:
		if how == "exch" || how == "cas" || !isHalf && how != "add" || isHalf && how != "add" && how != "min" && how != "max" {
			d.fail("%s of .%s", how, t)
		}
		d.k.floatAtomic = d.k.floatAtomic || how == "add"
		d.o.flops = 1
	case how == "cas" || how == "exch" || how == "and" || how == "or" || how == "xor":
		if t.class() == floatClass {
			d.fail("%s of .%s", how, t)
		}
	case t.class() == bitsClass:
		d.fail("%s of .%s", how, t)
	}
	switch {
	case t == tF32: // as the hardware does: subnormals are kept in global memory
		return func(a, b, _ uint64) uint64 { return uint64(u32(f32(uint32(a)) + f32(uint32(b)))) }
	case t == tF64:
		return func(a, b, _ uint64) uint64 { return u64(f64(a) + f64(b)) }
	case isHalf:
		f := halfOp(t, halfOps[how])
		return func(a, b, _ uint64) uint64 {
			var r, x, y row
			x[0], y[0] = uint32(a), uint32(b)
			f(&r, &x, &y, &row{})
			return uint64(r[0])
		}
	}
	return integerAtomic(how, t)
}

// runAtomic executes the lanes in order. Blocks on other workers are locked out.
func runAtomic(b *block, w *warp, o *op, m uint32) status {
	a, x := o.mem, o.ext.(*atomicOp)
	w.addresses(a)
	b.dev.atomics.Lock()
	defer b.dev.atomics.Unlock()
	n := a.bytes()
	var global uint32
	for mm := m; mm != 0; mm &= mm - 1 {
		i := bits.TrailingZeros32(mm) & 31
		mem, state, at := b.resolve(w, o, a, i, n)
		if a.space != spaceShared && w.addr[i]>>windowShift <= firstWindow {
			global |= 1 << i
		}
		if b.check && !allWritten(state[at:at+n]) {
			b.fault(w, o, i, Uninitialised, "%#x, which nobody has written", w.addr[i])
		}
		for j := range int(a.n) {
			p := mem[at+j*int(a.size):]
			old := loadBits(p, a.size, false)
			var cv uint64
			if x.isCas {
				cv = w.wide(x.t, x.c[0], i)
			}
			storeBits(p, a.size, x.f(old, w.wide(x.t, x.b[j], i), cv))
			if !x.noOld {
				w.setWide(x.t, x.slots[j], i, old)
			}
		}
	}
	b.progress = true
	if b.count && global != 0 {
		b.counts[o.index].addSectors(&w.addr, global, n)
	}
	return next
}

// resolve finds the memory of one lane's access, in any writable space.
func (b *block) resolve(w *warp, o *op, a *access, lane, n int) (mem, state []byte, at int) {
	addr := w.addr[lane]
	if a.space == spaceShared || a.space == spaceGeneric && addr>>windowShift == sharedWindow>>windowShift {
		t := b
		if a.inClusterSpace() {
			t, addr = b.peer(w, o, lane, addr&windowMask>>rankShift), addr&offsetMask
		}
		at = t.sharedAddress(w, o, lane, addr&windowMask, n)
		if b.check && !plainState(t.state[at:at+n]) {
			t.badState(w, o, lane, at, n)
		}
		if b.check && t != b {
			t.visit(w, o, lane)
			t.touched(w, o, lane, at, n, touchAtomic, false)
			return t.smem, t.state, at
		}
		if b.check {
			b.noteAtomic(w, o, lane, at, n)
		}
		return t.smem, t.state, at
	}
	buf := b.buffer(w, o, lane, addr)
	return buf.data, buf.set, b.place(w, o, lane, buf, addr, n)
}

// wide reads a register of either file.
func (w *warp) wide(t typ, slot int32, lane int) uint64 {
	if t.size() == 8 {
		return w.r64[slot][lane]
	}
	return uint64(w.r32[slot][lane])
}

func (w *warp) setWide(t typ, slot int32, lane int, v uint64) {
	if t.size() == 8 {
		w.r64[slot][lane] = v
	} else {
		w.r32[slot][lane] = uint32(v)
	}
}
