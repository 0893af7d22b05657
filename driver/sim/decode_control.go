package sim

import "math/bits"

var controlOpcodes = map[string]func(*decoder){
	"bra": decodeBra, "brx": decodeBrx, "ret": decodeExit, "exit": decodeExit, "trap": decodeTrap, "brkpt": decodeTrap,
	"bar": decodeBar, "barrier": decodeBar, "membar": decodeFence, "fence": decodeFence,
	"nanosleep": decodeNanosleep, "griddepcontrol": decodeGridDependency, "setmaxnreg": decodeSetmaxnreg,
}

func decodeBra(d *decoder) {
	d.opt("uni")
	d.o.kind, d.o.target = kindBranch, int32(d.s.labels[0])
}

// decodeBrx decodes a jump through a table.
func decodeBrx(d *decoder) {
	d.one("idx")
	d.opt("uni")
	d.o.a = d.src(0, tU32)
	labels := d.s.labels
	d.o.run = func(b *block, w *warp, o *op, m uint32) status {
		mask := w.frags[0].mask
		w.frags = w.frags[1:]
		if mask != m {
			w.frags = append(w.frags, fragment{pc: o.index + 1, mask: mask &^ m})
		}
		for k, to := range labels {
			var g uint32
			for mm := m; mm != 0; mm &= mm - 1 {
				if i := firstLane(mm); w.r32[o.a][i] == uint32(k) {
					g |= 1 << i
				}
			}
			if g != 0 {
				w.frags = append(w.frags, fragment{pc: int32(to), mask: g})
				m &^= g
			}
		}
		if m != 0 {
			b.fault(w, o, firstLane(m), Trap, "index %d of a table of %d", w.r32[o.a][firstLane(m)], len(labels))
		}
		return waiting
	}
}

func decodeExit(d *decoder) {
	if d.base == "ret" {
		d.opt("uni")
	}
	d.o.kind = kindExit
}

func decodeTrap(d *decoder) {
	d.o.run = func(b *block, w *warp, o *op, m uint32) status {
		b.fault(w, o, firstLane(m), Trap, "the kernel gave up")
		return next
	}
}

// decodeFence: memory is sequentially consistent here, so a fence has no further effect;
// only fences towards the asynchronous proxy are recorded, because it is an error to omit
// them.
func decodeFence(d *decoder) {
	d.o.kind = kindNop
	if d.base == "membar" {
		d.one("cta", "gl", "sys")
		return
	}
	if d.opt("proxy") {
		if d.one("async", "alias") == "async" {
			d.maybe("global", "shared::cta", "shared::cluster")
			d.o.kind, d.o.run = kindRun, runProxyFence
		}
		return
	}
	if d.opt("mbarrier_init") {
		d.one("release")
		d.one("cluster")
		d.o.kind, d.o.run = kindRun, func(b *block, w *warp, _ *op, m uint32) status {
			b.fenceMbarriers(w, m)
			return next
		}
		return
	}
	d.maybe("sc", "acq_rel", "acquire", "release")
	d.one("cta", "cluster", "gpu", "sys")
}

func runProxyFence(b *block, w *warp, _ *op, m uint32) status {
	b.now++
	b.fenceMbarriers(w, m)
	for ; m != 0; m &= m - 1 {
		w.fenced[firstLane(m)] = b.now
	}
	return next
}

func decodeNanosleep(d *decoder) {
	d.typ(tU32)
	d.src(0, tU32)
	d.o.run = func(_ *block, w *warp, o *op, m uint32) status {
		w.splitOff(o, m, polled)
		return yielded
	}
}

func decodeGridDependency(d *decoder) {
	d.one("launch_dependents", "wait")
	d.o.kind = kindNop
}

// decodeSetmaxnreg records what each warp requests: see checkRegisters.
func decodeSetmaxnreg(d *decoder) {
	d.one("inc", "dec")
	d.one("sync")
	d.one("aligned")
	d.typ(tU32)
	n := d.number(0, 24, 256)
	if n%8 != 0 {
		d.fail("%d registers: not a multiple of 8", n)
	}
	d.wholeWarp(func(_ *block, w *warp, o *op, _ uint32) status {
		w.registers, w.registersOp = int(n), o
		return next
	})
}

// checkRegisters: the warps of a warpgroup must request the same number of registers, and
// all groups together no more than there are; otherwise a GPU waits for ever.
func (b *block) checkRegisters() {
	sum, most := 0, 0
	for i := 0; i < len(b.warps); i += 4 {
		for _, w := range b.warps[i:min(i+4, len(b.warps))] {
			most = max(most, w.registers)
			if w.registers != 0 && (i+4 > len(b.warps) || w.registers != b.warps[i].registers || w.registers != b.warps[i+3].registers) {
				b.fault(w, w.registersOp, 0, BadRegisters, "not all four warps of the group set %d registers", w.registers)
			}
		}
	}
	if most == 0 {
		return
	}
	launched := min(most, registerFile/b.threads/8*8) // the registers that ptxas gives a thread at the start
	for i := 0; i < len(b.warps); i += 4 {
		if w := b.warps[i]; w.registers != 0 {
			sum += 128 * w.registers
		} else {
			sum += 32 * min(4, len(b.warps)-i) * launched
		}
	}
	if sum > registerFile {
		w := b.warps[0]
		for _, v := range b.warps {
			if v.registers == most {
				w = v
			}
		}
		b.fault(w, w.registersOp, 0, BadRegisters, "the warpgroups set %d registers in all, there are %d", sum, registerFile)
	}
}

// registerFile is the number of registers of a multiprocessor.
const registerFile = 1 << 16

// wholeWarp makes an .aligned op: all live lanes must execute it together.
func (d *decoder) wholeWarp(f func(b *block, w *warp, o *op, m uint32) status) {
	d.o.run = func(b *block, w *warp, o *op, m uint32) status {
		if m != w.live {
			b.skipped(w, o, m)
			return stalled
		}
		return f(b, w, o, m)
	}
}

// skipped faults if the op's own predicate excludes lanes that must execute it.
func (b *block) skipped(w *warp, o *op, m uint32) {
	if away := w.frags[0].mask &^ m; away != 0 {
		b.fault(w, o, firstLane(away), Divergence, "lanes %08x skip an instruction that the whole warp must execute together", away)
	}
}

// fullWarp is wholeWarp for ops that need all 32 lanes.
func (d *decoder) fullWarp(f func(b *block, w *warp, o *op, m uint32) status) {
	d.o.run = func(b *block, w *warp, o *op, m uint32) status {
		if m != allLanes {
			if w.live == allLanes {
				b.skipped(w, o, m)
				return stalled
			}
			b.fault(w, o, firstLane(m), Divergence, "needs all 32 lanes; %08x are here, %08x have not exited", m, w.live)
		}
		return f(b, w, o, m)
	}
}

func decodeBar(d *decoder) {
	if d.opt("warp") {
		d.one("sync")
		d.syncLanes()
		return
	}
	if d.opt("cluster") {
		d.clusterBarrier()
		return
	}
	d.opt("cta")
	what := d.one("sync", "arrive", "red")
	aligned := d.opt("aligned") || d.base == "bar"
	if what == "red" {
		d.barrierReduction(aligned)
		return
	}
	d.barrierOperands(0)
	stay := what == "sync"
	if !stay && d.argc() < 2 {
		d.fail("arrive needs a thread count")
	}
	run := func(b *block, w *warp, o *op, m uint32) status {
		b.arriveAt(w, o, m, stay)
		if stay {
			return waiting
		}
		return next
	}
	if aligned {
		d.wholeWarp(run)
	} else {
		d.o.run = run
	}
}

// barrierOperands reads the barrier's number and the number of threads, -1 for all.
func (d *decoder) barrierOperands(i int) {
	d.o.a, d.o.b = d.src(i, tU32), -1
	if d.argc() > i+1 && d.s.args[i+1].kind != regOperand || d.argc() > i+1 && d.s.args[i+1].reg.typ != tPred {
		d.o.b = d.src(i+1, tU32)
		d.k.narrowSync = true
	}
}

func (b *block) arriveAt(w *warp, o *op, m uint32, stay bool) *barrier {
	lane := firstLane(m)
	id, n := w.r32[o.a][lane], 0
	if o.b >= 0 {
		n = int(w.r32[o.b][lane])
		if n%32 != 0 || n == 0 || n > 32*len(b.warps) {
			b.fault(w, o, lane, BadBarrier, "%d threads: not a multiple of 32 within the block", n)
		}
		if n == 32*len(b.warps) {
			n = 0
		}
	}
	if id > 15 {
		b.fault(w, o, lane, BadBarrier, "barrier %d of 16", id)
	}
	b.arrive(w, o, int(id), m, n, stay)
	return &b.barriers[id]
}

// barrierReduction is bar.red: popc, and, or of a predicate over the block.
func (d *decoder) barrierReduction(aligned bool) {
	how := d.one("popc", "and", "or")
	t := tPred
	if how == "popc" {
		t = tU32
	}
	d.typ(t)
	d.o.d = d.dst(0, t)
	d.barrierOperands(1)
	p, neg := d.predicate(d.argc() - 1)
	d.o.ext = &reduction{how, p}
	run := func(b *block, w *warp, o *op, m uint32) status {
		v := w.p[p]
		if neg {
			v = ^v
		}
		q := &b.barriers[w.r32[o.a][firstLane(m)]&15]
		q.count += bits.OnesCount32(v & m)
		q.all += bits.OnesCount32(m)
		b.arriveAt(w, o, m, true)
		return waiting
	}
	if aligned {
		d.wholeWarp(run)
	} else {
		d.o.run = run
	}
}

type reduction struct {
	how  string
	pred int32
}

// reduced gives the result of a bar.red to a fragment that leaves it.
func (b *block) reduced(w *warp, f *fragment, q *barrier) {
	o := &b.k.code[f.pc-1]
	r, ok := o.ext.(*reduction)
	if !ok {
		return
	}
	yes := q.count > 0
	switch r.how {
	case "popc":
		for m := f.mask; m != 0; m &= m - 1 {
			w.r32[o.d][firstLane(m)] = uint32(q.count)
		}
		return
	case "and":
		yes = q.count == q.all
	}
	if yes {
		w.p[o.d] |= f.mask
	} else {
		w.p[o.d] &^= f.mask
	}
}

// poll leaves lanes m before the op, to try again when others have run.
func (b *block) poll(w *warp, o *op, m uint32) status {
	w.splitOff(o, m, polled).pc = o.index
	return yielded
}

// syncLanes is bar.warp.sync.
func (d *decoder) syncLanes() {
	d.o.a = d.src(0, tB32)
	d.k.narrowSync = true
	d.o.run = func(b *block, w *warp, o *op, m uint32) status {
		return b.groups(w, o, &w.r32[o.a], m, func(g uint32) {
			if b.check {
				b.syncWarp(w, g)
			}
		})
	}
}

// groups calls f for each set of lanes that name one another in their member masks. A lane
// must be in its own mask, and all live lanes of a mask must be here; until they are, the op
// is stalled.
func (b *block) groups(w *warp, o *op, masks *row, m uint32, f func(g uint32)) status {
	first := masks[firstLane(m)]
	if first&w.live == m { // all live lanes, which have one mask unless some lane's differs
		uniform := true
		for mm := m; mm != 0; mm &= mm - 1 {
			uniform = uniform && masks[firstLane(mm)] == first
		}
		if uniform {
			f(m)
			return next
		}
	}
	for left := m; left != 0; {
		g := sameMask(masks, left)
		need := masks[firstLane(left)]
		if g&^need != 0 {
			lane := firstLane(g &^ need)
			b.fault(w, o, lane, Divergence, "lane %d runs this with member mask %08x, which does not name it", lane, need)
		}
		if need&w.live&^g != 0 {
			if need&m&^g != 0 {
				lane := firstLane(need & m &^ g)
				b.fault(w, o, lane, Divergence, "lane %d has member mask %08x where lane %d has %08x", lane, masks[lane], firstLane(g), need)
			}
			return stalled
		}
		left &^= g
	}
	for left := m; left != 0; {
		g := sameMask(masks, left)
		f(g)
		left &^= g
	}
	return next
}

// sameMask is the lanes whose mask equals that of the first lane.
func sameMask(masks *row, m uint32) (g uint32) {
	want := masks[firstLane(m)]
	for ; m != 0; m &= m - 1 {
		if i := firstLane(m); masks[i] == want {
			g |= 1 << i
		}
	}
	return g
}
