package sim

import "slices"

// cp.async: copies from global to shared memory, in groups that each thread commits and
// waits for. A copy is carried out when it is waited for; until then its destination may be
// neither read nor written.

var asyncOpcodes = map[string]func(*decoder){"cp": decodeCp}

// copyRequest is one lane's copy, with the bytes that were read.
type copyRequest struct {
	lane int
	dst  int
	n    int
	data [16]byte
}

// copyGroup is what lanes of a warp committed together.
type copyGroup struct {
	mask     uint32
	requests []copyRequest
}

func decodeCp(d *decoder) {
	if d.opt("reduce") {
		d.one("async")
		d.bulkReduce()
		return
	}
	d.one("async")
	switch d.maybe("commit_group", "wait_group", "wait_all", "mbarrier", "bulk") {
	case "commit_group":
		d.o.run = runCopyCommit
	case "wait_group":
		n := int(d.number(0, 0, 255))
		d.o.run = func(b *block, w *warp, o *op, m uint32) status { b.waitCopies(w, o, m, n); return next }
	case "wait_all":
		d.o.run = func(b *block, w *warp, o *op, m uint32) status {
			runCopyCommit(b, w, o, m)
			b.waitCopies(w, o, m, 0)
			return next
		}
	case "mbarrier":
		d.copyArrive()
	case "bulk":
		d.bulk()
	default:
		d.copyAsync()
	}
}

func (d *decoder) copyAsync() {
	cache := d.one("ca", "cg")
	d.one("shared", "shared::cta")
	d.one("global")
	policy := d.cacheHints()
	n := d.number(2, 4, 16)
	if n != 16 && (cache == "cg" || n != 8 && n != 4) {
		d.fail("%d bytes", n)
	}
	src := &access{size: uint8(n), n: 1}
	dst := &access{size: uint8(n), n: 1, store: true}
	d.accessTo(d.arg(0), spaceShared, dst)
	d.accessTo(d.arg(1), spaceGlobal, src)
	d.o.mem, d.o.ext = src, dst
	d.o.a = -1
	last := 3
	if d.argc() > 3 && !(policy && d.argc() == 4) {
		if a := d.arg(3); a.kind == regOperand && a.reg.typ == tPred {
			d.fail("the ignore-src form is not supported")
		}
		d.o.a = d.src(3, tU32)
		last++
	}
	if policy {
		d.src(last, tB64)
	}
	d.o.run = runCopyAsync
}

func runCopyAsync(b *block, w *warp, o *op, m uint32) status {
	dst, n := o.ext.(*access), int(o.mem.size)
	w.addresses(dst)
	to := w.addr
	w.addresses(o.mem)
	for mm := m; mm != 0; mm &= mm - 1 {
		i := firstLane(mm)
		q := copyRequest{lane: i, n: n, dst: b.sharedAddress(w, o, i, to[i], n)}
		bytes := n
		if o.a >= 0 {
			bytes = int(w.r32[o.a][i])
			if bytes > n {
				b.fault(w, o, i, OutOfBounds, "source size %d of a copy of %d bytes", bytes, n)
			}
		}
		if bytes > 0 { // the rest is zeros, and a copy of no bytes reads nothing
			buf := b.buffer(w, o, i, w.addr[i])
			off := int(w.addr[i] & windowMask)
			if off&(n-1) != 0 {
				b.fault(w, o, i, Misaligned, "%s+%d, %d-byte access", buf.name, off, n)
			}
			if off+bytes > len(buf.data) {
				b.fault(w, o, i, OutOfBounds, "%s[%d..%d) of %d bytes", buf.name, off, off+bytes, len(buf.data))
			}
			if b.check && !allWritten(buf.set[off:off+bytes]) {
				b.fault(w, o, i, Uninitialised, "%s+%d, which nobody has written", buf.name, off)
			}
			copy(q.data[:], buf.data[off:off+bytes])
		}
		st := b.state[q.dst : q.dst+n]
		if b.check {
			if !plainState(st) {
				b.badState(w, o, i, q.dst, n)
			}
			b.noteWrite(w, o, i, q.dst, n, false)
			for j := range st {
				st[j] = inFlight
			}
		} else {
			setWritten(st)
		}
		w.open = append(w.open, q)
	}
	if b.count {
		b.counts[o.index].addSectors(&w.addr, m, n)
	}
	b.progress = true
	return next
}

// runCopyCommit closes a group of the copies that lanes m have issued.
func runCopyCommit(_ *block, w *warp, _ *op, m uint32) status {
	g := copyGroup{mask: m}
	if m == w.live {
		g.requests, w.open = w.open, nil
	} else {
		rest := w.open[:0:0]
		for _, q := range w.open {
			if m>>q.lane&1 != 0 {
				g.requests = append(g.requests, q)
			} else {
				rest = append(rest, q)
			}
		}
		w.open = rest
	}
	w.copies = append(w.copies, g)
	return next
}

// waitCopies completes, for lanes m, all groups except the last keep of each lane.
func (b *block) waitCopies(w *warp, o *op, m uint32, keep int) {
	var newer [32]int
	for i := len(w.copies) - 1; i >= 0; i-- {
		g := &w.copies[i]
		var land uint32
		for mm := g.mask & m; mm != 0; mm &= mm - 1 {
			if lane := firstLane(mm); newer[lane] >= keep {
				land |= 1 << lane
			} else {
				newer[lane]++
			}
		}
		b.land(w, o, g.requests, land)
		g.mask &^= land
		if g.mask == 0 {
			g.requests = nil
		}
	}
	w.copies = slices.DeleteFunc(w.copies, func(g copyGroup) bool { return g.mask == 0 })
	b.progress = true
}

// land writes the copies of lanes. The writes count as made by these lanes, now.
func (b *block) land(w *warp, o *op, requests []copyRequest, lanes uint32) {
	for i := range requests {
		q := &requests[i]
		if lanes>>q.lane&1 == 0 {
			continue
		}
		copy(b.smem[q.dst:], q.data[:q.n])
		setWritten(b.state[q.dst : q.dst+q.n])
		if b.check {
			b.noteWrite(w, o, q.lane, q.dst, q.n, false)
		}
	}
}
