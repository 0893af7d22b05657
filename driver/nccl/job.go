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

// Job is one GPU's side of a job that NCCL connects. It implements driver.Collective.
type Job struct {
	dev        sharer
	rank, size int
	version    int
	ended      atomic.Pointer[error] // set by Abort

	mu   sync.Mutex // guards the communicator: held during a call
	comm *nccl.Comm // nil: aborted or closed
	why  error      // the first failure
}

var _ driver.Collective = (*Job)(nil)

// Rank is this process's number, Size the number of processes.
func (j *Job) Rank() int { return j.rank }
func (j *Job) Size() int { return j.size }

// String is the library's name and version.
func (j *Job) String() string { return "NCCL " + versionText(j.version) }

// call checks c, and lets f put it into the device's queue. It returns when the queue has
// completed it. An error ends the job for this rank.
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

// begun returns when NCCL has completed the request or put it into the queue.
func (j *Job) begun(ctx context.Context) error {
	return j.poll(ctx, func() (bool, error) { return false, nil })
}

// poll returns when neither NCCL nor busy reports work, with the first error of either, or
// with the reason why the wait is given up. NCCL reports another rank's death as an error.
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

// stop is the reason to give up waiting, nil if there is none.
func (j *Job) stop(ctx context.Context) error {
	if why := j.ended.Load(); why != nil {
		return *why
	}
	if ctx.Err() != nil {
		return fmt.Errorf("no answer from the other ranks (NCCL_DEBUG=INFO says more): %w", context.Cause(ctx))
	}
	return nil
}

// fail ends the job for this rank: the communicator is aborted, which makes the calls of
// ranks that wait for this one fail. The lock is held.
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
	_ = j.dev.Share(func(unsafe.Pointer) error { return j.comm.Abort() }) // the job has already failed for another reason
	j.comm = nil
}

// Abort makes why the error of this rank's current and later calls, and aborts the
// communicator: other ranks' calls that wait for this rank fail. NCCL does not pass why on
// to them.
func (j *Job) Abort(why error) {
	why = fmt.Errorf("the job was ended: %w", why)
	j.ended.CompareAndSwap(nil, &why)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.fail(why)
}

// closing is how long Close waits for the other ranks. All calls have completed by then, so
// that nothing is lost if one of them takes longer.
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
