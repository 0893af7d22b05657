//go:build cgo && linux

package mpi

import (
	"context"
	"slices"

	"dataflex.dev/dataflex/driver"
)

// floats makes a call on memory. The copies from and to the device stay on the caller's
// goroutine.
func (j *Job) floats(ctx context.Context, kind driver.CallKind, in, out driver.F32, start func(in, out []float32) error) error {
	from, err := driver.Read(j.dev, in)
	if err != nil {
		return err
	}
	return driver.Write(j.dev, out, func(to []float32) error {
		return j.call(ctx, head{Call: driver.Call{Kind: kind, In: in.Len(), Out: out.Len()}}, func([]int64) error {
			if err := start(from, to); err != nil {
				return err
			}
			return j.wait(ctx, eager)
		})
	})
}

// AllToAll sends parts of in to the other ranks, and receives theirs.
func (j *Job) AllToAll(ctx context.Context, in, out driver.F32) error {
	return j.floats(ctx, driver.AllToAll, in, out, j.lib.AllToAll)
}

// AllGather receives the ranks' in, in order.
func (j *Job) AllGather(ctx context.Context, in, out driver.F32) error {
	return j.floats(ctx, driver.AllGather, in, out, j.lib.AllGather)
}

// ReduceScatter adds in MPI's order.
func (j *Job) ReduceScatter(ctx context.Context, in, out driver.F32) error {
	return j.floats(ctx, driver.ReduceScatter, in, out, j.lib.ReduceScatter)
}

// Broadcast returns root's data.
func (j *Job) Broadcast(ctx context.Context, data []byte, root int) (all []byte, err error) {
	h := head{Call: driver.Call{Kind: driver.Broadcast, Root: root}}
	if root == j.rank {
		h.bytes = int64(len(data))
	}
	err = j.call(ctx, h, func(bytes []int64) error {
		if all = slices.Clone(data); root != j.rank {
			all = make([]byte, bytes[root])
		}
		return j.broadcast(ctx, all, root)
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// broadcast fills data on MPI's thread.
func (j *Job) broadcast(ctx context.Context, data []byte, root int) error {
	for part := range slices.Chunk(data, j.piece) {
		if err := j.lib.Broadcast(part, root); err != nil {
			return err
		}
		if err := j.wait(ctx, eager); err != nil {
			return err
		}
	}
	return nil
}

// GatherBytes returns the ranks' data, in order.
func (j *Job) GatherBytes(ctx context.Context, data []byte) ([][]byte, error) {
	out := make([][]byte, j.size)
	err := j.call(ctx, head{Call: driver.Call{Kind: driver.GatherBytes}, bytes: int64(len(data))}, func(bytes []int64) error {
		var total int64
		for _, n := range bytes {
			total += n
		}
		all, at := make([]byte, total), int64(0)
		for r, n := range bytes {
			out[r] = all[at : at+n : at+n]
			at += n
		}
		if total > int64(j.piece) {
			copy(out[j.rank], data)
			for r := range out {
				if err := j.broadcast(ctx, out[r], r); err != nil {
					return err
				}
			}
			return nil
		}
		if err := j.lib.Gather(data, all, bytes); err != nil {
			return err
		}
		return j.wait(ctx, eager)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Barrier returns when all ranks have called it: meeting the other ranks is all it has to
// do.
func (j *Job) Barrier(ctx context.Context) error {
	return j.call(ctx, head{Call: driver.Call{Kind: driver.Barrier}}, nil)
}
