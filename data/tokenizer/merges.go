package tokenizer

import "math/bits"

// merge is the result of merging a pair of tokens, with its rank.
type merge struct {
	rank, id int32
}

// mergeTable maps a pair of ids to its merge: open addressing with linear
// probing, at most half full. It is read by many goroutines and never written
// after loading.
type mergeTable struct {
	keys  []uint64
	vals  []merge
	shift uint
}

const (
	noPair   = ^uint64(0)
	noMerge  = int32(1<<31 - 1) // rank of a pair that does not merge
	hashMult = 0x9e3779b97f4a7c15
)

func pairKey(a, b int32) uint64 { return uint64(uint32(a))<<32 | uint64(uint32(b)) }

func newMergeTable(n int) *mergeTable {
	logSize := uint(bits.Len(uint(2*n + 1)))
	t := &mergeTable{keys: make([]uint64, 1<<logSize), vals: make([]merge, 1<<logSize), shift: 64 - logSize}
	for i := range t.keys {
		t.keys[i] = noPair
	}
	return t
}

// put stores m; of two merges of one pair the later counts, as in the library.
func (t *mergeTable) put(a, b int32, m merge) {
	key := pairKey(a, b)
	i := key * hashMult >> t.shift
	for t.keys[i] != noPair && t.keys[i] != key {
		i = (i + 1) & uint64(len(t.keys)-1)
	}
	t.keys[i], t.vals[i] = key, m
}

// get returns the merge of a and b; where there is none, its rank is noMerge.
func (t *mergeTable) get(a, b int32) merge {
	key := pairKey(a, b)
	i := key * hashMult >> t.shift
	for {
		switch t.keys[i] {
		case key:
			return t.vals[i]
		case noPair:
			return merge{rank: noMerge}
		}
		i = (i + 1) & uint64(len(t.keys)-1)
	}
}

// scratch is the working memory of one Encode call.
type scratch struct {
	short      shortCache
	symbols    []int32
	merges     []merge
	prev, next []int32
	queue      []queued
	word       []byte
}

// linearLimit is the length above which the queue is faster than the linear scan.
const linearLimit = 100

// apply merges symbols in place, lowest rank first and leftmost among equals, and returns the
// remaining ones.
func (t *mergeTable) apply(symbols []int32, s *scratch) []int32 {
	if len(symbols) < 2 {
		return symbols
	}
	if len(symbols) > linearLimit {
		return t.applyQueue(symbols, s)
	}
	// merges[i] is the merge of symbols i and i+1, kept up to date so that a pair is looked up
	// only once.
	merges := s.merges[:0]
	for i := range len(symbols) - 1 {
		merges = append(merges, t.get(symbols[i], symbols[i+1]))
	}
	s.merges = merges
	for {
		best, at := noMerge, -1
		for i := range merges {
			if merges[i].rank < best {
				best, at = merges[i].rank, i
			}
		}
		if at < 0 {
			return symbols
		}
		symbols[at] = merges[at].id
		symbols = append(symbols[:at+1], symbols[at+2:]...)
		merges = append(merges[:at], merges[at+1:]...)
		if at > 0 {
			merges[at-1] = t.get(symbols[at-1], symbols[at])
		}
		if at < len(merges) {
			merges[at] = t.get(symbols[at], symbols[at+1])
		}
	}
}

// queued is a pair waiting to be merged: key is rank<<32 | position.
type queued struct {
	key         uint64
	left, right int32
	id          int32
}

// applyQueue is apply for long words: a linked list and a heap.
func (t *mergeTable) applyQueue(symbols []int32, s *scratch) []int32 {
	n := int32(len(symbols))
	prev, next := s.prev[:0], s.next[:0]
	for i := range n {
		prev, next = append(prev, i-1), append(next, i+1)
	}
	s.prev, s.next, s.queue = prev, next, s.queue[:0]
	add := func(i, j int32) {
		if m := t.get(symbols[i], symbols[j]); m.rank != noMerge {
			s.push(queued{uint64(uint32(m.rank))<<32 | uint64(uint32(i)), symbols[i], symbols[j], m.id})
		}
	}
	for i := range n - 1 {
		add(i, i+1)
	}
	for len(s.queue) > 0 {
		q := s.pop()
		i := int32(uint32(q.key))
		j := next[i]
		if symbols[i] != q.left || j >= n || symbols[j] != q.right {
			continue // one of the two was merged since
		}
		symbols[i], symbols[j] = q.id, -1
		next[i] = next[j]
		if next[i] < n {
			prev[next[i]] = i
			add(i, next[i])
		}
		if prev[i] >= 0 {
			add(prev[i], i)
		}
	}
	kept := symbols[:0]
	for i := int32(0); i < n; i = next[i] {
		kept = append(kept, symbols[i])
	}
	return kept
}

// push and pop keep queue a binary heap with the smallest key on top.
func (s *scratch) push(q queued) {
	h := append(s.queue, q)
	i := len(h) - 1
	for i > 0 && h[(i-1)/2].key > q.key {
		h[i] = h[(i-1)/2]
		i = (i - 1) / 2
	}
	h[i] = q
	s.queue = h
}

func (s *scratch) pop() queued {
	h := s.queue
	top, last := h[0], h[len(h)-1]
	h = h[:len(h)-1]
	s.queue = h
	if len(h) == 0 {
		return top
	}
	i := 0
	for {
		child := 2*i + 1
		if child >= len(h) {
			break
		}
		if child+1 < len(h) && h[child+1].key < h[child].key {
			child++
		}
		if h[child].key >= last.key {
			break
		}
		h[i] = h[child]
		i = child
	}
	h[i] = last
	return top
}
