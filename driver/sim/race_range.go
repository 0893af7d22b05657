package sim

// Ranges of shared memory that the asynchronous proxy (TMA, bulk copies, wgmma) accesses.
// Adjacent words mostly have the same history, so the last result is reused.

// checkRange faults if an access of that kind by lane, n bytes at at, races.
func (b *block) checkRange(w *warp, o *op, lane, at, n int, kind touch) {
	if w.home != b {
		for q := at >> 2; q < (at+n)>>2; q++ {
			b.foreignConflict(w, o, lane, q, 0xf, kind)
		}
		return
	}
	var wTid uint16
	var wStamp, wWarps uint32
	for q := at >> 2; q < (at+n)>>2; q++ {
		s := &b.shadow[q]
		if s.wStamp >= b.base && (several(s.wTid) || s.wTid != wTid || s.wStamp != wStamp || s.wWarps != wWarps) {
			if int(s.wTid) != w.id*32+lane && !b.writtenBefore(w, lane, s) {
				b.fault(w, o, lane, Race, "%s shared+%d, written by %s with nothing in between that orders them", kind.verb(), q*4-sharedBase, b.agent(s.wTid))
			}
			wTid, wStamp, wWarps = s.wTid, s.wStamp, s.wWarps
		}
		if s.foreign {
			b.checkForeign(w, o, lane, q, 0xf, kind)
		}
		if kind == touchWrite && s.rStamp >= b.base {
			b.checkReaders(w, o, lane, q, s, 0xf)
		}
	}
}

// markRange records a write by an agent.
func (b *block) markRange(at, n int, agent uint16) {
	for q := at >> 2; q < (at+n)>>2; q++ {
		s := &b.shadow[q]
		s.wTid, s.wStamp, s.wMask, s.wWarps, s.wVec, s.rStamp, s.atomic = agent, b.now, 0xf, 0, 0, 0, false
		if s.foreign { // ordered before the copy when it was issued
			s.foreign = false
			delete(b.foreign, q)
		}
	}
}

// asyncRead checks and records that the asynchronous proxy reads n bytes for lane of w, by
// an op issued at stamp.
func (b *block) asyncRead(w *warp, o *op, lane, at, n int, stamp uint32) {
	if !allWritten(b.state[at : at+n]) {
		b.badState(w, o, lane, at, n)
	}
	b.checkRange(w, o, lane, at, n, touchRead)
	tid := uint16(w.id*32 + lane)
	var okTid uint16
	var okStamp uint32
	for q := at >> 2; q < (at+n)>>2; q++ {
		s := &b.shadow[q]
		if s.wTid != okTid || s.wStamp != okStamp {
			if s.wStamp > stamp {
				b.fault(w, o, lane, AsyncHazard, "shared+%d was overwritten by %s before this, which reads it, was waited for", q*4-sharedBase, b.agent(s.wTid))
			}
			if !b.proxied(w, s) {
				b.fault(w, o, lane, ProxyHazard, "shared+%d was written by %s with ordinary stores and no fence.proxy.async after them", q*4-sharedBase, b.agent(s.wTid))
			}
			okTid, okStamp = s.wTid, s.wStamp
		}
		if s.rStamp < b.base {
			s.rTid, s.rMask, s.rWarps, s.rVec = tid, 0xf, 1<<w.id, 0
		} else if s.rTid != tid || s.rVec != 0 {
			b.joinReaders(w, s, tid, 0xf)
		}
		s.rStamp = b.now
	}
}

// proxied reports that the word's last write is visible to the asynchronous proxy: a bulk
// copy made it, or its writer or this warp has executed a fence since.
func (b *block) proxied(w *warp, s *shadowWord) bool {
	if !several(s.wTid) && int(s.wTid) >= b.threads {
		return true
	}
	for m := w.live; m != 0; m &= m - 1 {
		if w.fenced[firstLane(m)] > s.wStamp {
			return true
		}
	}
	if !several(s.wTid) {
		return b.warps[s.wTid/32].fenced[s.wTid%32] > s.wStamp
	}
	for i, v := range b.warps {
		if s.wWarps>>i&1 != 0 && v.fenced[0] <= s.wStamp {
			return false
		}
	}
	return true
}
