package sim

import "math/bits"

// Bulk copies into shared memory, which complete on an mbarrier of the block that gets them.

func runBulkLoad(b *block, w *warp, o *op, m uint32) status {
	x := o.ext.(*bulkOp)
	for ; m != 0; m &= m - 1 {
		i := firstLane(m)
		c := bulkCopy{w: w, o: o, lane: i}
		switch {
		case x.coords != nil:
			c.box, c.at = b.tensorAt(w, o, i, x.src, x.coords)
			c.bytes = c.box.bytes()
		case x.src.space == spaceShared:
			b.bulkFromShared(&c, w.at(x.src, i), b.bulkSize(w, o, i, x))
		default:
			c.src, c.bytes = w.at(x.src, i), b.bulkSize(w, o, i, x)
			if c.src&15 != 0 {
				b.fault(w, o, i, Misaligned, "source %#x: 16-byte alignment", c.src)
			}
		}
		dst, bar := w.at(x.dst, i)&windowMask, w.at(x.bar, i)&windowMask
		if x.blocks >= 0 {
			b.multicast(&c, w.r32[x.blocks][i], dst, bar)
		} else {
			t := b
			if x.dst.cluster {
				if dst>>rankShift != bar>>rankShift {
					b.fault(w, o, i, BadTMA, "the mbarrier is not in the block whose shared memory is written")
				}
				t, dst, bar = b.peer(w, o, i, dst>>rankShift), dst&offsetMask, bar&offsetMask
			}
			t.issue(c, dst, bar)
		}
		b.countBulk(o, &c)
	}
	b.progress = true
	return next
}

// bulkFromShared makes c a copy of the block's own shared memory.
func (b *block) bulkFromShared(c *bulkCopy, src uint64, bytes int) {
	at := b.sharedRange(c.w, c.o, c.lane, src, bytes, nil)
	c.from, c.src, c.bytes, c.stamp = b, uint64(at), bytes, b.now
	b.now++
	if b.check {
		if !allWritten(b.state[at : at+bytes]) {
			b.badState(c.w, c.o, c.lane, at, bytes)
		}
		b.checkRange(c.w, c.o, c.lane, at, bytes, touchRead)
	}
}

// multicast issues c in every block that the mask names, at the same place of its shared
// memory and for the mbarrier at the same place.
func (b *block) multicast(c *bulkCopy, mask uint32, dst, bar uint64) {
	if n := len(b.cluster.blocks); mask == 0 || mask>>n != 0 {
		b.fault(c.w, c.o, c.lane, BadTMA, "a multicast to blocks %b of a cluster of %d", mask, n)
	}
	for ; mask != 0; mask &= mask - 1 {
		t := b.peer(c.w, c.o, c.lane, uint64(bits.TrailingZeros32(mask)+1))
		t.issue(*c, dst&offsetMask, bar&offsetMask)
	}
}

// issue begins a copy into b, which may be another block than the thread's that issues it.
func (b *block) issue(c bulkCopy, dst, bar uint64) {
	w, o, i := c.w, c.o, c.lane
	c.dst = b.sharedRange(w, o, i, dst, c.bytes, c.box)
	q := b.mbarrierAt(w, o, i, bar)
	b.visible(w, o, i, q)
	if b.check && !q.fenced {
		b.fault(w, o, i, ProxyHazard, "the mbarrier at shared+%d was initialised without a fence.mbarrier_init after it", q.addr-sharedBase)
	}
	st := b.state[c.dst : c.dst+c.bytes]
	if b.check {
		if !plainState(st) {
			b.badState(w, o, i, c.dst, c.bytes)
		}
		b.checkRange(w, o, i, c.dst, c.bytes, touchWrite)
	}
	for j := range st {
		st[j] = inFlight
	}
	q.landing = append(q.landing, c)
}

// landBulk completes a copy: it writes the bytes and counts them on q.
func (b *block) landBulk(q *mbarrier, c *bulkCopy) {
	switch {
	case c.from != nil:
		b.readShared(q, c)
		copy(b.smem[c.dst:c.dst+c.bytes], c.from.smem[c.src:])
	case c.box == nil:
		src := b.globalRange(c.w, c.o, c.lane, c.src, c.bytes)
		copy(b.smem[c.dst:], src)
	default:
		c.box.rows(c.at, func(at int, addr uint64, lo, hi int) {
			row := make([]byte, c.box.rowBytes())
			if hi > lo {
				copy(row[lo:hi], b.globalRange(c.w, c.o, c.lane, addr+uint64(lo), hi-lo))
			}
			for k := 0; k < len(row); k += 16 {
				p := swizzle(uint32(c.dst+at+k), c.box.swizzle)
				copy(b.smem[p:p+16], row[k:])
			}
		})
	}
	setWritten(b.state[c.dst : c.dst+c.bytes])
	if b.check {
		b.markRange(c.dst, c.bytes, uint16(q.agent))
		q.clock.grow(b.first + b.agents)
		q.clock[b.first+q.agent] = b.now
		b.now++
	}
	q.tx -= c.bytes
	b.progress = true
	q.completePhase()
}

// readShared checks the source of a copy that completes on q of b, another block's shared
// memory, and records that the copy has read it.
func (b *block) readShared(q *mbarrier, c *bulkCopy) {
	from, at := c.from, int(c.src)
	if !b.check {
		return
	}
	for k := at >> 2; k < (at+c.bytes)>>2; k++ {
		s := &from.shadow[k]
		if s.wStamp > c.stamp {
			b.fault(c.w, c.o, c.lane, AsyncHazard, "shared+%d was overwritten by %s before this, which reads it, was waited for", k*4-sharedBase, from.agent(s.wTid))
		}
		if !from.proxied(c.w, s) {
			b.fault(c.w, c.o, c.lane, ProxyHazard, "shared+%d was written by %s with ordinary stores and no fence.proxy.async after them", k*4-sharedBase, from.agent(s.wTid))
		}
		from.noteForeign(k, foreignAccess{b.first + q.agent, b.now, 0xf, touchRead})
	}
}

// checkCopiesOut faults when the block ends and a copy out of its shared memory into another
// block's is under way.
func (b *block) checkCopiesOut() {
	for _, t := range b.cluster.blocks {
		for _, q := range t.mbars {
			for i := range q.landing {
				if c := &q.landing[i]; c.from == b && t != b {
					b.fault(c.w, c.o, c.lane, AsyncHazard, "the block ends before this copy out of its shared memory was waited for by block %d of the cluster", t.rank)
				}
			}
		}
	}
}
