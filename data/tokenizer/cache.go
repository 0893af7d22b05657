package tokenizer

import (
	"encoding/binary"
	"hash/maphash"
	"strings"
	"sync/atomic"
	"unsafe"
)

// Words recur. Two caches hold them: a small one for each running Encode, whose entries are
// flat (a hit touches one cache line), and behind it one shared by all.

const (
	shortWord = 16 // bytes: what fits a shortEntry
	shortIDs  = 3
	shortBits = 14 // 1 << 14 sets of 64 bytes

	sharedSize    = 1 << 17
	sharedMaxWord = 64 // bytes; longer words rarely recur
)

// shortEntry is a word of at most 16 bytes and its ids, 32 bytes in all.
type shortEntry struct {
	lo, hi uint64
	ids    [shortIDs]int32
	length uint8 // of the word; 0 = empty
	count  uint8
}

type shortCache [1 << shortBits][2]shortEntry

// pack packs a word of at most 16 bytes into two integers, unique among words of its length.
func pack(w string) (lo, hi uint64) {
	b := unsafe.Slice(unsafe.StringData(w), len(w))
	switch n := len(b); {
	case n >= 8:
		return binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[n-8:])
	case n >= 4:
		return uint64(binary.LittleEndian.Uint32(b)) | uint64(binary.LittleEndian.Uint32(b[n-4:]))<<32, 0
	default:
		return uint64(b[0]) | uint64(b[n/2])<<8 | uint64(b[n-1])<<16, 0
	}
}

// word appends the ids of w.
func (m *bpe) word(dst []int32, w string, s *scratch) []int32 {
	if len(w) > shortWord {
		return append(dst, m.shared(w, s)...)
	}
	lo, hi := pack(w)
	set := &s.short[(lo^hi*hashMult+uint64(len(w)))*hashMult>>(64-shortBits)]
	for i := range set {
		if e := &set[i]; e.lo == lo && e.hi == hi && int(e.length) == len(w) {
			return append(dst, e.ids[:e.count]...)
		}
	}
	ids := m.shared(w, s)
	if len(ids) <= shortIDs {
		set[1] = set[0]
		set[0] = shortEntry{lo: lo, hi: hi, length: uint8(len(w)), count: uint8(len(ids))}
		copy(set[0].ids[:], ids)
	}
	return append(dst, ids...)
}

// sharedCache is read and written without a lock: entries are replaced, never modified.
type sharedCache struct {
	seed  maphash.Seed
	slots []atomic.Pointer[sharedEntry]
}

type sharedEntry struct {
	word string
	ids  []int32
}

func newSharedCache() sharedCache {
	return sharedCache{maphash.MakeSeed(), make([]atomic.Pointer[sharedEntry], sharedSize)}
}

// shared returns the ids of w, which the caller must not keep.
func (m *bpe) shared(w string, s *scratch) []int32 {
	if len(w) > sharedMaxWord {
		return m.encode(w, s)
	}
	slot := &m.cache.slots[maphash.String(m.cache.seed, w)&(sharedSize-1)]
	if e := slot.Load(); e != nil && e.word == w {
		return e.ids
	}
	ids := m.encode(w, s)
	slot.Store(&sharedEntry{strings.Clone(w), append([]int32(nil), ids...)})
	return ids
}
