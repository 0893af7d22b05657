package sim

import "math/bits"

// Races in shared memory are found with vector clocks. Every access carries the block's
// stamp, a number that increases at each synchronisation. A barrier of the whole block
// orders everything before it at once: b.base increases. Narrower ones (named barriers,
// mbarriers, bar.warp.sync) publish, per thread, the stamp up to which its accesses are
// ordered before those of any thread that acquires. Lockstep orders nothing: lanes of one
// warp race unless there is a bar.warp.sync between their accesses.

// vclock has for each agent (a thread, or the asynchronous copies of one mbarrier) the last
// stamp that is known to be over.
type vclock []uint32

// partialClock is the knowledge of only some lanes of a warp.
type partialClock struct {
	mask  uint32
	clock vclock
}

// shadowWord describes the last accesses to four bytes of shared memory.
type shadowWord struct {
	wStamp, rStamp uint32
	wWarps, rWarps uint32
	wTid, rTid     uint16
	wMask, rMask   uint8 // bytes
	atomic         bool  // the last write was an atomic
	foreign        bool  // other blocks of the cluster have accessed it: see block.foreign
	// If several warps have read or written: 1 + index in block.lastTouch.
	rVec, wVec uint32
}

// lastTouch is the stamp of each warp's last access to a word. It is kept only if a narrower
// synchronisation than the block's barrier could order the warps individually.
type lastTouch [32]uint32

// manyThreads stands for the thread of a word that several have accessed; oneLane + l for
// the same lane l of several warps, which is how wgmma's reads are recorded.
const (
	manyThreads = 0xffff
	oneLane     = 0xff00
)

func several(tid uint16) bool { return tid >= oneLane }

// merge is the thread to record for a word that a has accessed before b.
func merge(a, b uint16) uint16 {
	switch {
	case a == b:
		return a
	case a == manyThreads || b == manyThreads || a&31 != b&31:
		return manyThreads
	}
	return oneLane + a&31
}

func (v *vclock) grow(n int) {
	for len(*v) < n {
		*v = append(*v, 0)
	}
}

func (v *vclock) join(o vclock) {
	v.grow(len(o))
	for i, s := range o {
		(*v)[i] = max((*v)[i], s)
	}
}

// release publishes into v what lanes m of w have done and know.
func (b *block) release(v *vclock, w *warp, m uint32) {
	v.grow(b.first + b.agents)
	v.join(w.clock)
	for i := range w.partial {
		if w.partial[i].mask&m != 0 {
			v.join(w.partial[i].clock)
		}
	}
	if len(b.cluster.blocks) > 1 {
		b.publishBase(v)
	}
	for ; m != 0; m &= m - 1 {
		(*v)[b.first+w.id*32+firstLane(m)] = b.now
	}
	b.now++
}

// acquire gives lanes m of w the knowledge published in v.
func (b *block) acquire(v vclock, w *warp, m uint32) {
	if m == w.live {
		w.clock.join(v)
		return
	}
	for i := range w.partial {
		if w.partial[i].mask == m {
			w.partial[i].clock.join(v)
			return
		}
	}
	c := vclock{}
	c.join(v)
	w.partial = append(w.partial, partialClock{m, c})
}

// syncWarp orders the accesses of lanes m with one another: bar.warp.sync.
func (b *block) syncWarp(w *warp, m uint32) {
	var v vclock
	b.release(&v, w, m)
	if m == w.live {
		w.partial = w.partial[:0]
	}
	b.acquire(v, w, m)
}

// knows reports whether lane of w is ordered after what tid did at stamp.
func (w *warp) knows(lane, tid int, stamp uint32) bool {
	if tid < len(w.clock) && w.clock[tid] >= stamp {
		return true
	}
	for i := range w.partial {
		p := &w.partial[i]
		if p.mask>>lane&1 != 0 && tid < len(p.clock) && p.clock[tid] >= stamp {
			return true
		}
	}
	return false
}

// before reports whether an access by tid, or by threads of those warps if manyThreads, at
// stamp or at the times of vec, is ordered before lane of w.
func (b *block) before(w *warp, lane int, tid uint16, warps, stamp, vec uint32) bool {
	if !several(tid) {
		return w.knows(lane, b.first+int(tid), stamp)
	}
	for ; warps != 0; warps &= warps - 1 {
		v := b.warps[bits.TrailingZeros32(warps)]
		at := stamp
		if vec != 0 {
			if at = b.lastTouch[vec-1][v.id]; at < b.base {
				continue
			}
		}
		for i := range min(32, b.threads-32*v.id) {
			if tid != manyThreads && int(tid&31) != i {
				continue
			}
			if (v != w || i != lane) && !w.knows(lane, b.first+v.id*32+i, at) {
				return false
			}
		}
	}
	return true
}

func (b *block) writtenBefore(w *warp, lane int, s *shadowWord) bool {
	return b.before(w, lane, s.wTid, s.wWarps, s.wStamp, s.wVec)
}

// joinTimes adds w, now, to the warps that have accessed a word since the last barrier.
func (b *block) joinTimes(w *warp, vec, warps *uint32, stamp uint32) {
	all := *warps | 1<<w.id
	if b.k.narrowSync && all&(all-1) != 0 {
		if *vec == 0 {
			if b.vectors == len(b.lastTouch) {
				b.lastTouch = append(b.lastTouch, lastTouch{})
			}
			t := &b.lastTouch[b.vectors]
			*t = lastTouch{}
			for m := *warps; m != 0; m &= m - 1 {
				t[bits.TrailingZeros32(m)] = stamp
			}
			b.vectors++
			*vec = uint32(b.vectors)
		}
		b.lastTouch[*vec-1][w.id] = b.now
	}
	*warps = all
}

// byteMask is the bytes of the word at addr&^3 that n bytes at addr cover.
func byteMask(addr, n int) uint8 {
	if n >= 4 {
		return 0xf
	}
	return (1<<n - 1) << (addr & 3)
}

// noteRead records a read of shared memory and faults if it races.
func (b *block) noteRead(w *warp, o *op, lane, addr, n int) {
	tid := uint16(w.id*32 + lane)
	mask := byteMask(addr, n)
	for q := addr >> 2; q < (addr+n+3)>>2; q++ {
		s := &b.shadow[q]
		if s.wStamp >= b.base && s.wTid != tid && s.wMask&mask != 0 && !b.writtenBefore(w, lane, s) {
			b.fault(w, o, lane, Race, "reads shared+%d, written by %s with nothing in between that orders them",
				q*4-sharedBase, b.agent(s.wTid))
		}
		if s.rStamp < b.base {
			s.rTid, s.rMask, s.rWarps, s.rVec = tid, mask, 1<<w.id, 0
		} else if s.rTid != tid || s.rMask != mask {
			b.joinReaders(w, s, tid, mask)
		}
		s.rStamp = b.now
		if s.foreign {
			b.checkForeign(w, o, lane, q, mask, touchRead)
		}
	}
}

// joinReaders adds a reader to a word that has been read since the last barrier.
func (b *block) joinReaders(w *warp, s *shadowWord, tid uint16, mask uint8) {
	s.rMask |= mask
	s.rTid = merge(s.rTid, tid)
	b.joinTimes(w, &s.rVec, &s.rWarps, s.rStamp)
}

// barrierOfAll orders everything before now.
func (b *block) barrierOfAll() {
	b.now++
	b.base = b.now
	if len(b.cluster.blocks) > 1 {
		b.shareClocks() // lastTouch is kept: other blocks still need it
		return
	}
	b.vectors = 0
	for _, w := range b.warps {
		w.clock, w.partial = w.clock[:0], w.partial[:0]
	}
}

// noteWrite records a write and faults if it races; same reports that the bytes already have
// the value, which is allowed between writers.
func (b *block) noteWrite(w *warp, o *op, lane, addr, n int, same bool) {
	tid := uint16(w.id*32 + lane)
	mask := byteMask(addr, n)
	for q := addr >> 2; q < (addr+n+3)>>2; q++ {
		s := &b.shadow[q]
		if s.foreign && !same {
			b.checkForeign(w, o, lane, q, mask, touchWrite)
		}
		if s.wStamp >= b.base && s.wTid != tid {
			overlap := s.wMask&mask != 0
			known := b.writtenBefore(w, lane, s)
			if overlap && !known && !same {
				b.fault(w, o, lane, Race, "writes shared+%d, written by %s with nothing in between that orders them",
					q*4-sharedBase, b.agent(s.wTid))
			}
			if !known {
				b.checkReaders(w, o, lane, q, s, mask)
				b.joinTimes(w, &s.wVec, &s.wWarps, s.wStamp)
				s.wTid, s.wStamp, s.atomic = merge(s.wTid, tid), b.now, false
				s.wMask |= mask
				continue
			}
			s.wMask = 0
		}
		b.checkReaders(w, o, lane, q, s, mask)
		if s.wStamp < b.base || s.wTid != tid {
			s.wMask = 0
		}
		s.wTid, s.wStamp, s.wWarps, s.wVec, s.atomic = tid, b.now, 1<<w.id, 0, false
		s.wMask |= mask
	}
}

// noteAtomic records an atomic, which races with plain accesses but not with other atomics.
func (b *block) noteAtomic(w *warp, o *op, lane, addr, n int) {
	tid := uint16(w.id*32 + lane)
	for q := addr >> 2; q < (addr+n+3)>>2; q++ {
		s := &b.shadow[q]
		if s.foreign {
			b.checkForeign(w, o, lane, q, byteMask(addr, n), touchAtomic)
		}
		recent := s.wStamp >= b.base
		if recent && !s.atomic && s.wTid != tid && !b.writtenBefore(w, lane, s) {
			b.fault(w, o, lane, Race, "an atomic on shared+%d, written by %s with nothing in between that orders them",
				q*4-sharedBase, b.agent(s.wTid))
		}
		b.checkReaders(w, o, lane, q, s, byteMask(addr, n))
		if recent && s.wTid != tid {
			b.joinTimes(w, &s.wVec, &s.wWarps, s.wStamp)
			s.wTid = merge(s.wTid, tid)
		} else {
			s.wTid, s.wWarps, s.wVec = tid, 1<<w.id, 0
		}
		s.wStamp, s.wMask, s.atomic = b.now, 0xf, true
	}
}

func (b *block) checkReaders(w *warp, o *op, lane, q int, s *shadowWord, mask uint8) {
	if s.rStamp < b.base || s.rMask&mask == 0 {
		return
	}
	tid := uint16(w.id*32 + lane)
	if s.rTid != tid && !b.before(w, lane, s.rTid, s.rWarps, s.rStamp, s.rVec) {
		b.fault(w, o, lane, Race, "writes shared+%d, read by %s with nothing in between that orders them",
			q*4-sharedBase, b.agent(s.rTid))
	}
	if mask == 0xf {
		s.rStamp = 0
	}
}

// agent describes a thread that accessed a word.
func (b *block) agent(tid uint16) string {
	switch {
	case several(tid):
		return "several threads"
	case int(tid) >= b.threads:
		return "an asynchronous copy"
	}
	return "thread " + itoa(int(tid))
}
