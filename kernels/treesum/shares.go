package treesum

import (
	"slices"
	"sort"

	"dataflex.dev/dataflex/kernels/reduce"
)

// Shares assigns the elements of consecutive vectors to the processes that own them: of
// every bucket each a part of about the same size, in whole blocks of a vector (its last one
// may be short): those of which kernels/reduce makes one leaf of a sum of squares, so that the
// leaves are the same however many processes there are. It is a function of the lengths and of
// the number of processes alone.
type Shares struct {
	starts []int // of the vectors; the last is where all end
	cuts   []cut
}

// cut is a part of the vectors that travels at a time: process p owns [at[p], at[p+1]).
type cut struct{ at []int }

func (c cut) lo() int { return c.at[0] }
func (c cut) hi() int { return c.at[len(c.at)-1] }

// width is the largest part.
func (c cut) width() (w int) {
	for p := range len(c.at) - 1 {
		w = max(w, c.at[p+1]-c.at[p])
	}
	return w
}

// even: the parts are equal, so that a message has the layout of the memory.
func (c cut) even() bool { return c.width()*(len(c.at)-1) == c.hi()-c.lo() }

// from is c with places counted from that one on.
func (c cut) from(lo int) cut {
	at := slices.Clone(c.at)
	for i := range at {
		at[i] -= lo
	}
	return cut{at}
}

// within is the part of c in [lo, hi), empty where they have nothing in common.
func (c cut) within(lo, hi int) cut {
	at := slices.Clone(c.at)
	for i, x := range at {
		at[i] = min(max(x, lo), hi)
	}
	return cut{at}
}

// NewShares assigns vectors of those lengths to that many processes. A bucket ends where a
// vector named in ends does, so that the vectors between two ends can be added alone (SumOf).
func NewShares(lengths []int, processes int, ends ...int) *Shares {
	return newShares(lengths, processes, bucket, reduce.Leaf, ends...)
}

func newShares(lengths []int, processes, bucket, block int, ends ...int) *Shares {
	s := &Shares{starts: []int{0}}
	for _, n := range lengths {
		s.starts = append(s.starts, s.len()+n)
	}
	// up is the next place from x on where a block begins.
	up := func(x int) int {
		i := sort.SearchInts(s.starts, x+1) - 1 // the vector that contains x
		if i+1 == len(s.starts) {
			return x
		}
		return min(s.starts[i]+(x-s.starts[i]+block-1)/block*block, s.starts[i+1])
	}
	for lo, n := 0, s.len(); lo < n; {
		hi := up(min(lo+bucket, n))
		for _, vector := range ends {
			if end := s.starts[vector+1]; lo < end {
				hi = min(hi, end)
			}
		}
		at := make([]int, processes+1)
		for p := range at {
			at[p] = up(lo + int(int64(hi-lo)*int64(p)/int64(processes)))
		}
		s.cuts = append(s.cuts, cut{at})
		lo = hi
	}
	return s
}

// equal cuts n elements into buckets of equal parts, but for the last ones.
func equal(n, processes, bucket int) (cuts []cut) {
	for lo := 0; lo < n; lo += bucket {
		hi := min(lo+bucket, n)
		share := (hi - lo + processes - 1) / processes
		at := make([]int, processes+1)
		for p := range at {
			at[p] = min(lo+p*share, hi)
		}
		cuts = append(cuts, cut{at})
	}
	return cuts
}

func (s *Shares) len() int { return s.starts[len(s.starts)-1] }

// Start is where a vector begins.
func (s *Shares) Start(vector int) int { return s.starts[vector] }

// Part is elements [From, To) of a vector.
type Part struct{ Vector, From, To int }

// Of lists what a process owns, from the first element to the last.
func (s *Shares) Of(process int) (parts []Part) {
	for _, c := range s.cuts {
		lo, hi := c.at[process], c.at[process+1]
		for i := max(0, sort.SearchInts(s.starts, lo+1)-1); i+1 < len(s.starts) && s.starts[i] < hi; i++ {
			if from, to := max(lo, s.starts[i]), min(hi, s.starts[i+1]); from < to {
				parts = append(parts, Part{i, from - s.starts[i], to - s.starts[i]})
			}
		}
	}
	return parts
}
