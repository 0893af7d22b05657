package sim

import "math/bits"

// Accesses to the shared memory of another block of the cluster. An address of shared::cluster
// is an offset in a block's shared memory and, from bit rankShift up, 1 + the block's rank; 0
// is the block itself, so that addresses of shared::cta are valid, too.

const (
	rankShift  = 24
	offsetMask = 1<<rankShift - 1
)

// touch is what an access does to a word.
type touch uint8

const (
	touchRead touch = iota
	touchWrite
	touchAtomic
)

func (k touch) verb() string { return [...]string{"reads", "writes", "an atomic on"}[k] }

// foreignAccess is an access to a word of a block's shared memory by an agent of another
// block, or by a copy that another block waits for.
type foreignAccess struct {
	agent int // in vector clocks
	stamp uint32
	mask  uint8
	kind  touch
}

// visit is the last access of one thread to the shared memory of another block.
type visit struct {
	w     *warp
	o     *op
	lane  int
	stamp uint32
}

// inClusterSpace reports that an address operand may name another block's shared memory.
func (a *access) inClusterSpace() bool { return a.cluster || a.space == spaceGeneric }

// peer is the block of the cluster with that rank plus one in an address; 0 is b itself. It
// must be running, and lane of w must know that it is.
func (b *block) peer(w *warp, o *op, lane int, tag uint64) *block {
	if tag == 0 || int(tag) == b.rank+1 {
		return b
	}
	if int(tag) > len(b.cluster.blocks) {
		b.fault(w, o, lane, OutOfBounds, "an address in block %d of a cluster of %d", tag-1, len(b.cluster.blocks))
	}
	t := b.cluster.blocks[tag-1]
	if t.over {
		b.fault(w, o, lane, BadCluster, "block %d of the cluster has exited, and its shared memory with it", t.rank)
	}
	if b.check && !w.hasMet(lane, t) {
		b.fault(w, o, lane, BadCluster, "block %d of the cluster may not have begun: nothing like a barrier.cluster orders this after its start", t.rank)
	}
	return t
}

// hasMet reports that lane is ordered after the start of t.
func (w *warp) hasMet(lane int, t *block) bool {
	if w.met>>t.rank&1 != 0 {
		return true
	}
	for i := range t.threads {
		if w.knows(lane, t.first+i, t.began) {
			if t.first+i < len(w.clock) && w.clock[t.first+i] >= t.began {
				w.met |= 1 << t.rank // all lanes have
			}
			return true
		}
	}
	return false
}

// visit records that lane of w accesses b, which must not end before it has heard of that.
func (b *block) visit(w *warp, o *op, lane int) {
	if b == w.home || !b.check {
		return
	}
	if b.visits == nil {
		b.visits = map[int]visit{}
	}
	b.visits[w.agent(lane)] = visit{w, o, lane, w.home.now}
}

// checkVisits faults when the block ends and nothing orders another's access before that.
func (b *block) checkVisits() {
	for agent, v := range b.visits {
		heard := false
		for _, w := range b.warps {
			for lane := range 32 {
				heard = heard || w.knows(lane, agent, v.stamp)
			}
		}
		if !heard {
			b.fault(v.w, v.o, v.lane, BadCluster, "block %d of the cluster may exit before this access to its shared memory: nothing orders its end after it", b.rank)
		}
	}
}

// agent is a thread's index in vector clocks.
func (w *warp) agent(lane int) int { return w.home.first + w.id*32 + lane }

// follows is knows, and also what the barriers of w's own block have ordered.
func (w *warp) follows(lane, agent int, stamp uint32) bool {
	h := w.home
	return agent >= h.first && agent < h.first+h.agents && stamp < h.base || agent == w.agent(lane) || w.knows(lane, agent, stamp)
}

// clusterAccess executes a load or store of lanes m, whose shared::cluster addresses are in
// w.addr.
func (b *block) clusterAccess(w *warp, o *op, a *access, m uint32) {
	for m != 0 {
		tag := w.addr[firstLane(m)] >> rankShift
		var g uint32
		for mm := m; mm != 0; mm &= mm - 1 {
			if i := firstLane(mm); w.addr[i]>>rankShift == tag {
				g |= 1 << i
				w.addr[i] &= offsetMask
			}
		}
		m &^= g
		if t := b.peer(w, o, firstLane(g), tag); t != b {
			t.foreignAccess(w, o, a, g)
		} else {
			b.sharedAccess(w, o, a, g)
		}
	}
}

// foreignAccess is sharedAccess for lanes of another block.
func (b *block) foreignAccess(w *warp, o *op, a *access, m uint32) {
	n := a.bytes()
	var at [32]int
	for mm := m; mm != 0; mm &= mm - 1 {
		i := firstLane(mm)
		at[i] = b.sharedAddress(w, o, i, w.addr[i], n)
		if !b.check {
			continue
		}
		st, kind := b.state[at[i]:at[i]+n], touchRead
		switch {
		case a.store && !plainState(st), !a.store && !allWritten(st):
			b.badState(w, o, i, at[i], n)
		case a.store:
			kind = touchWrite
		}
		b.visit(w, o, i)
		if !a.sync {
			b.touched(w, o, i, at[i], n, kind, a.store && w.same(a, b.smem, at[i], i))
		}
	}
	if w.home.count {
		w.home.counts[o.index].requests++
	}
	if !a.store {
		w.get(a, b.smem, &at, m)
		return
	}
	w.put(a, b.smem, &at, m)
	for mm := m; mm != 0; mm &= mm - 1 {
		i := firstLane(mm)
		setWritten(b.state[at[i] : at[i]+n])
	}
	w.home.progress = true
}

// touched checks and records an access by lane of w, of another block. same reports that the
// bytes already have the value.
func (b *block) touched(w *warp, o *op, lane, at, n int, kind touch, same bool) {
	mask := byteMask(at, n)
	for q := at >> 2; q < (at+n+3)>>2; q++ {
		if !same {
			b.foreignConflict(w, o, lane, q, mask, kind)
		}
		b.noteForeign(q, foreignAccess{w.agent(lane), w.home.now, mask, kind})
	}
}

// noteForeign replaces the agent's earlier access of that kind.
func (b *block) noteForeign(q int, a foreignAccess) {
	if b.foreign == nil {
		b.foreign = map[int][]foreignAccess{}
	}
	b.shadow[q].foreign = true
	list := b.foreign[q]
	for i := range list {
		if list[i].agent == a.agent && list[i].kind == a.kind {
			a.mask |= list[i].mask
			list[i] = a
			return
		}
	}
	b.foreign[q] = append(list, a)
}

// foreignConflict faults if an access of another block's lane races with the block's own or
// with a third block's.
func (b *block) foreignConflict(w *warp, o *op, lane, q int, mask uint8, kind touch) {
	s := &b.shadow[q]
	if s.wStamp > b.began && s.wMask&mask != 0 && (kind != touchAtomic || !s.atomic) &&
		!b.beforeForeign(w, lane, s.wTid, s.wWarps, s.wStamp, s.wVec) {
		b.fault(w, o, lane, Race, "%s shared+%d of block %d of the cluster, written by %s of that block with nothing in between that orders them", kind.verb(), q*4-sharedBase, b.rank, b.agent(s.wTid))
	}
	if kind != touchRead && s.rStamp > b.began && s.rMask&mask != 0 && !b.beforeForeign(w, lane, s.rTid, s.rWarps, s.rStamp, s.rVec) {
		b.fault(w, o, lane, Race, "%s shared+%d of block %d of the cluster, read by %s of that block with nothing in between that orders them", kind.verb(), q*4-sharedBase, b.rank, b.agent(s.rTid))
	}
	if s.foreign {
		b.checkForeign(w, o, lane, q, mask, kind)
	}
}

// checkForeign faults if an access to a word of b, by any thread, races with those of other
// blocks. A write of the whole word that follows all of them replaces them.
func (b *block) checkForeign(w *warp, o *op, lane, q int, mask uint8, kind touch) {
	for _, e := range b.foreign[q] {
		if e.mask&mask == 0 || e.kind == touchRead && kind == touchRead || e.kind == touchAtomic && kind == touchAtomic || w.follows(lane, e.agent, e.stamp) {
			continue
		}
		did := "written"
		if e.kind == touchRead {
			did = "read"
		}
		b.fault(w, o, lane, Race, "%s shared+%d of block %d of the cluster, %s by %s with nothing in between that orders them", kind.verb(), q*4-sharedBase, b.rank, did, b.cluster.agent(e.agent))
	}
	if kind == touchWrite && mask == 0xf || len(b.foreign[q]) == 0 { // no list: the flag is of an earlier block
		delete(b.foreign, q)
		b.shadow[q].foreign = false
	}
}

// agent describes an index in vector clocks.
func (c *cluster) agent(i int) string {
	for _, b := range c.blocks {
		if local := i - b.first; local >= 0 && local < b.agents {
			return b.agent(uint16(local)) + b.inCluster()
		}
	}
	return "another block"
}

// beforeForeign is before for a lane of another block, for which barriers of b order nothing.
func (b *block) beforeForeign(w *warp, lane int, tid uint16, warps, stamp, vec uint32) bool {
	if !several(tid) {
		return w.knows(lane, b.first+int(tid), stamp)
	}
	for ; warps != 0; warps &= warps - 1 {
		v := b.warps[bits.TrailingZeros32(warps)]
		at := stamp
		if vec != 0 {
			at = b.lastTouch[vec-1][v.id]
		}
		for i := range min(32, b.threads-32*v.id) {
			if (tid == manyThreads || int(tid&31) == i) && !w.knows(lane, b.first+v.id*32+i, at) {
				return false
			}
		}
	}
	return true
}

// publishBase adds to v what the barriers of the whole block have ordered: for other blocks
// of the cluster that is not implied.
func (b *block) publishBase(v *vclock) {
	v.grow(b.first + b.agents)
	own := (*v)[b.first : b.first+b.agents]
	for i := range own {
		own[i] = max(own[i], b.base-1)
	}
}

// shareClocks is a barrier of the whole block in a cluster: each warp learns what the others
// know of other blocks.
func (b *block) shareClocks() {
	var known vclock
	for _, w := range b.warps {
		if w.done {
			continue
		}
		known.join(w.clock)
		for i := range w.partial {
			known.join(w.partial[i].clock)
		}
	}
	for _, w := range b.warps {
		w.clock, w.partial = append(w.clock[:0], known...), w.partial[:0]
	}
}
