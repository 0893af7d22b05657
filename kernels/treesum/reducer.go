package treesum

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"dataflex.dev/dataflex/driver"
)

// Order is who decides in which order the lanes are added.
type Order uint8

const (
	Tree    Order = iota // the fixed tree: the bits do not depend on the number of processes
	Library              // the library that connects them: they do, and on its version
)

// bucket is the number of floats sent at a time, or up to a block more: the buffers between
// processes take 64 MiB each.
const bucket = 1 << 24

// Reducer adds the gradients of a step's lanes. All its memory is allocated by New. In
// each step the loop computes the lanes that Lanes returns, in that order, and passes the sums
// of all but the last to Add and the last one's to Sum.
type Reducer struct {
	dev    driver.Device
	c      driver.Collective
	order  Order
	lanes  int
	n      int
	block  node // of this process
	next   int  // the lane whose sum comes next
	pile   []partial
	free   []driver.F32
	mems   []driver.Memory
	pieces [][]node   // the subtrees that each process adds by itself
	rounds int        // the most of them in a process
	shares *Shares    // of which a process receives its own parts of the sum; nil: it receives all
	cuts   []cut      // what travels at a time
	send   driver.F32 // a bucket, where the vector has it in pieces
	recv   driver.F32 // a bucket for every round
}

// partial is the sum of a subtree that waits for its sibling's.
type partial struct {
	node
	sum driver.F32
}

// New makes a reducer for vectors of n floats on dev. The processes of c must divide lanes.
func New(dev driver.Device, c driver.Collective, lanes, n int, order Order) (*Reducer, error) {
	return newReducer(dev, c, lanes, n, order, nil, equal(n, c.Size(), bucket))
}

// NewShared makes a reducer of which each process receives its own parts alone.
func NewShared(dev driver.Device, c driver.Collective, lanes int, shares *Shares, order Order) (*Reducer, error) {
	return newReducer(dev, c, lanes, shares.len(), order, shares, shares.cuts)
}

func newReducer(dev driver.Device, c driver.Collective, lanes, n int, order Order, shares *Shares, cuts []cut) (*Reducer, error) {
	size := c.Size()
	if lanes < 1 || lanes%size != 0 {
		return nil, fmt.Errorf("%d ranks on %d processes: a process computes for whole ranks; start one of %s processes", lanes, size, divisors(lanes))
	}
	per := lanes / size
	r := &Reducer{dev: dev, c: c, order: order, lanes: lanes, n: n, shares: shares, cuts: cuts}
	for p := range size {
		r.pieces = append(r.pieces, node{0, lanes}.within(p*per, (p+1)*per))
		r.rounds = max(r.rounds, len(r.pieces[p]))
	}
	r.block = node{c.Rank() * per, (c.Rank() + 1) * per}
	r.next = r.block.lo
	for range stacked(lanes, r.block.lo, r.block.hi) {
		s, err := r.alloc(n)
		if err != nil {
			return nil, err
		}
		r.free = append(r.free, s)
	}
	if size == 1 {
		return r, nil
	}
	if order == Library {
		r.rounds = 1
	}
	padded := 0
	for _, c := range cuts {
		padded = max(padded, c.width()*size)
	}
	var err error
	if r.send, err = r.alloc(padded); err == nil {
		r.recv, err = r.alloc(padded * r.rounds)
	}
	return r, err
}

func (r *Reducer) alloc(n int) (driver.F32, error) {
	m, err := r.dev.Alloc(4 * n)
	if err != nil {
		r.Close()
		return driver.F32{}, fmt.Errorf("sums of %d ranks' gradients, %d floats each: %w", r.lanes, r.n, err)
	}
	r.mems = append(r.mems, m)
	return driver.View[float32](m), nil
}

// Close frees the memory.
func (r *Reducer) Close() {
	for _, m := range r.mems {
		r.dev.Free(m)
	}
	r.mems = nil
}

// divisors lists the numbers that divide n.
func divisors(n int) string {
	var list []string
	for d := 1; d <= n; d++ {
		if n%d == 0 {
			list = append(list, fmt.Sprint(d))
		}
	}
	return strings.Join(list, ", ")
}

// Lanes are this process's, [lo, hi).
func (r *Reducer) Lanes() (lo, hi int) { return r.block.lo, r.block.hi }

// Add takes the next lane's sum: sum, one slice after another, is n floats. It is copied or
// added before other work on the device, so that the caller may go on with the memory.
func (r *Reducer) Add(sum ...driver.F32) error {
	if r.next >= r.block.hi-1 {
		panic("treesum: the last lane's sum goes to Sum")
	}
	v := r.check(sum)
	n := node{r.next, r.next + 1}
	r.next++
	for len(r.pile) > 0 && siblings(r.lanes, r.top().node, n) {
		top := r.top()
		r.pile = r.pile[:len(r.pile)-1]
		vector{top.sum}.add(r.dev, v)
		if n.hi-n.lo > 1 {
			r.free = append(r.free, v[0])
		}
		n, v = node{top.lo, n.hi}, vector{top.sum}
	}
	if n.hi-n.lo == 1 {
		own := r.free[len(r.free)-1]
		if err := v.window(0, r.n, func(s driver.F32, at int) error {
			return driver.Copy(r.dev, own.Sub(at, at+s.Len()), s)
		}); err != nil {
			return err
		}
		r.free, v = r.free[:len(r.free)-1], vector{own}
	}
	r.pile = append(r.pile, partial{n, v[0]})
	return nil
}

func (r *Reducer) top() partial { return r.pile[len(r.pile)-1] }

// check is the sum of a lane as a vector; another length is a programmer's error.
func (r *Reducer) check(sum []driver.F32) vector {
	v := vector(slices.DeleteFunc(slices.Clone(sum), func(s driver.F32) bool { return s.Len() == 0 }))
	if v.len() != r.n {
		panic(fmt.Sprintf("treesum: a sum of %d floats, want %d", v.len(), r.n))
	}
	return v
}

// Reset drops the sums passed to Add since the last Sum: the step is repeated.
func (r *Reducer) Reset() {
	for _, p := range r.pile {
		r.free = append(r.free, p.sum)
	}
	r.pile, r.next = r.pile[:0], r.block.lo
}

// Sum takes the last lane's sum, in slices as Add does, and overwrites it with the sum of
// all lanes of all processes, the same bits on each; with shares it does so with the parts that
// this process owns, and leaves the elements of the others undefined. After an error the step
// cannot be completed: sum is undefined, and the collective has failed.
func (r *Reducer) Sum(ctx context.Context, sum ...driver.F32) error {
	if r.next != r.block.hi-1 {
		panic(fmt.Sprintf("treesum: Sum after %d of %d lanes", r.next-r.block.lo+1, r.block.hi-r.block.lo))
	}
	v := r.check(sum)
	n := node{r.next, r.block.hi}
	for len(r.pile) > 0 && (r.order == Library || siblings(r.lanes, r.top().node, n)) {
		top := r.top()
		v.add(r.dev, vector{top.sum})
		r.pile, r.free = r.pile[:len(r.pile)-1], append(r.free, top.sum)
		n.lo = top.lo
	}
	var err error
	if r.c.Size() > 1 {
		err = r.exchange(ctx, v)
	}
	r.Reset()
	return err
}
