//go:build cgo && linux

package mpi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/third_party/mpi"
)

// Job is the job of all processes that MPI connects. It implements driver.Collective.
type Job struct {
	dev        driver.Device
	lib        *mpi.Library
	rank, size int
	piece      int                   // the largest number of bytes in one call of MPI
	work       chan func()           // functions that the thread runs
	left       chan struct{}         // closed when the thread has ended
	ended      atomic.Pointer[error] // set by Abort

	// Used only by the thread:
	finished bool   // the job has been left
	why      error  // the first failure
	mine     []byte // this rank's head, in an allocation of its own: memory passed to C must not contain Go pointers
	heads    []byte // the heads of all ranks
}

var _ driver.Collective = (*Job)(nil)

// Rank is this process's number, Size the number of processes.
func (j *Job) Rank() int { return j.rank }
func (j *Job) Size() int { return j.size }

// String is the library's name and version.
func (j *Job) String() string { return j.lib.Name() }

// headBytes is the size of a head: five numbers.
const headBytes = 40

// head describes a rank's call to the other ranks.
type head struct {
	driver.Call
	bytes int64 // that this rank contributes
}

func (h head) put(b []byte) {
	for i, v := range []int64{int64(h.Kind), int64(h.In), int64(h.Out), int64(h.Root), h.bytes} {
		binary.LittleEndian.PutUint64(b[8*i:], uint64(v))
	}
}

func headOf(b []byte) head {
	at := func(i int) int64 { return int64(binary.LittleEndian.Uint64(b[8*i:])) }
	return head{driver.Call{Kind: driver.CallKind(at(0)), In: int(at(1)), Out: int(at(2)), Root: int(at(3))}, at(4)}
}

// call makes one call together with the other ranks. When all have been found to make the
// same call, body, which may be nil, runs on MPI's thread with the number of bytes of each
// rank.
func (j *Job) call(ctx context.Context, h head, body func(bytes []int64) error) error {
	err := h.Check(j.size)
	if err == nil {
		err = j.on(func() error { return j.together(ctx, h, body) })
	}
	if err != nil {
		return fmt.Errorf("mpi: rank %d of %d: %v: %w", j.rank, j.size, h.Call, err)
	}
	return nil
}

// together is the part of call on MPI's thread. The first error is sent to all ranks and
// ends the job.
func (j *Job) together(ctx context.Context, h head, body func([]int64) error) error {
	if j.why == nil {
		if err := j.meet(ctx, h, body); err != nil {
			j.fail(err)
		}
	}
	return j.why
}

// fail ends the job for this rank and sends the reason to the others.
func (j *Job) fail(why error) {
	if j.why != nil {
		return
	}
	j.why = why
	if !told(why) { // otherwise all ranks have been told
		_ = j.lib.Tell(why.Error()) // if this fails, the others find out when their own contexts end
	}
}

// toldError is the failure of another rank.
type toldError struct{ mpi.Told }

func (e *toldError) Error() string { return fmt.Sprintf("rank %d gave up: %s", e.From, e.Text) }

func told(err error) bool {
	var t *toldError
	return errors.As(err, &t)
}

func (j *Job) meet(ctx context.Context, h head, body func([]int64) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	h.put(j.mine)
	if err := j.lib.Meet(j.mine, j.heads); err != nil {
		return err
	}
	if err := j.wait(ctx, patient); err != nil {
		if missing := j.lib.Missing(j.rank); len(missing) > 0 && !told(err) {
			return fmt.Errorf("waiting for %s: %w", driver.Ranks(missing), err)
		}
		return err
	}
	calls, bytes := make([]driver.Call, j.size), make([]int64, j.size)
	for r := range calls {
		h := headOf(j.heads[r*headBytes:])
		calls[r], bytes[r] = h.Call, h.bytes
	}
	if err := driver.Agree(calls); err != nil {
		return err
	}
	if body == nil {
		return nil
	}
	return body(bytes)
}

// patient and eager are how long the thread pauses between two polls after it has waited for
// that long: patient for other ranks, which may be computing for minutes on the same cores,
// eager for data that are already being sent.
func patient(waited time.Duration) time.Duration {
	if waited < 2*time.Millisecond {
		return 0
	}
	return min(waited/50, time.Millisecond)
}

func eager(time.Duration) time.Duration { return 0 }

// wait returns when the current operation has completed, or with the reason why it is given
// up.
func (j *Job) wait(ctx context.Context, pause func(time.Duration) time.Duration) error {
	for start := time.Now(); ; {
		done, told, err := j.lib.Wait(pause(time.Since(start)))
		switch {
		case err != nil:
			return err
		case done:
			return nil
		case told != nil:
			return &toldError{*told}
		}
		if why := j.ended.Load(); why != nil {
			return *why
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// Abort makes why the error of all calls of this rank, and of the other ranks' current and
// later calls. It does not end processes: mpirun does when one of them exits with an error.
func (j *Job) Abort(why error) {
	why = fmt.Errorf("the job was ended: %w", why)
	j.ended.CompareAndSwap(nil, &why) // for the current call
	_ = j.on(func() error { j.fail(why); return nil })
}

// Close leaves the job together with all ranks; after a failure it only stops the thread.
func (j *Job) Close() error {
	err := j.on(func() error {
		j.finished = true
		if j.why != nil {
			return nil // the error has already been returned
		}
		if err := j.together(context.Background(), head{Call: driver.Call{Kind: driver.Leave}}, nil); err != nil {
			return err
		}
		return j.lib.Finalize()
	})
	if err != nil && !errors.Is(err, errLeft) {
		return fmt.Errorf("mpi: rank %d of %d: Close: %w", j.rank, j.size, err)
	}
	return nil
}
