package treesum

import (
	"context"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/reduce"
)

// exchange adds the processes' subtrees: the pile's and, the last, v, which receives the sum.
func (r *Reducer) exchange(ctx context.Context, v vector) error {
	size := r.c.Size()
	for lo := 0; lo < r.n; lo += r.bucket {
		hi := min(lo+r.bucket, r.n)
		share := (hi - lo + size - 1) / size
		reduced, err := r.reduce(ctx, v, lo, hi, share)
		if err != nil {
			return err
		}
		if to, ok := v.whole(lo, hi); ok && to.Len() == share*size {
			if err := r.c.AllGather(ctx, reduced, to); err != nil {
				return err
			}
			continue
		}
		all := r.send.Sub(0, share*size)
		if err := r.c.AllGather(ctx, reduced, all); err != nil {
			return err
		}
		if err := v.window(lo, hi, func(s driver.F32, at int) error {
			return driver.Copy(r.dev, s, all.Sub(at, at+s.Len()))
		}); err != nil {
			return err
		}
	}
	return nil
}

// reduce is this process's share of the sum of [lo, hi).
func (r *Reducer) reduce(ctx context.Context, v vector, lo, hi, share int) (driver.F32, error) {
	padded := share * r.c.Size()
	if r.order == Library {
		in, err := r.outgoing(v, lo, hi, padded)
		if err != nil {
			return driver.F32{}, err
		}
		out := r.recv.Sub(0, share)
		return out, r.c.ReduceScatter(ctx, in, out)
	}
	for k := range r.rounds { // a process with fewer subtrees sends one that nobody looks at
		from := v
		if k < len(r.pile) {
			from = vector{r.pile[k].sum}
		}
		in, err := r.outgoing(from, lo, hi, padded)
		if err != nil {
			return driver.F32{}, err
		}
		if err := r.c.AllToAll(ctx, in, r.recv.Sub(k*padded, (k+1)*padded)); err != nil {
			return driver.F32{}, err
		}
	}
	return r.climb(node{0, r.lanes}, share), nil
}

// outgoing is [lo, hi) of v in one piece of padded floats. What lies behind hi is sent and
// added like the rest, and dropped.
func (r *Reducer) outgoing(v vector, lo, hi, padded int) (driver.F32, error) {
	if s, ok := v.whole(lo, hi); ok && s.Len() == padded {
		return s, nil
	}
	to := r.send.Sub(0, padded)
	return to, v.window(lo, hi, func(s driver.F32, at int) error {
		return driver.Copy(r.dev, to.Sub(at, at+s.Len()), s)
	})
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
