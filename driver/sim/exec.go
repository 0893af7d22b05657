package sim

import "math/bits"

// wait is the reason why a fragment does not run.
type wait uint8

const (
	runnable   wait = iota
	forLanes        // a warp-wide op waits for lanes that are elsewhere
	forBarrier      // arrived at a barrier of the block
	polled          // its poll failed: others run first
)

// fragment is the lanes of a warp that are at the same instruction. A warp that has not
// diverged is one fragment; fragments that meet are merged.
type fragment struct {
	pc      int32
	mask    uint32
	wait    wait
	barrier uint8 // the barrier it waits at
}

const noNext = int32(1<<31 - 1)

// pollLoop is the number of instructions between two polls of a loop: a warp that has run
// fewer since its last poll has made no progress.
const pollLoop = 32

// schedule merges fragments at the same pc and puts the runnable one with the lowest pc at
// the front: code is laid out so that this reconverges as early as possible. It returns
// false if no fragment can run. w.next is set to the nearest pc ahead at which another
// fragment is, so that the main loop needs to reschedule only there.
func (w *warp) schedule() bool {
	fr := w.frags
	for i := 0; i < len(fr); i++ {
		for j := len(fr) - 1; j > i; j-- {
			if fr[j].pc != fr[i].pc || fr[i].wait == forBarrier || fr[j].wait == forBarrier {
				continue
			}
			fr[i].mask |= fr[j].mask
			fr[i].wait = runnable
			fr[j] = fr[len(fr)-1]
			fr = fr[:len(fr)-1]
		}
	}
	w.frags = fr
	best := -1
	for i := range fr {
		if fr[i].wait == runnable && (best < 0 || fr[i].pc < fr[best].pc) {
			best = i
		}
	}
	if best < 0 {
		return false
	}
	fr[0], fr[best] = fr[best], fr[0]
	w.next = noNext
	for i := 1; i < len(fr); i++ {
		if fr[i].wait != forBarrier && fr[i].pc > fr[0].pc {
			w.next = min(w.next, fr[i].pc)
		}
	}
	return true
}

// stall leaves the lanes m at pc until the others arrive; the rest of the fragment, which
// the op's predicate excludes, continues.
func (w *warp) stall(pc int32, mask, m uint32) {
	w.frags[0] = fragment{pc: pc, mask: m, wait: forLanes}
	if m != mask {
		w.frags = append(w.frags, fragment{pc: pc + 1, mask: mask &^ m})
	}
}

// exec runs w until it ends, waits, polls or has used its budget.
func (b *block) exec(w *warp, budget int) {
	start := budget
	defer func() { b.steps += int64(start - budget) }()
	if !w.schedule() {
		w.wake(polled)
		if !w.schedule() {
			return
		}
	}
	code, counts := b.k.code, b.counts
	pc, mask := w.frags[0].pc, w.frags[0].mask
	for {
		if pc >= w.next {
			w.frags[0].pc = pc
			w.schedule()
			pc, mask = w.frags[0].pc, w.frags[0].mask
		}
		if budget <= 0 {
			w.frags[0].pc = pc
			if len(w.frags) > 1 { // a loop of these lanes may wait for lanes of another fragment
				w.frags[0].wait = polled
			}
			if w.sincePoll += start - budget; w.sincePoll > pollLoop {
				b.progress = true
			}
			return
		}
		budget--
		o := &code[pc]
		m := mask
		if o.pred >= 0 {
			if o.neg {
				m &^= w.p[o.pred]
			} else {
				m &= w.p[o.pred]
			}
			if m == 0 {
				pc++
				continue
			}
		}
		n := &counts[pc]
		n.issues++
		n.lanes += uint64(bits.OnesCount32(m))
		switch o.kind {
		case kindAlu:
			if m == allLanes {
				o.f32(&w.r32[o.d], &w.r32[o.a], &w.r32[o.b], &w.r32[o.c])
			} else {
				o.f32(&w.t32, &w.r32[o.a], &w.r32[o.b], &w.r32[o.c])
				blend(&w.r32[o.d], &w.t32, m)
			}
		case kindAlu64:
			if m == allLanes {
				o.f64(&w.r64[o.d], &w.r64[o.a], &w.r64[o.b], &w.r64[o.c])
			} else {
				o.f64(&w.t64, &w.r64[o.a], &w.r64[o.b], &w.r64[o.c])
				blend64(&w.r64[o.d], &w.t64, m)
			}
		case kindWiden:
			if m == allLanes {
				o.widen(&w.r64[o.d], &w.r32[o.a], &w.r32[o.b], &w.r64[o.c])
			} else {
				o.widen(&w.t64, &w.r32[o.a], &w.r32[o.b], &w.r64[o.c])
				blend64(&w.r64[o.d], &w.t64, m)
			}
		case kindNarrow:
			if m == allLanes {
				o.narrow(&w.r32[o.d], &w.r64[o.a], &w.r64[o.b], &w.r32[o.c])
			} else {
				o.narrow(&w.t32, &w.r64[o.a], &w.r64[o.b], &w.r32[o.c])
				blend(&w.r32[o.d], &w.t32, m)
			}
		case kindCmp:
			w.p[o.d] = w.p[o.d]&^m | o.cmp(&w.r32[o.a], &w.r32[o.b])&m
		case kindCmp64:
			w.p[o.d] = w.p[o.d]&^m | o.cmp64(&w.r64[o.a], &w.r64[o.b])&m
		case kindBranch:
			if m == mask {
				pc = o.target
				if pc < o.index { // a backward branch: fragments may be anywhere in the loop
					w.frags[0].pc = pc
					w.schedule()
					pc, mask = w.frags[0].pc, w.frags[0].mask
				}
				continue
			}
			w.frags[0] = fragment{pc: pc + 1, mask: mask &^ m}
			w.frags = append(w.frags, fragment{pc: o.target, mask: m})
			b.divergent++
			w.schedule()
			pc, mask = w.frags[0].pc, w.frags[0].mask
			continue
		case kindExit:
			if !b.exit(w, pc, mask, m) {
				return
			}
			pc, mask = w.frags[0].pc, w.frags[0].mask
			continue
		case kindNop:
		case kindRun:
			switch o.run(b, w, o, m) {
			case next:
			case stalled:
				n.issues--
				n.lanes -= uint64(bits.OnesCount32(m))
				w.stall(pc, mask, m)
				if !w.schedule() {
					b.stuck(w)
					return
				}
				pc, mask = w.frags[0].pc, w.frags[0].mask
				continue
			default:
				// The op has already moved the fragment: it is after the op and waits.
				w.sincePoll = budget - start
				if !w.schedule() {
					b.stuck(w)
					return
				}
				pc, mask = w.frags[0].pc, w.frags[0].mask
				continue
			}
		}
		pc++
	}
}

// splitOff splits off the lanes of the running fragment that an op's predicate excludes and
// leaves lanes m after the op in state s.
func (w *warp) splitOff(o *op, m uint32, s wait) *fragment {
	mask := w.frags[0].mask
	w.frags[0] = fragment{pc: o.index + 1, mask: m, wait: s}
	if m != mask {
		w.frags = append(w.frags, fragment{pc: o.index + 1, mask: mask &^ m})
	}
	return &w.frags[0]
}

// wake makes fragments that wait for that reason runnable.
func (w *warp) wake(reason wait) {
	for i := range w.frags {
		if w.frags[i].wait == reason {
			w.frags[i].wait = runnable
		}
	}
}

// exit ends lanes m; it returns false when the warp has nothing left to run.
func (b *block) exit(w *warp, pc int32, mask, m uint32) bool {
	w.live &^= m
	b.live -= bits.OnesCount32(m)
	b.cluster.leave(w, m)
	b.progress = true
	if m != mask {
		w.frags[0].mask, w.frags[0].pc = mask&^m, pc+1
	} else {
		last := len(w.frags) - 1
		w.frags[0] = w.frags[last]
		w.frags = w.frags[:last]
	}
	w.wake(forLanes) // fragments that waited for these lanes check again
	b.settleBarriers()
	if len(w.frags) == 0 {
		w.done = true
		return false
	}
	if !w.schedule() {
		b.stuck(w)
		return false
	}
	return true
}

// stuck is called when no fragment of w can run. If one of them waits for other warps, the
// scheduler continues with those; if all wait for one another, it is a fault.
func (b *block) stuck(w *warp) {
	for i := range w.frags {
		if w.frags[i].wait != forLanes {
			return
		}
	}
	f := &w.frags[0]
	b.fault(w, &b.k.code[f.pc], firstLane(f.mask), Divergence,
		"lanes %08x wait here for the rest of the warp, lanes %08x wait at %s",
		f.mask, w.frags[len(w.frags)-1].mask, b.where(w.frags[len(w.frags)-1].pc))
}

func blend(d, s *row, m uint32) {
	for ; m != 0; m &= m - 1 {
		i := bits.TrailingZeros32(m) & 31
		d[i] = s[i]
	}
}

func blend64(d, s *row64, m uint32) {
	for ; m != 0; m &= m - 1 {
		i := bits.TrailingZeros32(m) & 31
		d[i] = s[i]
	}
}
