// Package lanes implements a job whose ranks are goroutines of one process: for tests of
// code that runs on several ranks, and to count what they would send.
//
// It is stricter than the libraries of driver/nccl and driver/mpi: if ranks make different
// calls, or calls with other lengths, the error names each rank and its call, where a library
// would hang or mix up the data; a rank that leaves while others wait for it is named at
// once.
package lanes

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"dataflex.dev/dataflex/driver"
)

// Job makes a job of n ranks. Each computes on its own device: devs are n devices, or one
// that may be used by several goroutines at a time, which only driver/cpu's may. The caller
// starts the goroutines; a rank whose goroutine ends calls Close, so that the others do not
// wait for it. The elements are of type *Rank.
func Job(n int, devs ...driver.Device) []driver.Collective {
	if n < 1 || len(devs) != 1 && len(devs) != n {
		panic(fmt.Sprintf("lanes: %d devices for %d ranks", len(devs), n))
	}
	j := &job{left: make([]bool, n), failed: make(chan struct{})}
	j.now = newRound(n)
	ranks := make([]driver.Collective, n)
	for r := range ranks {
		ranks[r] = &Rank{job: j, rank: r, dev: devs[min(r, len(devs)-1)]}
	}
	return ranks
}

// job is the state shared by the ranks.
type job struct {
	mu     sync.Mutex
	now    *round
	left   []bool        // ranks that have closed
	why    error         // the first failure, returned on every rank
	failed chan struct{} // closed when why is set
}

// round is one call of all ranks.
type round struct {
	posts []*post // nil: that rank has not called yet
	done  chan struct{}
}

// post is what one rank contributes to a round; nobody changes it afterwards.
type post struct {
	call   driver.Call
	floats []float32
	bytes  []byte
}

func newRound(n int) *round { return &round{posts: make([]*post, n), done: make(chan struct{})} }

// missing returns the ranks that have not called.
func (r *round) missing() (ranks []int) {
	for i, p := range r.posts {
		if p == nil {
			ranks = append(ranks, i)
		}
	}
	return ranks
}

// fail ends the job with why, unless it has failed before. The lock is held.
func (j *job) fail(why error) {
	if j.why == nil {
		j.why = why
		close(j.failed)
	}
}

// enter adds p to the current round, and starts the next one if p was the last.
func (j *job) enter(rank int, p *post) (*round, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.why != nil {
		return nil, j.why
	}
	if j.left[rank] {
		return nil, fmt.Errorf("lanes: rank %d calls %v after Close", rank, p.call)
	}
	if gone := j.gone(); len(gone) > 0 {
		j.fail(fmt.Errorf("%s left the job while rank %d called %v", driver.Ranks(gone), rank, p.call))
		return nil, j.why
	}
	r := j.now
	if r.posts[rank] != nil {
		panic(fmt.Sprintf("lanes: rank %d makes two calls at a time: %v and %v", rank, r.posts[rank].call, p.call))
	}
	r.posts[rank] = p
	if len(r.missing()) > 0 {
		return r, nil
	}
	j.now = newRound(len(r.posts))
	calls := make([]driver.Call, len(r.posts))
	for i, p := range r.posts {
		calls[i] = p.call
	}
	if err := driver.Agree(calls); err != nil {
		j.fail(err)
		return nil, j.why
	}
	close(r.done)
	return r, nil
}

// gone returns the ranks that have closed.
func (j *job) gone() (ranks []int) {
	for r, left := range j.left {
		if left {
			ranks = append(ranks, r)
		}
	}
	return ranks
}

// meet returns the posts of all ranks, in their order.
func (k *Rank) meet(ctx context.Context, p *post) ([]*post, error) {
	err := p.call.Check(k.Size())
	if err == nil {
		var r *round
		if r, err = k.job.enter(k.rank, p); err == nil {
			err = k.wait(ctx, r)
		}
		if err == nil {
			return r.posts, nil
		}
	}
	return nil, fmt.Errorf("rank %d of %d: %v: %w", k.rank, k.Size(), p.call, err)
}

// wait returns when all ranks have entered r.
func (k *Rank) wait(ctx context.Context, r *round) error {
	select {
	case <-r.done: // even if the job has failed since: this call was complete
		return nil
	default:
	}
	select {
	case <-r.done:
		return nil
	case <-k.job.failed:
		return k.job.why
	case <-ctx.Done():
		k.job.mu.Lock()
		defer k.job.mu.Unlock()
		if missing := r.missing(); len(missing) > 0 {
			k.job.fail(fmt.Errorf("rank %d gave up waiting for %s: %w", k.rank, driver.Ranks(missing), context.Cause(ctx)))
			return k.job.why
		}
		return nil // they came at the last moment
	}
}

// Abort makes why the error of every current and later call, on every rank.
func (k *Rank) Abort(why error) {
	k.job.mu.Lock()
	defer k.job.mu.Unlock()
	k.job.fail(fmt.Errorf("rank %d ended the job: %w", k.rank, why))
}

// Close leaves the job. Ranks that wait for this one, or call later, get an error that names
// it.
func (k *Rank) Close() error {
	k.job.mu.Lock()
	defer k.job.mu.Unlock()
	k.job.left[k.rank] = true
	r := k.job.now
	if waits := slices.IndexFunc(r.posts, func(p *post) bool { return p != nil }); waits >= 0 && r.posts[k.rank] == nil {
		k.job.fail(fmt.Errorf("rank %d left the job while rank %d called %v", k.rank, waits, r.posts[waits].call))
	}
	return nil
}
