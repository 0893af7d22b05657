//go:build cgo && linux

package nccl

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/third_party/nccl"
)

// Job is the GPUs that NCCL connects, seen from one of them. It implements driver.Collective.
type Job struct {
	dev        sharer
	rank, size int
	version    int
	ended      atomic.Pointer[error] // by Abort

	mu   sync.Mutex // of the communicator: held during a call
	comm *nccl.Comm // nil: aborted or closed
	why  error      // of the first failure
}

var _ driver.Collective = (*Job)(nil)

// Rank is this process's number, Size how many there are.
func (j *Job) Rank() int { return j.rank }
func (j *Job) Size() int { return j.size }

// String is the library and its version.
func (j *Job) String() string { return "NCCL " + versionText(j.version) }

// call checks c and has f make it in the device's queue. It returns when the queue has passed
// it. An error ends the job for this rank.
func (j *Job) call(ctx context.Context, c driver.Call, f func(queue unsafe.Pointer) error) error {
	err := c.Check(j.size)
	if err == nil {
		j.mu.Lock()
		defer j.mu.Unlock()
		if j.why == nil {
			if err := j.run(ctx, f); err != nil {
				j.fail(err)
			}
		}
		err = j.why
	}
	if err != nil {
		return fmt.Errorf("nccl: rank %d of %d: %v: %w", j.rank, j.size, c, err)
	}
	return nil
}

func (j *Job) run(ctx context.Context, f func(queue unsafe.Pointer) error) error {
	if err := j.stop(ctx); err != nil {
		return err
	}
	return j.dev.Share(func(queue unsafe.Pointer) error {
		if err := f(queue); err != nil {
			return err
		}
		if err := j.begun(ctx); err != nil {
			return err
		}
		return j.poll(ctx, j.dev.Busy)
	})
}

// begun returns when NCCL has done what was asked of it, or put it into the queue.
func (j *Job) begun(ctx context.Context) error {
	return j.poll(ctx, func() (bool, error) { return false, nil })
}

// poll returns when neither NCCL nor busy is busy, with the first error of either, or with the
// reason why it is given up. Another rank's death is NCCL's error.
func (j *Job) poll(ctx context.Context, busy func() (bool, error)) error {
	for pause := time.Microsecond; ; pause = min(2*pause, 200*time.Microsecond) {
		wait, err := j.comm.Busy()
		if err == nil && !wait {
			wait, err = busy()
		}
		if err != nil || !wait {
			return err
		}
		if err := j.stop(ctx); err != nil {
			return err
		}
		time.Sleep(pause)
	}
}

// stop is why nothing is waited for any more.
func (j *Job) stop(ctx context.Context) error {
	if why := j.ended.Load(); why != nil {
		return *why
	}
	if ctx.Err() != nil {
		return fmt.Errorf("no answer from the other ranks (NCCL_DEBUG=INFO says more): %w", context.Cause(ctx))
	}
	return nil
}

// fail ends the job for this rank: the communicator is aborted, which the others notice when
// they wait for it. The lock is held.
func (j *Job) fail(why error) {
	if j.why == nil {
		j.why = why
		j.drop()
	}
}

// drop aborts the communicator.
func (j *Job) drop() {
	if j.comm == nil {
		return
	}
	_ = j.dev.Share(func(unsafe.Pointer) error { return j.comm.Abort() }) // there is a reason already
	j.comm = nil
}

// Abort makes why the error of all calls of this rank, also of one under way, and aborts the
// communicator: the other ranks' calls fail when they wait for this one. NCCL does not carry
// why to them.
func (j *Job) Abort(why error) {
	why = fmt.Errorf("the job was ended: %w", why)
	j.ended.CompareAndSwap(nil, &why)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.fail(why)
}

// closing is how long Close waits for the other ranks. All calls are done by then, so that
// nothing is lost where one of them takes longer.
const closing = time.Minute

// Close leaves the job together with the other ranks; after a failure it does nothing.
func (j *Job) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.comm == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closing)
	defer cancel()
	err := j.dev.Share(func(unsafe.Pointer) error {
		if err := j.comm.Finalize(); err != nil {
			return err
		}
		return j.begun(ctx)
	})
	switch {
	case ctx.Err() != nil:
		j.fail(fmt.Errorf("the job was left"))
		return nil
	case err != nil:
		j.fail(err)
	default:
		err = j.dev.Share(func(unsafe.Pointer) error { return j.comm.Destroy() })
		j.comm, j.why = nil, fmt.Errorf("the job was left")
	}
	if err != nil {
		return fmt.Errorf("nccl: rank %d of %d: Close: %w", j.rank, j.size, err)
	}
	return nil
}
