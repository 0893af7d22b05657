// Package treesum adds up what the ranks of a job have computed, in an order that does not
// depend on how many processes there are.
//
// A job has a fixed number of lanes: the ranks that it simulates. The number of processes may
// be smaller; it divides the number of lanes, and each process computes a block of consecutive
// lanes. The sum of all lanes goes over one binary tree, neighbours
// first: (0+1)+(2+3) of four, ((0+1)+(2+3))+(4+5) of six. A process adds the subtrees that lie
// in its block. Between processes every rank is sent a share of each of those sums
// (all-to-all), adds the shares along the rest of the tree, and gathers the result
// (all-gather). One process with eight lanes and eight with one give the same bits.
//
// Where the processes' blocks are subtrees, which they are for powers of two, a process sends
// 2·(W−1)/W of the vector, as much as a ring's all-reduce does.
package treesum

import "math/bits"

// node is a subtree: the lanes [lo, hi).
type node struct{ lo, hi int }

// split is where the right child of n begins: after as many lanes as the largest power of
// two below their number. That is the tree which pairing neighbours makes, level by level,
// when the last of an odd number is passed on to the next level as it is.
func (n node) split() int { return n.lo + 1<<(bits.Len(uint(n.hi-n.lo-1))-1) }

// siblings reports whether a and b are the children of one node of the tree of all lanes.
func siblings(lanes int, a, b node) bool {
	n := node{0, lanes}
	for n.hi-n.lo > 1 {
		at := n.split()
		switch {
		case a == (node{n.lo, at}) && b == (node{at, n.hi}):
			return true
		case b.hi <= at:
			n.hi = at
		case a.lo >= at:
			n.lo = at
		default:
			return false
		}
	}
	return false
}

// within are the largest subtrees of n that lie in [lo, hi), from left to right.
func (n node) within(lo, hi int) []node {
	if n.lo >= hi || n.hi <= lo {
		return nil
	}
	if n.lo >= lo && n.hi <= hi {
		return []node{n}
	}
	at := n.split()
	return append(node{n.lo, at}.within(lo, hi), node{at, n.hi}.within(lo, hi)...)
}

// stacked is the most subtrees that wait for their siblings when the lanes of [lo, hi) but
// for the last are added one after another.
func stacked(lanes, lo, hi int) (most int) {
	var pile []node
	for lane := lo; lane < hi-1; lane++ {
		n := node{lane, lane + 1}
		for len(pile) > 0 && siblings(lanes, pile[len(pile)-1], n) {
			n.lo = pile[len(pile)-1].lo
			pile = pile[:len(pile)-1]
		}
		pile = append(pile, n)
		most = max(most, len(pile))
	}
	return most
}
