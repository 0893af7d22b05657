//go:build cgo && linux

package nccl

import (
	"context"
	"encoding/binary"
	"slices"
	"unsafe"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/third_party/nccl"
)

// AllToAll sends parts of in to the other ranks, and receives theirs.
func (j *Job) AllToAll(ctx context.Context, in, out driver.F32) error {
	return j.call(ctx, driver.Call{Kind: driver.AllToAll, In: in.Len(), Out: out.Len()}, func(queue unsafe.Pointer) error {
		return j.comm.AllToAll(in.Addr(), out.Addr(), in.Len()/j.size, queue)
	})
}

// AllGather receives the ranks' in, in order.
func (j *Job) AllGather(ctx context.Context, in, out driver.F32) error {
	return j.call(ctx, driver.Call{Kind: driver.AllGather, In: in.Len(), Out: out.Len()}, func(queue unsafe.Pointer) error {
		return j.comm.AllGather(in.Addr(), out.Addr(), in.Len(), nccl.Float32, queue)
	})
}

// ReduceScatter adds in NCCL's order.
func (j *Job) ReduceScatter(ctx context.Context, in, out driver.F32) error {
	return j.call(ctx, driver.Call{Kind: driver.ReduceScatter, In: in.Len(), Out: out.Len()}, func(queue unsafe.Pointer) error {
		return j.comm.ReduceScatter(in.Addr(), out.Addr(), out.Len(), queue)
	})
}

// staged copies in to the start of n bytes of device memory, runs call on them, and returns
// their content afterwards.
func (j *Job) staged(n int, in []byte, call func(m driver.Memory) error) ([]byte, error) {
	m, err := j.dev.Alloc(max(n, 1))
	if err != nil {
		return nil, err
	}
	defer j.dev.Free(m)
	if len(in) > 0 {
		if err := j.dev.CopyIn(m, in); err != nil {
			return nil, err
		}
	}
	if err := call(m); err != nil {
		return nil, err
	}
	out := make([]byte, n)
	return out, j.dev.CopyOut(out, m)
}

// Broadcast returns root's data: their length is sent first, then the data.
func (j *Job) Broadcast(ctx context.Context, data []byte, root int) ([]byte, error) {
	c := driver.Call{Kind: driver.Broadcast, Root: root}
	send := func(n int, in []byte) ([]byte, error) {
		return j.staged(n, in, func(m driver.Memory) error {
			return j.call(ctx, c, func(queue unsafe.Pointer) error { return j.comm.Broadcast(m.Addr(), n, root, queue) })
		})
	}
	length, err := send(8, binary.LittleEndian.AppendUint64(nil, uint64(len(data))))
	if err != nil {
		return nil, err
	}
	n := int(binary.LittleEndian.Uint64(length))
	if n == 0 {
		return []byte{}, nil
	}
	if root != j.rank {
		data = nil
	}
	return send(n, data)
}

// gather returns n bytes from each rank.
func (j *Job) gather(ctx context.Context, c driver.Call, n int, in []byte) ([]byte, error) {
	all, err := j.staged((1+j.size)*n, in, func(m driver.Memory) error {
		return j.call(ctx, c, func(queue unsafe.Pointer) error {
			return j.comm.AllGather(m.Addr(), m.Addr()+uintptr(n), n, nccl.Uint8, queue)
		})
	})
	if err != nil {
		return nil, err
	}
	return all[n:], nil
}

// lengths returns the n of each rank.
func (j *Job) lengths(ctx context.Context, c driver.Call, n int) ([]int, error) {
	all, err := j.gather(ctx, c, 8, binary.LittleEndian.AppendUint64(nil, uint64(n)))
	if err != nil {
		return nil, err
	}
	list := make([]int, j.size)
	for r := range list {
		list[r] = int(binary.LittleEndian.Uint64(all[8*r:]))
	}
	return list, nil
}

// GatherBytes returns the ranks' data, in order. On the device they take as much memory as
// if all were as long as the longest.
func (j *Job) GatherBytes(ctx context.Context, data []byte) ([][]byte, error) {
	c := driver.Call{Kind: driver.GatherBytes}
	lengths, err := j.lengths(ctx, c, len(data))
	if err != nil {
		return nil, err
	}
	out := make([][]byte, j.size)
	longest := slices.Max(lengths)
	if longest == 0 {
		return out, nil
	}
	all, err := j.gather(ctx, c, longest, data)
	if err != nil {
		return nil, err
	}
	for r, n := range lengths {
		out[r] = all[r*longest : r*longest+n : r*longest+n]
	}
	return out, nil
}

// Barrier returns when all ranks have called it.
func (j *Job) Barrier(ctx context.Context) error {
	_, err := j.lengths(ctx, driver.Call{Kind: driver.Barrier}, 0)
	return err
}
