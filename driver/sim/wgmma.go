package sim

import "strconv"

// wgmma: products of tiles in shared memory, by a group of four warps. Each warp computes
// its own 16 of the 64 rows, when the group is waited for.
//
// Layouts, by descriptor: K-major without swizzle and with 32, 64 and 128 bytes; for 16-bit
// types also MN-major with swizzle. They are those of the CUTLASS documentation of canonical
// layouts and agree with TMA's swizzle here; a GPU has not confirmed them.

type wgmmaInstr struct {
	n, k, per      int
	at, bt         typ
	decA, decB     func(u uint32) float32
	half           bool
	d              []int32
	aRegs          []int32
	negA, negB     bool
	transA, transB bool
	scale          int32 // predicate slot, or -1
	accumulate     bool  // if scale is a constant
}

// wgmmaOp is a wgmma that has been issued.
type wgmmaOp struct {
	o     *op
	da    uint64
	db    uint64
	a     [4]row // A from registers
	scale bool
	stamp uint32
}

func decodeWgmma(d *decoder) {
	switch d.one("fence", "commit_group", "wait_group", "mma_async") {
	case "fence":
		d.one("sync")
		d.one("aligned")
		d.wholeWarp(func(_ *block, w *warp, _ *op, _ uint32) status { w.wgFence = true; return next })
	case "commit_group":
		d.one("sync")
		d.one("aligned")
		d.wholeWarp(func(_ *block, w *warp, _ *op, _ uint32) status {
			w.wgGroups = append(w.wgGroups, w.wgOpen)
			w.wgOpen = nil
			return next
		})
	case "wait_group":
		d.one("sync")
		d.one("aligned")
		n := int(d.number(0, 0, 7))
		d.wholeWarp(func(b *block, w *warp, _ *op, _ uint32) status {
			for len(w.wgGroups) > n {
				for i := range w.wgGroups[0] {
					b.wgmma(w, &w.wgGroups[0][i])
				}
				w.wgGroups = w.wgGroups[1:]
			}
			b.progress = true
			return next
		})
	default:
		d.wgmmaAsync()
	}
}

func (d *decoder) wgmmaAsync() {
	d.one("sync")
	d.one("aligned")
	x := &wgmmaInstr{}
	shape := ""
	if len(d.mods) > 0 {
		shape, d.mods = d.mods[0], d.mods[1:]
	}
	x.n, x.k = wgmmaShape(shape)
	dt := d.typ(tF16, tF32)
	x.at = d.typ(tF16, tBF16, tTF32, tE4M3, tE5M2)
	x.bt = d.typ(tF16, tBF16, tTF32, tE4M3, tE5M2)
	x.per, x.half = elementsPerRegister[x.at], dt == tF16
	if x.k != 8*x.per || x.per != elementsPerRegister[x.bt] || x.per < 4 && x.at != x.bt || x.n%8 != 0 || x.n < 8 || x.n > 256 {
		d.fail("shape %s of .%s.%s.%s", shape, dt, x.at, x.bt)
	}
	x.decA, x.decB = elementDecoder(x.at), elementDecoder(x.bt)
	regs, acc := x.n/2, tF32
	if x.half {
		regs, acc = x.n/4, tB32
	}
	x.d = d.list(0, regs, acc)
	fromRegs := d.arg(1).kind == vector
	if fromRegs {
		x.aRegs = d.list(1, 4, tB32)
	} else {
		d.o.a = d.src(1, tB64)
	}
	d.o.b = d.src(2, tB64)
	x.scale = -1
	if d.arg(3).kind == immediate {
		x.accumulate = d.number(3, 0, 1) == 1
	} else {
		p, neg := d.predicate(3)
		if neg {
			d.fail("a negated scale")
		}
		x.scale = p
	}
	x.negA, x.negB = d.sign(4), d.sign(5)
	if x.per == 2 {
		i := 6
		if !fromRegs {
			x.transA = d.number(i, 0, 1) == 1
			i++
		}
		x.transB = d.number(i, 0, 1) == 1
	}
	d.o.ext, d.o.warpFlops, d.o.flops = x, true, int32(2*16*x.n*x.k)
	d.k.usesWgmma = true
	d.fullWarp(issueWgmma)
}

// sign decodes an operand that is 1 or -1.
func (d *decoder) sign(i int) bool {
	v := d.number(i, -1, 1)
	if v == 0 {
		d.fail("operand %d must be 1 or -1", i+1)
	}
	return v < 0
}

// wgmmaShape parses m64nNkK.
func wgmmaShape(s string) (n, k int) {
	if len(s) < 6 || s[:4] != "m64n" {
		return 0, 0
	}
	for i := 4; i < len(s); i++ {
		if s[i] == 'k' {
			n, _ = strconv.Atoi(s[4:i])
			k, _ = strconv.Atoi(s[i+1:])
		}
	}
	return n, k
}

func issueWgmma(b *block, w *warp, o *op, _ uint32) status {
	x := o.ext.(*wgmmaInstr)
	if !w.wgFence {
		b.fault(w, o, 0, BadWgmma, "no wgmma.fence before it")
	}
	if w.id/4*4+4 > len(b.warps) {
		b.fault(w, o, 0, BadWgmma, "warp %d is not in a full group of four warps", w.id)
	}
	g := wgmmaOp{o: o, db: w.r64[o.b][0], scale: x.accumulate, stamp: b.now}
	b.now++
	if x.aRegs == nil {
		g.da = w.r64[o.a][0]
	}
	for i, s := range x.aRegs {
		g.a[i] = w.r32[s]
	}
	if x.scale >= 0 {
		p := w.p[x.scale]
		if p != 0 && p != allLanes {
			b.fault(w, o, 0, BadWgmma, "the scale differs between lanes")
		}
		g.scale = p != 0
	}
	w.wgOpen = append(w.wgOpen, g)
	w.wgCount++
	return next
}

// descriptor is the layout of an operand in shared memory, in bytes.
type descriptor struct {
	start, lbo, sbo int
	width           int // of the swizzle in bytes; 0 for none
}

func (b *block) descriptor(w *warp, o *op, v uint64) descriptor {
	if v>>49&7 != 0 {
		b.fault(w, o, 0, BadWgmma, "a base offset of %d: tiles must be aligned to their swizzle", v>>49&7)
	}
	return descriptor{
		start: int(v&0x3fff) << 4, lbo: int(v>>16&0x3fff) << 4, sbo: int(v>>32&0x3fff) << 4,
		width: [4]int{0, 128, 64, 32}[v>>62],
	}
}

func (t descriptor) kMajor(r, chunk int) int {
	if t.width == 0 {
		return t.start + r%8*16 + r/8*t.sbo + chunk*t.lbo
	}
	return int(swizzle(uint32(t.start+r%8*t.width+r/8*t.sbo+chunk*16), uint32(t.width)))
}

// mnMajor is the offset of eight 16-bit elements at mn, a multiple of 8, of row k.
func (t descriptor) mnMajor(mn, k int) int {
	per := t.width / 2
	return int(swizzle(uint32(t.start+mn%per*2+mn/per*t.lbo+k%8*t.width+k/8*t.sbo), uint32(t.width)))
}

// load reads rows [row, row+len(out)) of an operand, 32 bytes of k each.
func (b *block) load(w *warp, g *wgmmaOp, v uint64, trans bool, row int, out [][32]float32, et typ, dec func(uint32) float32) {
	t, per := b.descriptor(w, g.o, v), elementsPerRegister[et]
	if trans {
		if t.width == 0 {
			b.fault(w, g.o, 0, BadWgmma, "an MN-major operand without swizzle is not supported")
		}
		for k := range 16 {
			for r := 0; r < len(out); r += 8 {
				p := b.chunkAt(w, g, t.mnMajor(row+r, k))
				for e := range 8 {
					out[r+e][k] = dec(uint32(le.Uint16(b.smem[p+2*e:])))
				}
			}
		}
		return
	}
	size := 4 / per
	for r := range out {
		for c := range 2 {
			p := b.chunkAt(w, g, t.kMajor(row+r, c))
			if et == tBF16 {
				d, s := (*[8]float32)(out[r][8*c:]), b.smem[p:p+16]
				lo, hi := le.Uint64(s), le.Uint64(s[8:])
				for e := range 4 {
					d[e], d[e+4] = f32(uint32(lo>>(16*e))<<16), f32(uint32(hi>>(16*e))<<16)
				}
				continue
			}
			for e := range 16 / size {
				out[r][c*16/size+e] = dec(uint32(loadBits(b.smem[p+e*size:], uint8(size), false)))
			}
		}
	}
}

// chunkAt checks 16 bytes that a wgmma reads.
func (b *block) chunkAt(w *warp, g *wgmmaOp, p int) int {
	if p < sharedBase || p+16 > len(b.smem) {
		b.fault(w, g.o, 0, OutOfBounds, "reads shared[%d..%d) of %d bytes", p-sharedBase, p-sharedBase+16, len(b.smem)-sharedBase)
	}
	if b.check {
		b.asyncRead(w, g.o, 0, p, 16, g.stamp)
	}
	return p
}

// wgmma computes the warp's 16 rows.
func (b *block) wgmma(w *warp, g *wgmmaOp) {
	x := g.o.ext.(*wgmmaInstr)
	at := &b.tileA
	if x.aRegs == nil {
		b.load(w, g, g.da, x.transA, w.id%4*16, at[:], x.at, x.decA)
	} else {
		for i, r := range x.aRegs {
			if b.check && w.r32[r] != g.a[i] {
				b.fault(w, g.o, 0, AsyncHazard, "register %d of A was overwritten before this, which reads it, was waited for", i)
			}
		}
		regs := warp{r32: g.a[:]}
		unpackTile(&regs, []int32{0, 1, 2, 3}, x.per, 2, at, x.at, x.decA)
	}
	bt := b.tileB[:x.n]
	b.load(w, g, g.db, x.transB, 0, bt, x.bt, x.decB)
	sign := float32(1)
	if x.negA != x.negB {
		sign = -1
	}
	s := &b.sums
	for j := range x.n / 8 {
		fast.mulTile(s, at, (*[8][32]float32)(bt[8*j:]), x.k)
		for lane := range 32 {
			r, c := lane>>2, lane&3*2
			for h := range 2 {
				v := (*[2]float32)(s[r+8*h][c:])
				if x.half {
					d := x.d[2*j+h]
					if !g.scale {
						w.r32[d][lane] = 0
					}
					w.addHalves(d, d, lane, sign*v[0], sign*v[1])
					continue
				}
				d0, d1 := &w.r32[x.d[4*j+2*h]][lane], &w.r32[x.d[4*j+2*h+1]][lane]
				p, q := sign*v[0], sign*v[1]
				if g.scale {
					p, q = p+f32(*d0), q+f32(*d1)
				}
				*d0, *d1 = number(p), number(q)
			}
		}
	}
}

// checkWarpgroups: the four warps of a group must have issued the same wgmmas, and waited
// for all of them.
func (b *block) checkWarpgroups() {
	if !b.k.usesWgmma {
		return
	}
	for i, w := range b.warps {
		lead := b.warps[i/4*4]
		if w.wgCount != lead.wgCount {
			pc := b.k.lastWgmma()
			b.fault(w, &b.k.code[pc], 0, BadWgmma, "warp %d issued %d wgmmas and warp %d of its group %d", i, w.wgCount, lead.id, lead.wgCount)
		}
		for _, g := range append(w.wgGroups, w.wgOpen) {
			if len(g) > 0 {
				b.fault(w, g[0].o, 0, BadWgmma, "the block ends before this was waited for")
			}
		}
	}
}

func (k *kernel) lastWgmma() int {
	for i := len(k.code) - 1; i > 0; i-- {
		if _, ok := k.code[i].ext.(*wgmmaInstr); ok {
			return i
		}
	}
	return 0
}
