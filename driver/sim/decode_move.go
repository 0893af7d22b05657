package sim

import "strings"

var moveOpcodes = map[string]func(*decoder){
	"mov": decodeMov, "ld": decodeLoadStore, "st": decodeLoadStore, "cvt": decodeCvt, "cvta": decodeCvta,
	"isspacep": decodeIsspacep, "prefetch": decodePrefetch, "prefetchu": decodePrefetch,
	"setp": decodeSetp, "set": decodeSet, "selp": decodeSelp,
	"atom": decodeAtomic, "red": decodeAtomic, "createpolicy": decodePolicy,
}

var movTypes = []typ{tPred, tB16, tU16, tS16, tB32, tU32, tS32, tF32, tB64, tU64, tS64, tF64}

func decodeMov(d *decoder) {
	t := d.typ(movTypes...)
	dst, src := d.arg(0), d.arg(1)
	switch {
	case t == tPred && src.kind == immediate:
		all := uint32(0)
		if d.number(1, -1, 1) != 0 { // LLVM writes true as -1
			all = allLanes
		}
		d.o.d = d.dst(0, tPred)
		d.o.run = func(_ *block, w *warp, o *op, m uint32) status {
			w.p[o.d] = w.p[o.d]&^m | all&m
			return next
		}
	case t == tPred && src.kind == special && src.name == "is_explicit_cluster":
		d.explicitCluster()
	case t == tPred:
		p, neg := d.predicate(1)
		if neg {
			d.fail("a negated operand")
		}
		d.o.d, d.o.a = d.dst(0, tPred), p
		d.o.run = func(_ *block, w *warp, o *op, m uint32) status {
			w.p[o.d] = w.p[o.d]&^m | w.p[o.a]&m
			return next
		}
	case src.kind == special:
		d.special(t, src.name)
	case src.kind == vector:
		d.pack(t, src)
	case dst.kind == vector:
		d.unpack(t, dst)
	case t.size() == 8:
		d.alu64(t, 1, move64)
	default:
		d.alu(t, 1, move32)
	}
}

// pack is mov.b64 %rd, {%r1, %r2} and the like, the lowest part first.
func (d *decoder) pack(t typ, src *operand) {
	n := len(src.sub)
	part := map[[2]int]typ{{8, 2}: tB32, {8, 4}: tB16, {4, 2}: tB16}[[2]int{t.size(), n}]
	if part == tNone {
		d.fail("%d parts of .%s", n, t)
	}
	d.o.d = d.dst(0, t)
	for i := range src.sub {
		d.o.v = append(d.o.v, d.srcOf(&src.sub[i], part))
	}
	if n == 2 && t.size() == 8 {
		d.o.kind, d.o.a, d.o.b = kindWiden, d.o.v[0], d.o.v[1]
		d.o.widen = pack64
		return
	}
	if n == 2 {
		d.o.kind, d.o.a, d.o.b = kindAlu, d.o.v[0], d.o.v[1]
		d.o.f32 = func(d, a, b, _ *row) {
			for i := range d {
				d[i] = a[i] | b[i]<<16
			}
		}
		return
	}
	d.o.run = lanes64(func(w *warp, o *op, i int) uint64 {
		var v uint64
		for j, s := range o.v {
			v |= uint64(w.r32[s][i]) << (16 * j)
		}
		return v
	})
}

func (d *decoder) unpack(t typ, dst *operand) {
	n := len(dst.sub)
	part := map[[2]int]typ{{8, 2}: tB32, {8, 4}: tB16, {4, 2}: tB16}[[2]int{t.size(), n}]
	if part == tNone {
		d.fail("%d parts of .%s", n, t)
	}
	d.o.a = d.src(1, t)
	for i := range dst.sub {
		d.o.v = append(d.o.v, d.dstOf(&dst.sub[i], part))
	}
	wide, width := t.size() == 8, 8*part.size()
	d.o.run = func(_ *block, w *warp, o *op, m uint32) status {
		var src row64
		for i := range src {
			if wide {
				src[i] = w.r64[o.a][i]
			} else {
				src[i] = uint64(w.r32[o.a][i])
			}
		}
		for j, s := range o.v {
			r := &w.r32[s]
			for mm := m; mm != 0; mm &= mm - 1 {
				i := firstLane(mm)
				r[i] = uint32(src[i]>>(j*width)) & lowMask(width/8)
			}
		}
		return next
	}
}

// specials are the special registers; a value may depend on the lane.
var specials = map[string]func(b *block, w *warp, lane int) uint32{
	"tid.x":    func(b *block, w *warp, i int) uint32 { return uint32(b.threadIndex(w.id*32 + i)[0]) },
	"tid.y":    func(b *block, w *warp, i int) uint32 { return uint32(b.threadIndex(w.id*32 + i)[1]) },
	"tid.z":    func(b *block, w *warp, i int) uint32 { return uint32(b.threadIndex(w.id*32 + i)[2]) },
	"ntid.x":   func(b *block, _ *warp, _ int) uint32 { return uint32(b.ntid[0]) },
	"ntid.y":   func(b *block, _ *warp, _ int) uint32 { return uint32(b.ntid[1]) },
	"ntid.z":   func(b *block, _ *warp, _ int) uint32 { return uint32(b.ntid[2]) },
	"ctaid.x":  func(b *block, _ *warp, _ int) uint32 { return uint32(b.ctaid[0]) },
	"ctaid.y":  func(b *block, _ *warp, _ int) uint32 { return uint32(b.ctaid[1]) },
	"ctaid.z":  func(b *block, _ *warp, _ int) uint32 { return uint32(b.ctaid[2]) },
	"nctaid.x": func(b *block, _ *warp, _ int) uint32 { return uint32(b.nctaid[0]) },
	"nctaid.y": func(b *block, _ *warp, _ int) uint32 { return uint32(b.nctaid[1]) },
	"nctaid.z": func(b *block, _ *warp, _ int) uint32 { return uint32(b.nctaid[2]) },
	"laneid":   func(_ *block, _ *warp, i int) uint32 { return uint32(i) },
	"warpid":   func(_ *block, w *warp, _ int) uint32 { return uint32(w.id) },
	"nwarpid":  func(b *block, _ *warp, _ int) uint32 { return uint32(len(b.warps)) },
	"smid":     func(*block, *warp, int) uint32 { return 0 },
	"nsmid":    func(*block, *warp, int) uint32 { return 1 },

	"lanemask_eq": func(_ *block, _ *warp, i int) uint32 { return 1 << i },
	"lanemask_lt": func(_ *block, _ *warp, i int) uint32 { return 1<<i - 1 },
	"lanemask_le": func(_ *block, _ *warp, i int) uint32 { return 2<<i - 1 },
	"lanemask_gt": func(_ *block, _ *warp, i int) uint32 { return ^uint32(2<<i - 1) },
	"lanemask_ge": func(_ *block, _ *warp, i int) uint32 { return ^uint32(1<<i - 1) },

	"dynamic_smem_size": func(b *block, _ *warp, _ int) uint32 { return uint32(len(b.smem) - b.k.static) },
	"total_smem_size":   func(b *block, _ *warp, _ int) uint32 { return uint32(len(b.smem) - sharedBase) },

	// Clocks count the block's instructions: they increase, and are the same in every run.
	"clock":    func(b *block, _ *warp, _ int) uint32 { return uint32(b.steps) },
	"clock_hi": func(b *block, _ *warp, _ int) uint32 { return uint32(b.steps >> 32) },
}

func (d *decoder) special(t typ, name string) {
	f := specials[name]
	if f == nil {
		switch name {
		case "clock64", "globaltimer":
			d.o.d = d.dst(0, t)
			d.o.run = func(b *block, w *warp, o *op, m uint32) status {
				for ; m != 0; m &= m - 1 {
					w.r64[o.d][firstLane(m)] = uint64(b.steps)
				}
				return next
			}
			if t.size() != 8 {
				d.fail("%%%s has 64 bits", name)
			}
			return
		}
		d.fail("special register %%%s", name)
	}
	if t.size() != 4 {
		d.fail("%%%s has 32 bits", name)
	}
	d.o.d = d.dst(0, t)
	d.o.run = func(b *block, w *warp, o *op, m uint32) status {
		for ; m != 0; m &= m - 1 {
			i := firstLane(m)
			w.r32[o.d][i] = f(b, w, i)
		}
		return next
	}
}

// accessTo decodes the address operand.
func (d *decoder) accessTo(o *operand, s space, a *access) {
	if o.kind != memory {
		d.fail("operand is not an address")
	}
	a.space, a.offset = s, o.offset
	base := &o.sub[0]
	switch base.kind {
	case regOperand:
		a.base, a.wide = int32(base.reg.slot), base.reg.typ.size() == 8
		if base.reg.typ.size() != 8 && (base.reg.typ.size() != 4 || s != spaceShared) {
			d.fail("register %s is not an address of .%s memory", base.name, s)
		}
	case symbol:
		addr := d.address(base)
		d.symbolSpace(base, s)
		a.base, a.wide = d.const64(addr), true
	case immediate:
		a.base, a.wide = d.const64(base.value), true
	default:
		d.fail("operand is not an address")
	}
}

// symbolSpace checks that a named variable is in the instruction's space.
func (d *decoder) symbolSpace(o *operand, s space) {
	if d.param(o.name) != nil {
		if s != spaceParam {
			d.fail("%s is a parameter", o.name)
		}
		return
	}
	if v := d.variable(o.name); s == spaceGeneric || v.space != s.String() {
		d.fail("%s is a .%s variable", o.name, v.space)
	}
}

var spaceNames = map[string]space{
	"": spaceGeneric, "global": spaceGlobal, "shared": spaceShared, "shared::cta": spaceShared,
	"shared::cluster": spaceShared,
	"const":           spaceConst, "param": spaceParam, "param::entry": spaceParam, "local": spaceLocal,
}

// cacheHints consumes modifiers that only affect caches: results do not depend on them.
func (d *decoder) cacheHints() (policy bool) {
	d.maybe("L1::evict_normal", "L1::evict_unchanged", "L1::evict_first", "L1::evict_last", "L1::no_allocate")
	policy = d.opt("L2::cache_hint")
	d.maybe("L2::64B", "L2::128B", "L2::256B")
	return policy
}

var memoryTypes = []typ{tB8, tU8, tS8, tB16, tU16, tS16, tB32, tU32, tS32, tF32, tB64, tU64, tS64, tF64}

func decodeLoadStore(d *decoder) {
	a := &access{store: d.base == "st", n: 1}
	order := d.maybe("weak", "volatile", "relaxed", "acquire", "release", "mmio")
	switch order {
	case "relaxed", "acquire", "release", "mmio":
		d.one("cta", "cluster", "gpu", "sys")
	}
	if order == "acquire" && a.store || order == "release" && !a.store {
		d.fail(".%s of %s", order, d.base)
	}
	a.sync = order != "" && order != "weak"
	in := d.maybe("global", "shared", "shared::cta", "shared::cluster", "const", "param", "param::entry", "local")
	s := spaceNames[in]
	a.cluster = in == "shared::cluster"
	d.maybe("ca", "cg", "cs", "lu", "cv", "wb", "wt")
	if !a.store && s == spaceGlobal {
		d.opt("nc")
	}
	policy := d.cacheHints()
	switch d.maybe("v2", "v4", "v8") {
	case "v2":
		a.n = 2
	case "v4":
		a.n = 4
	case "v8":
		a.n = 8
	}
	t := d.typ(memoryTypes...)
	a.size, a.signed = uint8(t.size()), t.signed() && !a.store
	if a.bytes() > 16 {
		d.fail("%d bytes at a time", a.bytes())
	}
	mem, val := 1, 0
	if a.store {
		mem, val = 0, 1
	}
	d.values(a, val, t)
	d.accessTo(d.arg(mem), s, a)
	if policy {
		d.src(2, tB64)
	}
	d.o.mem = a
	d.o.run = runAccess
	if a.space == spaceParam {
		d.checkParam(d.arg(1), a)
		if d.arg(1).sub[0].kind == symbol {
			a.offset += int64(d.address(&d.arg(1).sub[0]) & windowMask)
			d.o.run = runParam
		}
	}
}

// values decodes the registers of a load or store. A register may be wider than the type.
func (d *decoder) values(a *access, i int, t typ) {
	o := d.arg(i)
	subs := []operand{*o}
	if a.n > 1 {
		if o.kind != vector || len(o.sub) != int(a.n) {
			d.fail("a vector of %d is expected", a.n)
		}
		subs = o.sub
	}
	for j := range subs {
		r := &subs[j]
		switch {
		case r.kind == sink && !a.store:
			a.regs = append(a.regs, value{slot: d.sink(t), wide: t.size() == 8})
		case r.kind == regOperand && r.reg.typ != tPred && r.reg.typ.size() > t.size() && t.class() != floatClass:
			a.regs = append(a.regs, value{int32(r.reg.slot), r.reg.typ.size() == 8, r.reg.typ.size() == 2})
		case r.kind == regOperand && r.reg.typ != tPred && r.reg.typ.size() == t.size():
			a.regs = append(a.regs, value{d.reg(r, t), t.size() == 8, t.size() == 2})
		case a.store:
			a.regs = append(a.regs, value{slot: d.srcOf(r, t), wide: t.size() == 8})
		default:
			d.fail("register %s cannot take .%s", r.name, t)
		}
	}
}

// checkParam refuses accesses past a named parameter.
func (d *decoder) checkParam(o *operand, a *access) {
	if o.sub[0].kind != symbol {
		return
	}
	p := d.param(o.sub[0].name)
	if a.store || o.offset < 0 || int(o.offset)+a.bytes() > p.size {
		d.fail("bytes [%d..%d) of parameter %s, which has %d", o.offset, int(o.offset)+a.bytes(), p.name, p.size)
	}
}

// decodeCvta converts addresses between a space and the generic one. Only shared addresses
// change: the others already include their window.
func decodeCvta(d *decoder) {
	to := d.opt("to")
	s := d.one("global", "shared", "shared::cta", "shared::cluster", "local", "const", "param", "param::entry")
	d.typ(tU64)
	if !strings.HasPrefix(s, "shared") {
		d.alu64(tU64, 1, move64)
		return
	}
	if to {
		d.alu64(tU64, 1, each64(func(a, _, _ uint64) uint64 { return a & windowMask }))
		return
	}
	d.alu64(tU64, 1, each64(func(a, _, _ uint64) uint64 { return a | sharedWindow }))
}

func decodeIsspacep(d *decoder) {
	s := d.one("global", "shared", "shared::cta", "shared::cluster", "local", "const", "param")
	d.o.d, d.o.a = d.dst(0, tPred), d.src(1, tU64)
	d.o.b = d.o.a
	d.o.kind = kindCmp64
	d.o.cmp64 = func(a, _ *row64) (r uint32) {
		for i, v := range a {
			in := v>>windowShift <= firstWindow
			switch s {
			case "shared", "shared::cta": // another block's is in shared::cluster only
				in = v>>rankShift == sharedWindow>>rankShift
			case "shared::cluster":
				in = v>>windowShift == sharedWindow>>windowShift
			case "local":
				in = v>>windowShift == localWindow>>windowShift
			case "param":
				in = v>>windowShift == paramWindow>>windowShift
			}
			if in {
				r |= 1 << i
			}
		}
		return r
	}
}

func decodePrefetch(d *decoder) {
	if d.opt("tensormap") {
		d.accessTo(d.arg(0), spaceGeneric, &access{})
		d.o.kind = kindNop
		return
	}
	d.maybe("global", "local")
	d.one("L1", "L2", "L2::evict_last", "L2::evict_normal")
	d.accessTo(d.arg(0), spaceGeneric, &access{})
	d.o.kind = kindNop
}

// decodePolicy makes a cache policy, which the interpreter ignores.
func decodePolicy(d *decoder) {
	d.one("fractional")
	d.one("L2::evict_last", "L2::evict_normal", "L2::evict_first", "L2::evict_unchanged")
	d.maybe("L2::evict_first", "L2::evict_unchanged")
	d.typ(tB64)
	d.o.kind, d.o.d = kindAlu64, d.dst(0, tB64)
	d.o.f64 = each64(func(_, _, _ uint64) uint64 { return 0 })
	if d.argc() > 1 {
		d.src(1, tF32)
	}
}
