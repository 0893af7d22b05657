package sim

import (
	"encoding/binary"
	"math/bits"
)

var le = binary.LittleEndian

// sharedAccess executes a load or store of lanes m, whose addresses are in w.addr.
func (b *block) sharedAccess(w *warp, o *op, a *access, m uint32) {
	n := a.bytes()
	if !a.store && b.sharedBroadcast(w, o, a, m, n) {
		return
	}
	var at [32]int
	for mm := m; mm != 0; mm &= mm - 1 {
		i := bits.TrailingZeros32(mm) & 31
		at[i] = b.sharedAddress(w, o, i, w.addr[i], n)
	}
	if b.count {
		b.wavefronts(&b.counts[o.index], &w.addr, m, n)
	}
	if b.check {
		for mm := m; mm != 0; mm &= mm - 1 {
			i := bits.TrailingZeros32(mm) & 31
			if a.store {
				b.checkStore(w, o, a, i, at[i], n)
			} else {
				b.checkLoad(w, o, a, i, at[i], n)
			}
		}
	}
	if a.store {
		w.put(a, b.smem, &at, m)
		b.progress = true
	} else {
		w.get(a, b.smem, &at, m)
	}
}

// sharedBroadcast is a load of one address by all lanes, checked once.
func (b *block) sharedBroadcast(w *warp, o *op, a *access, m uint32, n int) bool {
	addr := w.addr[0]
	if m != allLanes || w.addr[31] != addr || a.sync {
		return false
	}
	for _, v := range w.addr {
		if v != addr {
			return false
		}
	}
	at := b.sharedAddress(w, o, 0, addr, n)
	if b.count {
		c := &b.counts[o.index]
		c.requests++
		groups := uint64(1)
		if n >= 8 {
			groups = uint64(n / 4)
		}
		c.units += groups
		c.ideal += groups
	}
	if b.check {
		if !allWritten(b.state[at : at+n]) {
			b.badState(w, o, 0, at, n)
		}
		b.noteRead(w, o, 0, at, n)
		b.noteRead(w, o, 31, at, n)
		for q := at >> 2; q < (at+n+3)>>2; q++ { // a lane that wrote it itself cannot be checked for the others
			if s := &b.shadow[q]; s.wStamp >= b.base && (int(s.wTid)&^31 == w.id*32 || several(s.wTid)) {
				for i := range 32 {
					b.noteRead(w, o, i, at, n)
				}
				break
			}
		}
	}
	for j, v := range a.regs {
		w.fill(v, loadBits(b.smem[at+j*int(a.size):], a.size, a.signed), m)
	}
	return true
}

// sharedAddress checks n bytes at a shared address and returns their offset in smem.
func (b *block) sharedAddress(w *warp, o *op, lane int, addr uint64, n int) int {
	if addr < sharedBase || addr+uint64(n) > uint64(len(b.smem)) || addr > 1<<31 {
		b.fault(w, o, lane, OutOfBounds, "shared[%d..%d) of %d bytes", int64(addr)-sharedBase, int64(addr)-sharedBase+int64(n), len(b.smem)-sharedBase)
	}
	if addr&uint64(n-1) != 0 {
		b.fault(w, o, lane, Misaligned, "shared+%d, %d-byte access", addr-sharedBase, n)
	}
	return int(addr)
}

func (b *block) checkLoad(w *warp, o *op, a *access, lane, at, n int) {
	if !allWritten(b.state[at : at+n]) {
		b.badState(w, o, lane, at, n)
	}
	if !a.sync {
		b.noteRead(w, o, lane, at, n)
	}
}

func (b *block) checkStore(w *warp, o *op, a *access, lane, at, n int) {
	st := b.state[at : at+n]
	if !plainState(st) {
		b.badState(w, o, lane, at, n)
	}
	if !a.sync {
		b.noteWrite(w, o, lane, at, n, w.same(a, b.smem, at, lane))
	}
	setWritten(st)
}

// badState faults for bytes that may not be read or overwritten now.
func (b *block) badState(w *warp, o *op, lane, at, n int) {
	for i, v := range b.state[at : at+n] {
		switch v {
		case inFlight:
			b.fault(w, o, lane, AsyncHazard, "shared+%d is the target of an asynchronous copy that was not waited for", at+i-sharedBase)
		case asBarrier:
			b.fault(w, o, lane, BadMbarrier, "shared+%d holds an mbarrier", at+i-sharedBase)
		case unwritten:
			b.fault(w, o, lane, Uninitialised, "shared+%d, which nobody has written", at+i-sharedBase)
		}
	}
}

const writtenWord = 0x0101010101010101

func allWritten(v []byte) bool {
	switch len(v) {
	case 4:
		return le.Uint32(v) == writtenWord&0xffffffff
	case 8:
		return le.Uint64(v) == writtenWord
	case 16:
		return le.Uint64(v) == writtenWord && le.Uint64(v[8:]) == writtenWord
	}
	for len(v) >= 8 {
		if le.Uint64(v) != writtenWord {
			return false
		}
		v = v[8:]
	}
	for _, x := range v {
		if x != written {
			return false
		}
	}
	return true
}

// plainState reports that no byte is in flight or part of an mbarrier.
func plainState(v []byte) bool {
	for len(v) >= 8 {
		if le.Uint64(v)&^writtenWord != 0 {
			return false
		}
		v = v[8:]
	}
	for _, x := range v {
		if x > written {
			return false
		}
	}
	return true
}

func setWritten(v []byte) {
	for len(v) >= 8 {
		le.PutUint64(v, writtenWord)
		v = v[8:]
	}
	for i := range v {
		v[i] = written
	}
}

// wavefronts counts the passes of a request: 8-byte accesses are split into half warps,
// 16-byte accesses into quarters, and each takes as many passes as the fullest bank has
// distinct words.
func (b *block) wavefronts(c *opCount, addr *row64, m uint32, n int) {
	per := 32
	switch n {
	case 8:
		per = 16
	case 16:
		per = 8
	}
	c.requests++
	for g := 0; g < 32; g += per {
		part := m >> g
		if per < 32 {
			part &= 1<<per - 1
		}
		if part == 0 {
			continue
		}
		c.ideal++
		c.units += uint64(passes(addr[g:g+per], part, max(n/4, 1)))
	}
}

// passes is the largest number of distinct words in one bank.
func passes(addr []uint64, m uint32, words int) int {
	var first [32]uint32 // the first word in each bank, plus one
	conflict := false
	for mm := m; mm != 0; mm &= mm - 1 {
		wd := uint32(addr[bits.TrailingZeros32(mm)] >> 2)
		for j := range uint32(words) {
			f := &first[(wd+j)&31]
			if *f == 0 {
				*f = wd + j + 1
			} else if *f != wd+j+1 {
				conflict = true
			}
		}
	}
	if !conflict {
		return 1
	}
	var seen [32][]uint32
	most := 0
	for mm := m; mm != 0; mm &= mm - 1 {
		wd := uint32(addr[bits.TrailingZeros32(mm)] >> 2)
		for j := range uint32(words) {
			bank := &seen[(wd+j)&31]
			dup := false
			for _, x := range *bank {
				dup = dup || x == wd+j
			}
			if !dup {
				*bank = append(*bank, wd+j)
				most = max(most, len(*bank))
			}
		}
	}
	return most
}
