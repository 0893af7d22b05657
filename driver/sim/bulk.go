package sim

// Bulk copies: TMA boxes and contiguous bytes, in both directions.

// bulkCopy is a copy into shared memory that has been issued and will complete on an
// mbarrier.
type bulkCopy struct {
	w     *warp
	o     *op
	lane  int
	dst   int
	bytes int
	src   uint64     // of a contiguous copy
	from  *block     // in whose shared memory src is; nil: global memory
	stamp uint32     // of the issue, if from
	box   *tensorMap // of a TMA copy
	at    [5]int32
}

// bulkStore is a copy out of shared memory that has been issued.
type bulkStore struct {
	o     *op
	stamp uint32
	src   int
	bytes int
	dst   uint64
	box   *tensorMap
	at    [5]int32
	add   bool // cp.reduce.add.f32
}

// bulkQueue is a thread's bulk groups.
type bulkQueue struct {
	open   []bulkStore
	groups [][]bulkStore
}

// bulkOf is the queue of one lane.
func (w *warp) bulkOf(lane int) *bulkQueue {
	if w.bulk == nil {
		w.bulk = new([32]bulkQueue)
	}
	return &w.bulk[lane]
}

// bulkOp has the operands of a bulk instruction.
type bulkOp struct {
	dst, src, bar *access
	size          int32 // slot of the byte count
	coords        []int32
	add           bool
	blocks        int32 // slot of the mask of blocks that get a multicast, or -1
}

func (d *decoder) bulk() {
	switch d.maybe("commit_group", "wait_group", "tensor", "prefetch") {
	case "commit_group":
		d.o.run = func(_ *block, w *warp, _ *op, m uint32) status {
			for ; m != 0; m &= m - 1 {
				q := w.bulkOf(firstLane(m))
				q.groups = append(q.groups, q.open)
				q.open = nil
			}
			return next
		}
		return
	case "wait_group":
		d.opt("read")
		n := int(d.number(0, 0, 255))
		d.o.run = func(b *block, w *warp, _ *op, m uint32) status {
			for ; m != 0; m &= m - 1 {
				i := firstLane(m)
				q := w.bulkOf(i)
				for len(q.groups) > n {
					for k := range q.groups[0] {
						b.storeBulk(w, i, &q.groups[0][k])
					}
					q.groups = q.groups[1:]
				}
			}
			b.progress = true
			return next
		}
		return
	case "tensor":
		d.bulkTensor(false)
		return
	case "prefetch":
		d.fail("prefetch is not supported")
	}
	x := &bulkOp{}
	d.k.narrowSync = true
	if in := d.maybe("shared::cluster", "shared::cta"); in != "" {
		from := spaceNames[d.one("global", "shared::cta")]
		d.one("mbarrier::complete_tx::bytes")
		x.dst, x.src, x.bar = d.bulkAccess(0, spaceShared), d.bulkAccess(1, from), d.bulkAccess(3, spaceShared)
		x.size = d.src(2, tU32)
		if from == spaceShared && in != "shared::cluster" {
			d.fail("a copy within shared memory is to .shared::cluster")
		}
		d.bulkLoad(x, in, 4)
		return
	}
	d.one("global")
	d.one("shared::cta")
	d.one("bulk_group")
	policy := d.opt("L2::cache_hint")
	x.dst, x.src, x.size = d.bulkAccess(0, spaceGlobal), d.bulkAccess(1, spaceShared), d.src(2, tU32)
	d.bulkOut(x, policy, 3)
}

func (d *decoder) bulkAccess(i int, s space) *access {
	a := &access{size: 16, n: 1}
	d.accessTo(d.arg(i), s, a)
	return a
}

// bulkTensor is cp.async.bulk.tensor and, with add, cp.reduce.async.bulk.tensor.
func (d *decoder) bulkTensor(add bool) {
	d.k.narrowSync = true
	rank := int(d.one("1d", "2d", "3d", "4d", "5d")[0] - '0')
	x := &bulkOp{add: add}
	if in := d.maybe("shared::cluster", "shared::cta"); !add && in != "" {
		d.one("global")
		d.opt("tile")
		d.one("mbarrier::complete_tx::bytes")
		x.dst, x.src, x.bar = d.bulkAccess(0, spaceShared), d.tensorOperand(1, rank, x), d.bulkAccess(2, spaceShared)
		d.bulkLoad(x, in, 3)
		return
	}
	d.one("global")
	d.one("shared::cta")
	if add {
		d.one("add")
	}
	d.opt("tile")
	d.one("bulk_group")
	policy := d.opt("L2::cache_hint")
	x.dst, x.src = d.tensorOperand(0, rank, x), d.bulkAccess(1, spaceShared)
	d.bulkOut(x, policy, 2)
}

// tensorOperand parses [map, {coordinates}].
func (d *decoder) tensorOperand(i, rank int, x *bulkOp) *access {
	o := d.arg(i)
	if o.kind != memory || len(o.sub) != 2 || o.sub[1].kind != vector || len(o.sub[1].sub) != rank {
		d.fail("a tensor map and %d coordinates are expected", rank)
	}
	for j := range o.sub[1].sub {
		x.coords = append(x.coords, d.srcOf(&o.sub[1].sub[j], tB32))
	}
	a := &access{size: 16, n: 1}
	base := *o
	base.sub = o.sub[:1]
	if base.sub[0].kind == symbol {
		d.fail("the tensor map needs a register")
	}
	d.accessTo(&base, spaceGeneric, a)
	return a
}

// bulkLoad decodes the end of a copy into shared memory: operands from next on.
func (d *decoder) bulkLoad(x *bulkOp, in string, next int) {
	x.blocks = -1
	x.dst.cluster, x.bar.cluster = in == "shared::cluster", in == "shared::cluster"
	if d.opt("multicast::cluster") {
		if in != "shared::cluster" || x.src.space == spaceShared {
			d.fail("a multicast is from .global to .shared::cluster")
		}
		x.blocks = d.src(next, tB16)
		next++
	}
	if d.opt("L2::cache_hint") {
		d.src(next, tB64)
	}
	d.o.mem, d.o.ext = &access{space: spaceGlobal, bulk: true}, x
	d.o.run = runBulkLoad
}

func (d *decoder) bulkOut(x *bulkOp, policy bool, next int) {
	if policy {
		d.src(next, tB64)
	}
	d.o.mem, d.o.ext = &access{space: spaceGlobal, bulk: true, store: true}, x
	d.o.run = runBulkStore
}

// bulkReduce is cp.reduce.async.bulk: sums of float32 into global memory.
func (d *decoder) bulkReduce() {
	d.one("bulk")
	d.k.floatAtomic = true
	if d.opt("tensor") {
		d.bulkTensor(true)
		return
	}
	x := &bulkOp{add: true}
	d.one("global")
	d.one("shared::cta")
	d.one("bulk_group")
	policy := d.opt("L2::cache_hint")
	d.one("add")
	d.typ(tF32)
	x.dst, x.src, x.size = d.bulkAccess(0, spaceGlobal), d.bulkAccess(1, spaceShared), d.src(2, tU32)
	d.bulkOut(x, policy, 3)
}

// at evaluates an address operand for one lane.
func (w *warp) at(a *access, lane int) uint64 {
	if a.wide {
		return w.r64[a.base][lane] + uint64(a.offset)
	}
	return uint64(w.r32[a.base][lane] + uint32(a.offset))
}

// tensorAt reads the tensor map and the coordinates of one lane.
func (b *block) tensorAt(w *warp, o *op, lane int, a *access, coords []int32) (*tensorMap, [5]int32) {
	addr := w.at(a, lane)
	var p []byte
	off := int(addr & windowMask)
	switch win := addr >> windowShift; {
	case addr&63 != 0:
		b.fault(w, o, lane, Misaligned, "a tensor map at %#x: 64-byte alignment", addr)
	case win == paramWindow>>windowShift && off+128 <= len(b.run.params):
		p = b.run.params[off:]
	case win <= firstWindow:
		p = b.buffer(w, o, lane, addr).data
		if off+128 > len(p) {
			b.fault(w, o, lane, OutOfBounds, "a tensor map at %#x", addr)
		}
		p = p[off:]
	default:
		b.fault(w, o, lane, BadTMA, "the tensor map is neither in parameter nor in global memory (%#x)", addr)
	}
	t, ok := readTensorMap(p)
	if !ok {
		b.fault(w, o, lane, BadTMA, "no tensor map at %#x", addr)
	}
	if t.rank != len(coords) {
		b.fault(w, o, lane, BadTMA, "%d coordinates for a tensor of %d dimensions", len(coords), t.rank)
	}
	var c [5]int32
	for i, s := range coords {
		c[i] = int32(w.r32[s][lane])
	}
	return &t, c
}

// sharedRange checks the shared memory of a bulk copy.
func (b *block) sharedRange(w *warp, o *op, lane int, addr uint64, n int, t *tensorMap) int {
	addr &= windowMask
	align := uint64(16)
	if t != nil {
		align = max(128, 8*uint64(t.swizzle))
	}
	if addr < sharedBase || addr+uint64(n) > uint64(len(b.smem)) {
		b.fault(w, o, lane, OutOfBounds, "shared[%d..%d) of %d bytes", int64(addr)-sharedBase, int64(addr)-sharedBase+int64(n), len(b.smem)-sharedBase)
	}
	if addr&(align-1) != 0 {
		b.fault(w, o, lane, Misaligned, "shared+%d: %d-byte alignment", addr-sharedBase, align)
	}
	return int(addr)
}

func (b *block) bulkSize(w *warp, o *op, lane int, x *bulkOp) int {
	n := int(w.r32[x.size][lane])
	if n%16 != 0 || n == 0 {
		b.fault(w, o, lane, BadTMA, "%d bytes: not a multiple of 16", n)
	}
	return n
}

func (b *block) countBulk(o *op, c *bulkCopy) {
	n := &b.counts[o.index]
	if c.box == nil {
		n.asyncBytes += uint64(c.bytes)
		n.asyncUnits += uint64(c.bytes+31) / 32
		return
	}
	c.box.rows(c.at, func(_ int, addr uint64, lo, hi int) {
		if hi > lo {
			n.asyncBytes += uint64(hi - lo)
			n.asyncUnits += (addr+uint64(hi)-1)>>5 - (addr+uint64(lo))>>5 + 1
		}
	})
}

// globalRange is n bytes of global memory that an asynchronous copy reads.
func (b *block) globalRange(w *warp, o *op, lane int, addr uint64, n int) []byte {
	buf := b.buffer(w, o, lane, addr)
	off := int(addr & windowMask)
	if off+n > len(buf.data) {
		b.fault(w, o, lane, OutOfBounds, "%s[%d..%d) of %d bytes", buf.name, off, off+n, len(buf.data))
	}
	if b.check && !allWritten(buf.set[off:off+n]) {
		b.fault(w, o, lane, Uninitialised, "%s[%d..%d), not all of which has been written", buf.name, off, off+n)
	}
	return buf.data[off : off+n]
}

func runBulkStore(b *block, w *warp, o *op, m uint32) status {
	x := o.ext.(*bulkOp)
	for ; m != 0; m &= m - 1 {
		i := firstLane(m)
		s := bulkStore{o: o, stamp: b.now, add: x.add}
		if x.coords != nil {
			s.box, s.at = b.tensorAt(w, o, i, x.dst, x.coords)
			s.bytes = s.box.bytes()
		} else {
			s.dst, s.bytes = w.at(x.dst, i), b.bulkSize(w, o, i, x)
			if s.dst&15 != 0 {
				b.fault(w, o, i, Misaligned, "target %#x: 16-byte alignment", s.dst)
			}
		}
		s.src = b.sharedRange(w, o, i, w.at(x.src, i), s.bytes, s.box)
		b.now++
		q := w.bulkOf(i)
		q.open = append(q.open, s)
		c := bulkCopy{box: s.box, at: s.at, bytes: s.bytes}
		b.countBulk(o, &c)
	}
	b.progress = true
	return next
}

// storeBulk completes a copy to global memory.
func (b *block) storeBulk(w *warp, lane int, s *bulkStore) {
	if b.check {
		b.asyncRead(w, s.o, lane, s.src, s.bytes, s.stamp)
	}
	put := func(addr uint64, from []byte) {
		buf := b.buffer(w, s.o, lane, addr)
		off := int(addr & windowMask)
		if off+len(from) > len(buf.data) {
			b.fault(w, s.o, lane, OutOfBounds, "%s[%d..%d) of %d bytes", buf.name, off, off+len(from), len(buf.data))
		}
		if s.add {
			for k := 0; k+4 <= len(from); k += 4 {
				le.PutUint32(from[k:], u32(f32(le.Uint32(from[k:]))+f32(le.Uint32(buf.data[off+k:]))))
			}
		}
		copy(buf.data[off:], from)
		setWritten(buf.set[off : off+len(from)])
	}
	if s.box == nil {
		put(s.dst, append([]byte(nil), b.smem[s.src:s.src+s.bytes]...))
		return
	}
	s.box.rows(s.at, func(at int, addr uint64, lo, hi int) {
		row := make([]byte, s.box.rowBytes())
		for k := 0; k < len(row); k += 16 {
			p := swizzle(uint32(s.src+at+k), s.box.swizzle)
			copy(row[k:k+16], b.smem[p:])
		}
		if hi > lo {
			put(addr+uint64(lo), row[lo:hi])
		}
	})
}

// finish checks that no asynchronous operation is left when the block ends.
func (b *block) finish() {
	for _, w := range b.warps {
		if w.bulk == nil {
			continue
		}
		for i := range w.bulk {
			q := &w.bulk[i]
			for _, g := range append(q.groups, q.open) {
				if len(g) > 0 {
					b.fault(w, g[0].o, i, AsyncHazard, "the block ends before this copy out of its shared memory was waited for")
				}
			}
		}
	}
	for _, q := range b.mbars {
		if len(q.landing) > 0 && b.check {
			c := &q.landing[0]
			b.fault(c.w, c.o, c.lane, AsyncHazard, "the block ends before this copy into its shared memory was waited for")
		}
	}
	b.checkVisits()
	b.checkCopiesOut()
	b.checkWarpgroups()
	b.checkRegisters()
}
