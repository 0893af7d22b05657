package sim

import "math/bits"

// Addresses: every buffer of global memory starts at a multiple of 1<<windowShift, so no
// access can run from one buffer into the next, and address 0 belongs to none. Shared, local
// and parameter memory have windows of their own in the generic address space.
const (
	windowShift  = 40
	windowMask   = 1<<windowShift - 1
	firstWindow  = 1 << 22 // the number of buffers is below
	sharedWindow = uint64(firstWindow+1) << windowShift
	localWindow  = uint64(firstWindow+2) << windowShift
	paramWindow  = uint64(firstWindow+3) << windowShift
)

// runAccess executes every ld and st.
func runAccess(b *block, w *warp, o *op, m uint32) status {
	a := o.mem
	w.addresses(a)
	switch a.space {
	case spaceShared:
		if a.cluster {
			b.clusterAccess(w, o, a, m)
		} else {
			b.sharedAccess(w, o, a, m)
		}
	case spaceParam:
		b.paramAccess(w, o, a, m)
	default:
		b.genericAccess(w, o, a, m)
	}
	return next
}

// addresses computes the lanes' addresses, into w.addr.
func (w *warp) addresses(a *access) {
	if a.wide {
		base, off := &w.r64[a.base], uint64(a.offset)
		for i := range w.addr {
			w.addr[i] = base[i] + off
		}
		return
	}
	base, off := &w.r32[a.base], uint32(a.offset)
	for i := range w.addr {
		w.addr[i] = uint64(base[i] + off)
	}
}

// genericAccess dispatches the lanes to the spaces in whose windows their addresses are.
func (b *block) genericAccess(w *warp, o *op, a *access, m uint32) {
	for m != 0 {
		win := w.addr[firstLane(m)] >> windowShift
		var g uint32
		for mm := m; mm != 0; mm &= mm - 1 {
			i := bits.TrailingZeros32(mm) & 31
			if w.addr[i]>>windowShift == win {
				g |= 1 << i
			}
		}
		m &^= g
		switch {
		case win <= firstWindow:
			b.globalAccess(w, o, a, g)
		case a.space == spaceGlobal || a.space == spaceConst:
			b.fault(w, o, firstLane(g), IllegalAddress, "%#x is not an address of .%s memory", w.addr[firstLane(g)], a.space)
		case win == sharedWindow>>windowShift:
			for i := range w.addr {
				w.addr[i] &= windowMask
			}
			b.clusterAccess(w, o, a, g)
			w.addresses(a)
		case win == localWindow>>windowShift:
			b.localAccess(w, o, a, g)
		case win == paramWindow>>windowShift:
			b.paramAccess(w, o, a, g)
		default:
			b.fault(w, o, firstLane(g), IllegalAddress, "%#x", w.addr[firstLane(g)])
		}
	}
}

// localAccess accesses memory that belongs to one thread.
func (b *block) localAccess(w *warp, o *op, a *access, m uint32) {
	n, size := a.bytes(), b.k.localBytes
	var at [32]int
	for mm := m; mm != 0; mm &= mm - 1 {
		i := bits.TrailingZeros32(mm) & 31
		off := int(w.addr[i] & windowMask)
		if w.addr[i]>>windowShift != localWindow>>windowShift || off+n > size {
			b.fault(w, o, i, OutOfBounds, "local[%d..%d) of %d bytes", off, off+n, size)
		}
		if off&(n-1) != 0 {
			b.fault(w, o, i, Misaligned, "local+%d, %d-byte access", off, n)
		}
		at[i] = (w.id*32+i)*size + off
		if a.store {
			setWritten(b.localSet[at[i] : at[i]+n])
		} else if b.check && !allWritten(b.localSet[at[i]:at[i]+n]) {
			b.fault(w, o, i, Uninitialised, "local+%d, which this thread has not written", off)
		}
	}
	if a.store {
		w.put(a, b.local, &at, m)
	} else {
		w.get(a, b.local, &at, m)
	}
}

// runParam loads a named parameter: the decoder has checked the offset, and all lanes get
// the same value.
func runParam(b *block, w *warp, o *op, m uint32) status {
	a := o.mem
	for j, v := range a.regs {
		w.fill(v, loadBits(b.run.params[int(a.offset)+j*int(a.size):], a.size, a.signed), m)
	}
	return next
}

// fill sets a register to the same value in lanes m.
func (w *warp) fill(v value, x uint64, m uint32) {
	if v.wide {
		d := &w.r64[v.slot]
		for ; m != 0; m &= m - 1 {
			d[firstLane(m)&31] = x
		}
		return
	}
	if v.narrow {
		x &= 0xffff
	}
	d := &w.r32[v.slot]
	for ; m != 0; m &= m - 1 {
		d[firstLane(m)&31] = uint32(x)
	}
}

func (b *block) paramAccess(w *warp, o *op, a *access, m uint32) {
	n := a.bytes()
	var at [32]int
	for mm := m; mm != 0; mm &= mm - 1 {
		i := bits.TrailingZeros32(mm) & 31
		off := int(w.addr[i] & windowMask)
		if w.addr[i]>>windowShift != paramWindow>>windowShift || off+n > len(b.run.params) {
			b.fault(w, o, i, OutOfBounds, "parameter bytes [%d..%d) of %d", off, off+n, len(b.run.params))
		}
		at[i] = off
	}
	if a.store {
		b.fault(w, o, firstLane(m), IllegalAddress, "a store to parameter memory")
	}
	w.get(a, b.run.params, &at, m)
}

// get loads registers from the offsets at of mem.
func (w *warp) get(a *access, mem []byte, at *[32]int, m uint32) {
	for j, v := range a.regs {
		off := j * int(a.size)
		if v.wide {
			d := &w.r64[v.slot]
			for mm := m; mm != 0; mm &= mm - 1 {
				i := bits.TrailingZeros32(mm) & 31
				d[i] = loadBits(mem[at[i]+off:], a.size, a.signed)
			}
			continue
		}
		d := &w.r32[v.slot]
		switch {
		case a.size == 4 && m == allLanes:
			for i := range d {
				d[i] = le.Uint32(mem[at[i]+off:])
			}
		case a.size == 4:
			for mm := m; mm != 0; mm &= mm - 1 {
				i := bits.TrailingZeros32(mm) & 31
				d[i] = le.Uint32(mem[at[i]+off:])
			}
		default:
			for mm := m; mm != 0; mm &= mm - 1 {
				i := bits.TrailingZeros32(mm) & 31
				d[i] = uint32(loadBits(mem[at[i]+off:], a.size, a.signed))
			}
		}
	}
	if a.signed && a.size < 4 {
		w.trim(a, m)
	}
}

// trim zero-extends what a signed load has sign-extended in 16-bit registers. The decoder
// gives only such registers a size of 2.
func (w *warp) trim(a *access, m uint32) {
	for _, v := range a.regs {
		if v.wide || !v.narrow {
			continue
		}
		d := &w.r32[v.slot]
		for mm := m; mm != 0; mm &= mm - 1 {
			d[bits.TrailingZeros32(mm)&31] &= 0xffff
		}
	}
}

func loadBits(p []byte, size uint8, signed bool) uint64 {
	switch size {
	case 1:
		if signed {
			return uint64(int8(p[0]))
		}
		return uint64(p[0])
	case 2:
		if signed {
			return uint64(int16(le.Uint16(p)))
		}
		return uint64(le.Uint16(p))
	case 4:
		if signed {
			return uint64(int32(le.Uint32(p)))
		}
		return uint64(le.Uint32(p))
	}
	return le.Uint64(p)
}

func storeBits(p []byte, size uint8, v uint64) {
	switch size {
	case 1:
		p[0] = byte(v)
	case 2:
		le.PutUint16(p, uint16(v))
	case 4:
		le.PutUint32(p, uint32(v))
	default:
		le.PutUint64(p, v)
	}
}

// bits is the bits that lane i stores from v.
func (w *warp) bits(v value, i int) uint64 {
	if v.wide {
		return w.r64[v.slot][i]
	}
	return uint64(w.r32[v.slot][i])
}

// put stores registers to the offsets at of mem.
func (w *warp) put(a *access, mem []byte, at *[32]int, m uint32) {
	for j, v := range a.regs {
		off := j * int(a.size)
		if a.size == 4 && !v.wide {
			s := &w.r32[v.slot]
			for mm := m; mm != 0; mm &= mm - 1 {
				i := bits.TrailingZeros32(mm) & 31
				le.PutUint32(mem[at[i]+off:], s[i])
			}
			continue
		}
		for mm := m; mm != 0; mm &= mm - 1 {
			i := bits.TrailingZeros32(mm) & 31
			storeBits(mem[at[i]+off:], a.size, w.bits(v, i))
		}
	}
}

// same reports whether memory already has the bytes that lane would store.
func (w *warp) same(a *access, mem []byte, at, lane int) bool {
	for j, v := range a.regs {
		have := loadBits(mem[at+j*int(a.size):], a.size, false)
		want := w.bits(v, lane)
		if a.size < 8 {
			want &= 1<<(8*a.size) - 1
		}
		if have != want {
			return false
		}
	}
	return true
}
