package sim

import (
	"math/bits"
	"slices"
)

// mbarriers: arrivals and bytes are counted to complete phases. Arrivals release, successful
// waits acquire. While checks are on, the first result of a wait is always "not yet", and
// copies complete only when some thread waits for them: a kernel that does not loop, or
// waits for the wrong phase, fails here every time.

var hopperOpcodes = map[string]func(*decoder){"mbarrier": decodeMbarrier, "wgmma": decodeWgmma}

type mbarrier struct {
	addr     int
	expected int // arrivals of a phase
	pending  int // arrivals still to come
	tx       int // bytes still to come
	phase    uint32
	clock    vclock // published by the arrivals of this phase
	passed   vclock // published by the arrivals of completed phases
	agent    int    // index of its copies in vector clocks
	owner    int    // thread that initialised it
	made     uint32 // and when
	fenced   bool   // and the initialisation is visible to TMA
	landing  []bulkCopy
	copies   []arrivingCopies
}

// arrivingCopies is cp.async.mbarrier.arrive: the arrival is counted when the copies have
// completed.
type arrivingCopies struct {
	w        *warp
	o        *op
	mask     uint32
	requests []copyRequest
}

func decodeMbarrier(d *decoder) {
	what := d.one("init", "inval", "arrive", "arrive_drop", "expect_tx", "complete_tx", "test_wait", "try_wait")
	expect, parity, relaxed := false, false, false
	switch what {
	case "arrive", "arrive_drop":
		expect = d.opt("expect_tx")
		if !expect {
			d.opt("noComplete")
		}
	case "test_wait", "try_wait":
		parity = d.opt("parity")
	}
	if what != "init" && what != "inval" {
		if order := d.maybe("release", "acquire", "relaxed"); order != "" {
			d.one("cta", "cluster")
			relaxed = order == "relaxed"
		}
	}
	remote := slices.Contains([]string{"arrive", "arrive_drop", "expect_tx", "complete_tx"}, what) && d.opt("shared::cluster")
	s := spaceShared
	if !remote {
		s = spaceNames[d.maybe("shared", "shared::cta")]
	}
	d.typ(tB64)
	d.k.narrowSync = true
	d.o.mem = &access{size: 8, n: 1, cluster: remote}
	switch what {
	case "init":
		d.accessTo(d.arg(0), s, d.o.mem)
		d.o.b = d.src(1, tU32)
		d.o.run = runMbarrierInit
	case "inval":
		d.accessTo(d.arg(0), s, d.o.mem)
		d.o.run = runMbarrierInval
	case "expect_tx", "complete_tx":
		d.accessTo(d.arg(0), s, d.o.mem)
		d.o.b = d.src(1, tU32)
		sign := 1
		if what == "complete_tx" {
			sign = -1
		}
		d.o.run = eachMbarrier(func(b *block, w *warp, o *op, q *mbarrier, i int) {
			q.tx += sign * int(int32(w.r32[o.b][i]))
			q.completePhase()
		})
	case "arrive", "arrive_drop":
		if remote && d.arg(0).kind != sink {
			d.fail("an arrival in another block returns no state: _ is expected")
		}
		d.o.d = d.dst(0, tB64)
		d.accessTo(d.arg(1), s, d.o.mem)
		d.o.b = d.const32(1)
		if d.argc() > 2 {
			d.o.b = d.src(2, tU32)
		} else if expect {
			d.fail("the byte count is missing")
		}
		d.o.run = arrival(expect, what == "arrive_drop", relaxed)
	default:
		d.o.d = d.dst(0, tPred)
		d.accessTo(d.arg(1), s, d.o.mem)
		if parity {
			d.o.b = d.src(2, tU32)
		} else {
			d.o.b = d.src(2, tB64)
		}
		if what == "try_wait" && d.argc() > 3 {
			d.src(3, tU32)
		}
		d.o.run = waitTest(parity)
	}
}

// mbarrierAt finds the initialised mbarrier at one lane's address.
func (b *block) mbarrierAt(w *warp, o *op, lane int, addr uint64) *mbarrier {
	at := b.sharedAddress(w, o, lane, addr&windowMask, 8)
	q := b.mbars[uint32(at)]
	if q == nil {
		b.fault(w, o, lane, BadMbarrier, "there is no initialised mbarrier at shared+%d", at-sharedBase)
	}
	return q
}

// mbarrierIn finds the mbarrier at one lane's address, in whose block it is.
func (b *block) mbarrierIn(w *warp, o *op, lane int, a *access, addr uint64) (*block, *mbarrier) {
	if !a.inClusterSpace() {
		return b, b.mbarrierAt(w, o, lane, addr)
	}
	t := b.peer(w, o, lane, addr&windowMask>>rankShift)
	return t, t.mbarrierAt(w, o, lane, addr&offsetMask)
}

func runMbarrierInit(b *block, w *warp, o *op, m uint32) status {
	w.addresses(o.mem)
	for ; m != 0; m &= m - 1 {
		i := firstLane(m)
		at := b.sharedAddress(w, o, i, w.addr[i]&windowMask, 8)
		n := int(w.r32[o.b][i])
		if n < 1 || n > 1<<20-1 {
			b.fault(w, o, i, BadMbarrier, "a count of %d", n)
		}
		if b.mbars[uint32(at)] != nil {
			b.fault(w, o, i, BadMbarrier, "shared+%d already holds an mbarrier", at-sharedBase)
		}
		if b.check {
			b.noteWrite(w, o, i, at, 8, false)
		}
		for j := range 8 {
			b.state[at+j] = asBarrier
		}
		if len(b.cluster.blocks) > 1 && b.agents >= 32*len(b.warps)+agentsOfBlock {
			b.fault(w, o, i, BadMbarrier, "more than the %d mbarriers that are followed in a block of a cluster", agentsOfBlock)
		}
		b.mbars[uint32(at)] = &mbarrier{addr: at, expected: n, pending: n, agent: b.agents, owner: w.id*32 + i, made: b.now}
		b.agents++
	}
	b.progress = true
	return next
}

// fenceMbarriers makes the mbarriers initialised by lanes m visible to TMA.
func (b *block) fenceMbarriers(w *warp, m uint32) {
	for _, q := range b.mbars {
		if q.owner/32 == w.id && m>>(q.owner%32)&1 != 0 {
			q.fenced = true
		}
	}
}

func runMbarrierInval(b *block, w *warp, o *op, m uint32) status {
	w.addresses(o.mem)
	for ; m != 0; m &= m - 1 {
		i := firstLane(m)
		q := b.mbarrierAt(w, o, i, w.addr[i])
		if len(q.landing) > 0 {
			b.fault(w, o, i, BadMbarrier, "copies that complete on it are in flight")
		}
		delete(b.mbars, uint32(q.addr))
		clear(b.state[q.addr : q.addr+8])
	}
	return next
}

// eachMbarrier runs f for each lane's barrier, which must be visible to the lane.
func eachMbarrier(f func(b *block, w *warp, o *op, q *mbarrier, lane int)) func(b *block, w *warp, o *op, m uint32) status {
	return func(b *block, w *warp, o *op, m uint32) status {
		w.addresses(o.mem)
		addr := w.addr
		for ; m != 0; m &= m - 1 {
			i := firstLane(m)
			t, q := b.mbarrierIn(w, o, i, o.mem, addr[i])
			t.visible(w, o, i, q)
			t.visit(w, o, i)
			f(b, w, o, q, i)
		}
		b.progress = true
		return next
	}
}

// visible faults if the barrier's initialisation is not ordered before the lane.
func (b *block) visible(w *warp, o *op, lane int, q *mbarrier) {
	s := &b.shadow[q.addr>>2]
	if w.home != b {
		if b.check && !w.knows(lane, b.first+q.owner, q.made) {
			b.fault(w, o, lane, Race, "the mbarrier at shared+%d of block %d of the cluster was initialised by %s of that block with nothing in between that orders them", q.addr-sharedBase, b.rank, b.agent(uint16(q.owner)))
		}
		return
	}
	if b.check && s.wStamp >= b.base && int(s.wTid) != w.id*32+lane && !b.writtenBefore(w, lane, s) {
		b.fault(w, o, lane, Race, "the mbarrier at shared+%d was initialised by %s with nothing in between that orders them", q.addr-sharedBase, b.agent(s.wTid))
	}
}

// arrival is an arrive; a relaxed one orders nothing.
func arrival(expect, drop, relaxed bool) func(b *block, w *warp, o *op, m uint32) status {
	return func(b *block, w *warp, o *op, m uint32) status {
		w.addresses(o.mem)
		addr := w.addr
		for left := m; left != 0; {
			// Lanes that arrive together at one barrier release together.
			first := firstLane(left)
			g := sameAddress(&addr, first, left)
			left &^= g
			t, q := b.mbarrierIn(w, o, first, o.mem, addr[first])
			for mm := g; mm != 0; mm &= mm - 1 {
				i := firstLane(mm)
				t.visible(w, o, i, q)
				t.visit(w, o, i)
			}
			if b.check && !relaxed {
				b.release(&q.clock, w, g)
			}
			for mm := g; mm != 0; mm &= mm - 1 {
				i := firstLane(mm)
				w.r64[o.d][i] = uint64(q.phase)
				n := 1
				if expect {
					q.tx += int(w.r32[o.b][i])
				} else {
					n = int(w.r32[o.b][i])
				}
				if n > q.pending {
					b.fault(w, o, i, BadMbarrier, "%d arrivals where only %d of %d are missing", n, q.pending, q.expected)
				}
				q.pending -= n
				if drop {
					q.expected -= n
				}
				q.completePhase()
			}
		}
		b.progress = true
		return next
	}
}

// completePhase ends the phase if all arrivals and bytes have come.
func (q *mbarrier) completePhase() {
	if q.pending == 0 && q.tx == 0 {
		q.phase++
		q.pending = q.expected
		q.passed.join(q.clock)
		q.clock = q.clock[:0]
	}
}

func waitTest(parity bool) func(b *block, w *warp, o *op, m uint32) status {
	return func(b *block, w *warp, o *op, m uint32) status {
		w.addresses(o.mem)
		addr := w.addr
		var done uint32
		for left := m; left != 0; {
			first := firstLane(left)
			g := sameAddress(&addr, first, left)
			left &^= g
			q := b.mbarrierAt(w, o, first, addr[first])
			over := b.phaseOver(w, o, q, g, parity)
			if over != 0 && b.check {
				b.acquire(q.passed, w, over)
			}
			done |= over
		}
		w.p[o.d] = w.p[o.d]&^m | done
		if done == m {
			b.progress = true
			return next
		}
		w.splitOff(o, m, polled)
		return yielded
	}
}

// sameAddress is those of the lanes m whose address equals the first lane's.
func sameAddress(addr *row64, first int, m uint32) (g uint32) {
	for ; m != 0; m &= m - 1 {
		if i := firstLane(m); addr[i] == addr[first] {
			g |= 1 << i
		}
	}
	return g
}

// phaseOver returns those of the lanes g for which the phases they wait for are complete.
func (b *block) phaseOver(w *warp, o *op, q *mbarrier, g uint32, parity bool) (over uint32) {
	for mm := g; mm != 0; mm &= mm - 1 {
		i := firstLane(mm)
		b.visible(w, o, i, q)
		if b.check && w.spurious>>i&1 == 0 {
			w.spurious |= 1 << i
			b.progress = true
			continue
		}
		b.landCopies(q)
		passed := false
		if !parity {
			passed = uint64(q.phase) != w.r64[o.b][i]
		} else if p := w.r32[o.b][i]; p <= 1 {
			passed = q.phase&1 != p
		} else {
			b.fault(w, o, i, BadMbarrier, "parity %d", p)
		}
		if passed {
			over |= 1 << i
			w.spurious &^= 1 << i
		}
	}
	return over
}

// landCopies completes the copies to q.
func (b *block) landCopies(q *mbarrier) {
	for i := range q.landing {
		b.landBulk(q, &q.landing[i])
	}
	q.landing = q.landing[:0]
	for _, c := range q.copies {
		b.land(c.w, c.o, c.requests, c.mask)
		if b.check {
			b.release(&q.clock, c.w, c.mask)
		}
		q.pending -= bits.OnesCount32(c.mask)
		b.progress = true
		q.completePhase()
	}
	q.copies = q.copies[:0]
}

// copyArrive is cp.async.mbarrier.arrive.
func (d *decoder) copyArrive() {
	d.one("arrive")
	noinc := d.opt("noinc")
	s := spaceNames[d.maybe("shared", "shared::cta")]
	d.typ(tB64)
	d.k.narrowSync = true
	d.o.mem = &access{size: 8, n: 1}
	d.accessTo(d.arg(0), s, d.o.mem)
	d.o.run = func(b *block, w *warp, o *op, m uint32) status {
		w.addresses(o.mem)
		addr := w.addr
		for mm := m; mm != 0; mm &= mm - 1 {
			i := firstLane(mm)
			q := b.mbarrierAt(w, o, i, addr[i])
			b.visible(w, o, i, q)
			c := arrivingCopies{w: w, o: o, mask: 1 << i, requests: w.takeCopies(i)}
			if !noinc { // it counts in addition to the phase's arrivals
				q.pending++
			}
			q.copies = append(q.copies, c)
		}
		b.progress = true
		return next
	}
}

// takeCopies removes all copies of a lane that have not completed, and returns them.
func (w *warp) takeCopies(lane int) (out []copyRequest) {
	rest := w.open[:0:0]
	for _, q := range w.open {
		if q.lane == lane {
			out = append(out, q)
		} else {
			rest = append(rest, q)
		}
	}
	w.open = rest
	for i := range w.copies {
		g := &w.copies[i]
		if g.mask>>lane&1 == 0 {
			continue
		}
		g.mask &^= 1 << lane
		for _, q := range g.requests {
			if q.lane == lane {
				out = append(out, q)
			}
		}
	}
	return out
}
