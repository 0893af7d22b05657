package treesum

import (
	"context"
	"encoding/binary"
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/reduce"
)

// exchange adds the processes' subtrees: the pile's and, the last, v, which receives the
// sum: all of it, or with shares this process's parts.
func (r *Reducer) exchange(ctx context.Context, v vector) error {
	for _, c := range r.cuts {
		reduced, err := r.reduce(ctx, v, c)
		if err != nil {
			return err
		}
		if r.shares == nil {
			err = r.spread(ctx, c, reduced, r.send, 0, v)
		} else {
			rank := r.c.Rank()
			err = v.window(c.at[rank], c.at[rank+1], func(s driver.F32, at int) error {
				return driver.Copy(r.dev, s, reduced.Sub(at, at+s.Len()))
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// SumOf is Sum of some of the vectors, whole buckets from element lo on, for several processes of one
// lane each: it takes the lane's numbers, sum, and writes this process's parts of the sum to own,
// both as consecutive slices.
func (r *Reducer) SumOf(ctx context.Context, lo int, sum, own []driver.F32) error {
	if r.block.hi-r.block.lo != 1 {
		panic("treesum: SumOf with several lanes on a process")
	}
	v, to, rank := vector(sum), vector(own), r.c.Rank()
	hi, done := lo+v.len(), 0
	for _, c := range r.cuts {
		if c.hi() <= lo || hi <= c.lo() {
			continue
		}
		if c.lo() < lo || hi < c.hi() {
			panic(fmt.Sprintf("treesum: elements [%d, %d) cut the bucket [%d, %d)", lo, hi, c.lo(), c.hi()))
		}
		reduced, err := r.reduce(ctx, v, c.from(lo))
		if err != nil {
			return err
		}
		n := c.at[rank+1] - c.at[rank]
		if err := to.window(done, done+n, func(s driver.F32, at int) error {
			return driver.Copy(r.dev, s, reduced.Sub(at, at+s.Len()))
		}); err != nil {
			return err
		}
		done += n
	}
	return nil
}

// spread sends every process the parts of c, of which own is this one's, as long as the
// longest; v, which begins at element begins, receives them. room is working memory.
func (r *Reducer) spread(ctx context.Context, c cut, own, room driver.F32, begins int, v vector) error {
	lo, hi := c.lo()-begins, c.hi()-begins
	if to, ok := v.whole(lo, hi); ok && c.even() {
		return r.c.AllGather(ctx, own, to)
	}
	width := own.Len()
	all := room.Sub(0, width*r.c.Size())
	if err := r.c.AllGather(ctx, own, all); err != nil {
		return err
	}
	for p := range r.c.Size() {
		if err := v.window(c.at[p]-begins, c.at[p+1]-begins, func(s driver.F32, at int) error {
			return driver.Copy(r.dev, s, all.Sub(p*width+at, p*width+at+s.Len()))
		}); err != nil {
			return err
		}
	}
	return nil
}

// Gather sends every process elements [lo, lo + length of to) of all shares: own are this
// process's parts of them, and to receives all, both as consecutive slices. They do not
// overlap, or are the same memory.
func (r *Reducer) Gather(ctx context.Context, lo int, own, to []driver.F32) error {
	dst, mine := vector(to), vector(own)
	hi, rank, done := lo+dst.len(), r.c.Rank(), 0
	for _, whole := range r.cuts {
		c := whole.within(lo, hi)
		width := c.width()
		if width == 0 {
			continue
		}
		from, n := done, c.at[rank+1]-c.at[rank]
		done += n
		if width*r.c.Size() > sparse*(c.hi()-c.lo()) {
			if err := r.hand(ctx, c, mine, from, lo, dst); err != nil {
				return err
			}
			continue
		}
		part, ok := mine.whole(from, from+n)
		if !ok || n != width || c.even() { // what is sent from the memory that receives is copied first
			part = r.send.Sub(0, width)
			if err := mine.window(from, from+n, func(s driver.F32, at int) error {
				return driver.Copy(r.dev, part.Sub(at, at+s.Len()), s)
			}); err != nil {
				return err
			}
		}
		if err := r.spread(ctx, c, part, r.recv, lo, dst); err != nil {
			return err
		}
	}
	return nil
}

// sparse is how many times the numbers that are wanted an all-gather may move: in it all send as
// much as the one with the most, and of a small tensor most processes own nothing.
const sparse = 4

// hand gives every process the parts of c, by the hand of their owners, one after another; this
// one's begin at element from of mine. dst, which begins at element begins, receives them.
func (r *Reducer) hand(ctx context.Context, c cut, mine vector, from, begins int, dst vector) error {
	for p := range r.c.Size() {
		n := c.at[p+1] - c.at[p]
		if n == 0 {
			continue
		}
		values := make([]float32, n)
		var data []byte
		if p == r.c.Rank() {
			if err := mine.window(from, from+n, func(s driver.F32, at int) error {
				x, err := driver.Read(r.dev, s)
				copy(values[at:], x)
				return err
			}); err != nil {
				return err
			}
			data, _ = binary.Append(nil, binary.LittleEndian, values) // numbers have a size
		}
		data, err := r.c.Broadcast(ctx, data, p)
		if err != nil {
			return err
		}
		if read, err := binary.Decode(data, binary.LittleEndian, values); err != nil || read != len(data) {
			return fmt.Errorf("rank %d sent %d bytes for %d numbers", p, len(data), n)
		}
		if err := dst.window(c.at[p]-begins, c.at[p+1]-begins, func(s driver.F32, at int) error {
			return driver.Upload(r.dev, s, values[at:at+s.Len()])
		}); err != nil {
			return err
		}
	}
	return nil
}

// reduce is this process's part of the sum of c, as long as the longest.
func (r *Reducer) reduce(ctx context.Context, v vector, c cut) (driver.F32, error) {
	width := c.width()
	padded := width * r.c.Size()
	if r.order == Library {
		in, err := r.outgoing(v, c)
		if err != nil {
			return driver.F32{}, err
		}
		out := r.recv.Sub(0, width)
		return out, r.c.ReduceScatter(ctx, in, out)
	}
	for k := range r.rounds { // a process with fewer subtrees sends one that nobody looks at
		from := v
		if k < len(r.pile) {
			from = vector{r.pile[k].sum}
		}
		in, err := r.outgoing(from, c)
		if err != nil {
			return driver.F32{}, err
		}
		if err := r.c.AllToAll(ctx, in, r.recv.Sub(k*padded, (k+1)*padded)); err != nil {
			return driver.F32{}, err
		}
	}
	return r.climb(node{0, r.lanes}, width), nil
}

// outgoing is c of v in one piece, its parts padded to the length of the longest. The padding
// is sent and added like the rest, and dropped.
func (r *Reducer) outgoing(v vector, c cut) (driver.F32, error) {
	if s, ok := v.whole(c.lo(), c.hi()); ok && c.even() {
		return s, nil
	}
	width := c.width()
	to := r.send.Sub(0, width*r.c.Size())
	for p := range r.c.Size() {
		if err := v.window(c.at[p], c.at[p+1], func(s driver.F32, at int) error {
			return driver.Copy(r.dev, to.Sub(p*width+at, p*width+at+s.Len()), s)
		}); err != nil {
			return driver.F32{}, err
		}
	}
	return to, nil
}

// climb adds the received shares below n: those of the processes' subtrees are the leaves.
func (r *Reducer) climb(n node, share int) driver.F32 {
	process := n.lo / (r.lanes / r.c.Size())
	for k, p := range r.pieces[process] {
		if p == n {
			at := (k*r.c.Size() + process) * share
			return r.recv.Sub(at, at+share)
		}
	}
	at := n.split()
	left, right := r.climb(node{n.lo, at}, share), r.climb(node{at, n.hi}, share)
	reduce.Add(r.dev, left, right)
	return left
}
