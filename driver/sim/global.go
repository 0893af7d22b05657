package sim

import "math/bits"

// globalAccess executes a load or store of lanes m, all in the window of one buffer.
func (b *block) globalAccess(w *warp, o *op, a *access, m uint32) {
	n := a.bytes()
	c := &b.counts[o.index]
	buf := b.buffer(w, o, firstLane(m), w.addr[firstLane(m)])
	var at [32]int
	if contiguous(&w.addr, m, uint64(n)) {
		first := b.place(w, o, 0, buf, w.addr[0], n)
		b.place(w, o, 31, buf, w.addr[31], n)
		for i := range at {
			at[i] = first + i*n
		}
		set := buf.set[first : first+32*n]
		if a.store {
			setWritten(set)
		} else if b.check && !allWritten(set) {
			b.findUnwritten(w, o, buf, &at, m, n)
		}
		if b.count {
			c.requests++
			c.units += uint64((first+32*n-1)>>5 - first>>5 + 1)
			c.ideal += uint64(n)
		}
	} else {
		for mm := m; mm != 0; mm &= mm - 1 {
			i := bits.TrailingZeros32(mm) & 31
			at[i] = b.place(w, o, i, buf, w.addr[i], n)
			if set := buf.set[at[i] : at[i]+n]; a.store {
				setWritten(set)
			} else if b.check && !allWritten(set) {
				b.findUnwritten(w, o, buf, &at, 1<<i, n)
			}
		}
		if b.count {
			c.addSectors(&w.addr, m, n)
		}
	}
	if b.run.hazards != nil {
		for mm := m; mm != 0; mm &= mm - 1 {
			i := bits.TrailingZeros32(mm) & 31
			b.globalHazard(w, o, a, i, buf, at[i], n)
		}
	}
	if a.store {
		w.put(a, buf.data, &at, m)
		b.progress = true
	} else {
		w.get(a, buf.data, &at, m)
	}
}

// contiguous reports whether all 32 lanes access n bytes each, adjacent in order.
func contiguous(addr *row64, m uint32, n uint64) bool {
	if m != allLanes {
		return false
	}
	want := addr[0]
	for i := range addr {
		if addr[i] != want {
			return false
		}
		want += n
	}
	return true
}

// buffer finds the allocation of an address.
func (b *block) buffer(w *warp, o *op, lane int, addr uint64) *buffer {
	buf := b.dev.find(addr)
	switch {
	case buf == nil && addr == 0:
		b.fault(w, o, lane, IllegalAddress, "a null pointer")
	case buf == nil:
		b.fault(w, o, lane, IllegalAddress, "%#x is in no allocation", addr)
	case buf.data == nil:
		b.fault(w, o, lane, IllegalAddress, "%s has been freed", buf.name)
	}
	return buf
}

// place checks n bytes at addr of buf and returns their offset.
func (b *block) place(w *warp, o *op, lane int, buf *buffer, addr uint64, n int) int {
	off := int(addr & windowMask)
	if off+n > len(buf.data) {
		b.fault(w, o, lane, OutOfBounds, "%s[%d..%d) of %d bytes", buf.name, off, off+n, len(buf.data))
	}
	if off&(n-1) != 0 {
		b.fault(w, o, lane, Misaligned, "%s+%d, %d-byte access", buf.name, off, n)
	}
	return off
}

func (b *block) findUnwritten(w *warp, o *op, buf *buffer, at *[32]int, m uint32, n int) {
	for ; m != 0; m &= m - 1 {
		i := firstLane(m)
		for j, v := range buf.set[at[i] : at[i]+n] {
			if v != written {
				b.fault(w, o, i, Uninitialised, "%s+%d, which nobody has written", buf.name, at[i]+j)
			}
		}
	}
}

// addSectors counts the distinct 32-byte sectors of a request.
func (c *opCount) addSectors(addr *row64, m uint32, n int) {
	var seen [32]uint64
	k := 0
	last := ^uint64(0)
	for mm := m; mm != 0; mm &= mm - 1 {
		s := addr[bits.TrailingZeros32(mm)&31] >> 5
		if s == last {
			continue
		}
		last = s
		dup := false
		for j := k - 1; j >= 0; j-- {
			if seen[j] == s {
				dup = true
				break
			}
		}
		if !dup {
			seen[k&31] = s
			k++
		}
	}
	c.requests++
	c.units += uint64(k)
	c.ideal += uint64((bits.OnesCount32(m)*n + 31) / 32)
}

// hazard describes the last access to four bytes of global memory in a launch: the block and
// thread, and the block's stamp, which is below base after a barrier.
type hazard struct {
	wBlock, rBlock int32 // 1 + block; rBlock -1: several blocks
	wStamp, rStamp uint32
	wTid, rTid     uint16
	wMask          uint8
}

// sameCluster is the other block of b's cluster that has that number in a hazard, or nil.
func (b *block) sameCluster(number int32) *block {
	for _, t := range b.cluster.blocks {
		if t != b && int32(t.index()+1) == number {
			return t
		}
	}
	return nil
}

// everyThread reports that f holds for a thread, or for all if tid stands for several.
func (b *block) everyThread(tid uint16, f func(tid int) bool) bool {
	if !several(tid) {
		return f(int(tid))
	}
	for i := range b.threads {
		if !f(i) {
			return false
		}
	}
	return true
}

// globalHazard faults if two blocks, or two threads of a block without a barrier in between,
// access the same bytes and one of them writes. Blocks run one at a time here, those of a
// cluster in turn: what a cluster's barriers order is no race, but for a write after reads by
// several of its blocks, which are not told apart.
func (b *block) globalHazard(w *warp, o *op, a *access, lane int, buf *buffer, at, n int) {
	h := b.run.hazards[buf]
	if h == nil {
		h = make([]hazard, (len(buf.data)+3)/4)
		b.run.hazards[buf] = h
	}
	if a.sync {
		return
	}
	blk, tid, mask := int32(b.index()+1), uint16(w.id*32+lane), byteMask(at, n)
	for q := at >> 2; q < (at+n+3)>>2; q++ {
		s := &h[q]
		clash := func(other int32, otherTid uint16, stamp uint32) bool {
			if t := b.sameCluster(other); t != nil {
				return !t.everyThread(otherTid, func(tid int) bool { return w.follows(lane, t.first+tid, stamp) })
			}
			if other == 0 || other == blk && (otherTid == tid || stamp < b.base || otherTid != manyThreads && w.knows(lane, int(otherTid), stamp)) {
				return false
			}
			return true
		}
		if s.wMask&mask != 0 && clash(s.wBlock, s.wTid, s.wStamp) && !(a.store && w.same(a, buf.data, at, lane)) {
			b.fault(w, o, lane, Race, "%s+%d was written by block %d thread %d and nothing orders this access after it", buf.name, q*4, s.wBlock-1, s.wTid)
		}
		if !a.store {
			if s.rBlock != 0 && s.rBlock != blk {
				s.rBlock = -1
			} else {
				reader := tid
				if s.rBlock == blk && s.rStamp >= b.base && s.rTid != tid {
					reader = manyThreads
				}
				s.rBlock, s.rTid, s.rStamp = blk, reader, b.now
			}
			continue
		}
		if s.rBlock == -1 || clash(s.rBlock, s.rTid, s.rStamp) {
			b.fault(w, o, lane, Race, "%s+%d is read by another thread or block and nothing orders this store after it", buf.name, q*4)
		}
		if s.wBlock != blk || s.wStamp < b.base {
			s.wMask = 0
		}
		s.wBlock, s.wTid, s.wStamp = blk, tid, b.now
		s.wMask |= mask
	}
}
