package lanes

import (
	"context"
	"slices"

	"dataflex.dev/dataflex/driver"
)

// Rank is one rank of a job. Like every Collective it makes one call at a time.
type Rank struct {
	job  *job
	rank int
	dev  driver.Device
	sent map[driver.CallKind]Sent
}

var _ driver.Collective = (*Rank)(nil)

// Sent is what a rank has sent to the others in calls of one kind: the payload that leaves
// it in a pairwise exchange or a ring, in which nothing is sent twice.
type Sent struct {
	Calls    int
	Messages int
	Bytes    int64
}

// Sent returns what this rank has sent, by the kind of call. It must not be called during
// another call.
func (k *Rank) Sent() map[driver.CallKind]Sent { return k.sent }

// count records a call in which this rank sends that many bytes to every other rank.
func (k *Rank) count(kind driver.CallKind, each int) {
	if k.sent == nil {
		k.sent = map[driver.CallKind]Sent{}
	}
	s, others := k.sent[kind], k.Size()-1
	k.sent[kind] = Sent{s.Calls + 1, s.Messages + others, s.Bytes + int64(others)*int64(each)}
}

// Rank is this rank's number, Size the number of ranks.
func (k *Rank) Rank() int { return k.rank }
func (k *Rank) Size() int { return len(k.job.left) }

// floats makes a call on memory: every rank contributes a copy of its in, and pick computes
// out from all of them.
func (k *Rank) floats(ctx context.Context, kind driver.CallKind, in, out driver.F32, each int, pick func(all []*post, out []float32)) error {
	host, err := driver.Read(k.dev, in)
	if err != nil {
		return err
	}
	all, err := k.meet(ctx, &post{call: driver.Call{Kind: kind, In: in.Len(), Out: out.Len()}, floats: slices.Clone(host)})
	if err != nil {
		return err
	}
	k.count(kind, 4*each)
	return driver.Write(k.dev, out, func(out []float32) error {
		pick(all, out)
		return nil
	})
}

// AllToAll sends parts of in to the other ranks, and receives theirs.
func (k *Rank) AllToAll(ctx context.Context, in, out driver.F32) error {
	n := in.Len() / k.Size()
	return k.floats(ctx, driver.AllToAll, in, out, n, func(all []*post, out []float32) {
		for r, p := range all {
			copy(out[r*n:(r+1)*n], p.floats[k.rank*n:])
		}
	})
}

// AllGather receives the ranks' in, in order.
func (k *Rank) AllGather(ctx context.Context, in, out driver.F32) error {
	n := in.Len()
	return k.floats(ctx, driver.AllGather, in, out, n, func(all []*post, out []float32) {
		for r, p := range all {
			copy(out[r*n:(r+1)*n], p.floats)
		}
	})
}

// ReduceScatter adds in the order of a ring: the part of rank r starts with rank r+1's.
func (k *Rank) ReduceScatter(ctx context.Context, in, out driver.F32) error {
	n := out.Len()
	return k.floats(ctx, driver.ReduceScatter, in, out, n, func(all []*post, out []float32) {
		for step := range all {
			part := all[(k.rank+1+step)%len(all)].floats[k.rank*n : (k.rank+1)*n]
			if step == 0 {
				copy(out, part)
				continue
			}
			for i, x := range part {
				out[i] += x
			}
		}
	})
}

// Broadcast returns root's data.
func (k *Rank) Broadcast(ctx context.Context, data []byte, root int) ([]byte, error) {
	p := &post{call: driver.Call{Kind: driver.Broadcast, Root: root}}
	if root == k.rank {
		p.bytes = slices.Clone(data)
	}
	all, err := k.meet(ctx, p)
	if err != nil {
		return nil, err
	}
	if root == k.rank {
		k.count(driver.Broadcast, len(data))
	}
	return slices.Clone(all[root].bytes), nil
}

// GatherBytes returns the ranks' data, in order.
func (k *Rank) GatherBytes(ctx context.Context, data []byte) ([][]byte, error) {
	all, err := k.meet(ctx, &post{call: driver.Call{Kind: driver.GatherBytes}, bytes: slices.Clone(data)})
	if err != nil {
		return nil, err
	}
	k.count(driver.GatherBytes, len(data))
	out := make([][]byte, len(all))
	for r, p := range all {
		out[r] = slices.Clone(p.bytes)
	}
	return out, nil
}

// Barrier returns when all ranks have called it.
func (k *Rank) Barrier(ctx context.Context) error {
	_, err := k.meet(ctx, &post{call: driver.Call{Kind: driver.Barrier}})
	if err == nil {
		k.count(driver.Barrier, 0)
	}
	return err
}
