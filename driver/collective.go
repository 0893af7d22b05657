package driver

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
)

// Collective moves data between the processes of one job, its ranks. Every rank makes the
// same calls in the same order with matching lengths, one call at a time. Calls on memory
// are ordered in the device's own queue as kernels are; in and out do not overlap. A call
// that cannot complete (a rank is dead or slow, ctx is done) returns an error that names the
// rank, the call and, if known, the missing ranks; every later call returns the same error.
//
// driver/nccl connects GPUs, driver/mpi processes on CPUs, driver/lanes goroutines of one
// process.
type Collective interface {
	Rank() int // of this process, from 0
	Size() int // processes of the job, at least 1

	// AllToAll sends the i-th of Size equal parts of in to rank i, and receives rank i's part
	// for this rank into the i-th of Size equal parts of out.
	AllToAll(ctx context.Context, in, out F32) error
	// AllGather receives the ranks' in, in the order of ranks: out is Size times as long as in.
	AllGather(ctx context.Context, in, out F32) error
	// ReduceScatter adds the ranks' in, which is Size times as long as out, and receives the
	// Rank-th part of the sum. The library chooses the order of the additions: the bits may
	// depend on Size and on the library. The sums of kernels/treesum do not.
	ReduceScatter(ctx context.Context, in, out F32) error
	// Broadcast returns root's data, of any length, on every rank.
	Broadcast(ctx context.Context, data []byte, root int) ([]byte, error)
	// GatherBytes returns the ranks' data, in the order of ranks. Their lengths may differ.
	GatherBytes(ctx context.Context, data []byte) ([][]byte, error)
	// Barrier returns when all ranks have called it.
	Barrier(ctx context.Context) error

	// Abort ends the job: from then on this rank's calls return why, and the other ranks are
	// informed as far as the library is able to. It may be called during another call.
	Abort(why error)
	// Close leaves the job; after an error it does not wait for other ranks.
	Close() error
}

// Solo is the job of a single process: its calls copy from in to out on dev.
func Solo(dev Device) Collective { return &solo{dev: dev} }

type solo struct {
	dev Device
	why atomic.Pointer[error] // the reason given to Abort
}

func (s *solo) Rank() int { return 0 }
func (s *solo) Size() int { return 1 }

func (s *solo) AllToAll(ctx context.Context, in, out F32) error {
	return s.copy(ctx, Call{Kind: AllToAll, In: in.Len(), Out: out.Len()}, in, out)
}

func (s *solo) AllGather(ctx context.Context, in, out F32) error {
	return s.copy(ctx, Call{Kind: AllGather, In: in.Len(), Out: out.Len()}, in, out)
}

func (s *solo) ReduceScatter(ctx context.Context, in, out F32) error {
	return s.copy(ctx, Call{Kind: ReduceScatter, In: in.Len(), Out: out.Len()}, in, out)
}

func (s *solo) Broadcast(ctx context.Context, data []byte, root int) ([]byte, error) {
	if err := s.check(ctx, Call{Kind: Broadcast, Root: root}); err != nil {
		return nil, err
	}
	return slices.Clone(data), nil
}

func (s *solo) GatherBytes(ctx context.Context, data []byte) ([][]byte, error) {
	if err := s.check(ctx, Call{Kind: GatherBytes}); err != nil {
		return nil, err
	}
	return [][]byte{slices.Clone(data)}, nil
}

func (s *solo) Barrier(ctx context.Context) error { return s.check(ctx, Call{Kind: Barrier}) }
func (s *solo) Abort(why error)                   { s.why.CompareAndSwap(nil, &why) }
func (s *solo) Close() error                      { return nil }

func (s *solo) check(ctx context.Context, c Call) error {
	if why := s.why.Load(); why != nil {
		return *why
	}
	if ctx.Err() != nil {
		return fmt.Errorf("rank 0 of 1: %v: %w", c, context.Cause(ctx))
	}
	return c.Check(1)
}

func (s *solo) copy(ctx context.Context, c Call, in, out F32) error {
	if err := s.check(ctx, c); err != nil {
		return err
	}
	return Copy(s.dev, out, in)
}
