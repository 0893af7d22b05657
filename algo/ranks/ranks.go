// Package ranks is the processes that train together, as the training loop and the passes
// of the methods see them: who does what, and how results are exchanged.
//
// Every rank runs the whole program on the same rows and makes the same decisions; only the
// passes of batches through the model are divided among the ranks. Gather, which all ranks
// call at the same places of the program, exchanges their results. It also detects that a
// rank has failed, that one was asked to stop, and that the ranks have diverged. So no rank
// waits for one that took another branch, and all of them end at the same place, where a
// checkpoint can be saved.
package ranks

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"dataflex.dev/dataflex/data/task"
	"dataflex.dev/dataflex/driver"
)

// Job is the ranks of a run, of which this process is one. A nil *Job is a run of one
// process. It is used by one goroutine at a time.
type Job struct {
	c       driver.Collective
	timeout time.Duration // for a call: how long ranks wait for the slowest
	outer   context.Context
	stop    context.CancelCauseFunc // of the context that the ranks work under
	place   string                  // what the run is doing, for messages
	failed  error                   // of the first call that failed
	stopped bool                    // a rank was asked to stop, and all ranks have received that
	waiting func(place string)      // see WhenStopped
	turns   turns
	started func() // waits for the calls that Start has begun; nil: there are none
}

// New is the job that a connection makes. It returns the context that its ranks work
// under: where ctx is done on one of them, it ends on all of them at the same place of the
// program. timeout bounds each call.
func New(ctx context.Context, c driver.Collective, timeout time.Duration) (context.Context, *Job) {
	if c == nil || c.Size() == 1 {
		return ctx, nil
	}
	inner, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	return inner, &Job{c: c, timeout: timeout, outer: ctx, stop: stop}
}

// Size is the number of ranks.
func (j *Job) Size() int {
	if j == nil {
		return 1
	}
	return j.c.Size()
}

// Rank is this process's, from 0.
func (j *Job) Rank() int {
	if j == nil {
		return 0
	}
	return j.c.Rank()
}

// First reports whether this is rank 0, the only one that writes files, prints messages and
// runs programs of the user.
func (j *Job) First() bool { return j.Rank() == 0 }

// Mine reports whether the i-th of several equal pieces of work, assigned to the ranks in
// turn, is this rank's.
func (j *Job) Mine(i int) bool { return i%j.Size() == j.Rank() }

// At records what the run is doing, for error messages.
func (j *Job) At(place string) {
	if j != nil {
		j.place = place
	}
}

// Collective is what moves gradients; nil in a run of one process.
func (j *Job) Collective() driver.Collective {
	if j == nil {
		return nil
	}
	return j.c
}

// limit bounds a call: the rank that is waited for may be dead.
func (j *Job) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), j.timeout)
}

// Failed is an error of one of the ranks that all of them have received.
type Failed struct {
	Rank  int
	Host  string
	Place string // what the rank was doing
	Why   string // its error's text
	Own   error  // what went wrong on this rank; nil where nothing has
}

// Error names the rank, its machine, what it was doing and why it failed; a rank's own
// error is printed as it is.
func (f *Failed) Error() string {
	if f.Own != nil {
		return f.Own.Error()
	}
	return fmt.Sprintf("rank %d on %s, %s: %s", f.Rank, f.Host, f.Place, f.Why)
}

// Unwrap is the rank's own error, on that rank.
func (f *Failed) Unwrap() error { return f.Own }

// Lost is an error of the connection: a rank is dead, or too slow.
type Lost struct {
	Rank int // this one
	Host string
	// Place is what this rank was doing: the others' places are not known.
	Place string
	err   error
}

// Error has the connection's error, and what the run was doing.
func (l *Lost) Error() string {
	return fmt.Sprintf("rank %d on %s waited for the others, %s: %v", l.Rank, l.Host, l.Place, l.err)
}

// Unwrap is the connection's error.
func (l *Lost) Unwrap() error { return l.err }

// Told reports whether err has been sent to all ranks, so that rank 0 can print it for all of
// them.
func Told(err error) bool {
	var f *Failed
	return errors.As(err, &f)
}

func host() string {
	name, err := os.Hostname()
	if err != nil {
		return "an unnamed machine"
	}
	return name
}

// Gather gives every rank the data of all of them, in the order of ranks. what names the
// call, and must be the same on all ranks. If err is not nil on a rank, the call returns an
// error on all.
func (j *Job) Gather(ctx context.Context, what string, own []byte, err error) ([][]byte, error) {
	if j == nil {
		return [][]byte{own}, err
	}
	if j.failed != nil {
		return nil, errors.Join(err, j.failed)
	}
	if j.turns.within {
		panic(fmt.Sprintf("ranks: %s within a turn", what)) // the other ranks may only go along
	}
	if j.land(); j.failed != nil {
		return nil, errors.Join(err, j.failed)
	}
	if lost := j.settle(what); lost != nil {
		return nil, errors.Join(err, lost)
	}
	limited, cancel := j.limit(ctx)
	defer cancel()
	saved := j.watch(what)
	raw, lost := j.c.GatherBytes(limited, j.frame(what, own, err).encode())
	saved()
	if lost != nil {
		return nil, j.fail(errors.Join(err, j.lost(what, lost)))
	}
	frames := make([]frame, len(raw))
	for rank, b := range raw {
		if frames[rank], lost = decode(b); lost != nil {
			return nil, j.fail(&Failed{Own: fmt.Errorf("rank %d sent a message that cannot be decoded: %w", rank, lost)})
		}
	}
	for rank, f := range frames {
		if f.failed {
			return nil, j.fail(f.failure(rank, err))
		}
	}
	if slices.ContainsFunc(frames, func(f frame) bool { return f.what != what }) {
		return nil, j.fail(&Failed{Own: fmt.Errorf("the ranks have diverged, because their machines, files or programs differ: %s", driver.Differences("came to %q", places(frames)))})
	}
	out := make([][]byte, len(raw))
	stopped := -1
	for rank, f := range frames {
		if out[rank] = f.payload; f.stop {
			stopped = rank
		}
	}
	if j.stopped = j.stopped || stopped >= 0; stopped >= 0 && ctx.Err() == nil {
		j.stop(fmt.Errorf("rank %d was asked to stop", stopped))
	}
	if stopped >= 0 && err != nil { // the work that was cancelled on this rank
		return nil, err
	}
	return out, nil
}

// places are the names of the calls that the ranks made.
func places(frames []frame) []string {
	out := make([]string, len(frames))
	for rank, f := range frames {
		out[rank] = f.what
	}
	return out
}

// WhenStopped sets a function that is called, on its own goroutine, when this rank is asked
// to stop while it waits for others: one of them may be dead, and the process may be killed
// soon. Gather returns after do has returned.
func (j *Job) WhenStopped(do func(place string)) {
	if j != nil {
		j.waiting = do
	}
}

// watch calls j.waiting if this rank is asked to stop before end is called.
func (j *Job) watch(what string) (end func()) {
	if j.waiting == nil || j.outer.Err() != nil {
		return func() {}
	}
	done := make(chan struct{})
	cancel := context.AfterFunc(j.outer, func() {
		defer close(done)
		_ = task.Catch(func() error { // a fault of the device will fail the step, too
			j.waiting(j.where(what))
			return nil
		})
	})
	return func() {
		if !cancel() {
			<-done
		}
	}
}

// frame is this rank's message in a Gather. Work that was cancelled because the rank was asked
// to stop has not failed.
func (j *Job) frame(what string, own []byte, err error) frame {
	f := frame{what: what, stop: j.outer.Err() != nil, payload: own}
	if err != nil && !(f.stop && errors.Is(err, context.Canceled)) {
		f.failed, f.payload = true, fmt.Appendf(nil, "%s\x00%s\x00%v", host(), j.where(what), err)
	}
	return f
}

// All wraps an error that all ranks have found at the same place.
func (j *Job) All(err error) error {
	if j == nil || err == nil {
		return err
	}
	return j.fail(&Failed{Own: err})
}

// Rejoin lets the ranks make calls again after an error that all of them have received at the
// same place, so that they can handle it together; it reports whether err is such an error.
func (j *Job) Rejoin(err error) bool {
	if j == nil || !Told(err) {
		return false
	}
	j.failed = nil
	return true
}

// fail keeps the first error: after it no calls are made, because the other ranks may be at
// other places.
func (j *Job) fail(err error) error {
	j.failed = err
	return err
}

// Move runs calls of Collective, named what, with the timeout of Gather's; an error says what
// the run was doing. Within a turn they are part of it.
func (j *Job) Move(ctx context.Context, what string, calls func(context.Context) error) error {
	if j == nil {
		return calls(ctx)
	}
	if err := j.ready(what); err != nil {
		return err
	}
	limited, cancel := j.limit(ctx)
	defer cancel()
	if err := calls(limited); err != nil {
		return j.fail(j.lost(what, err))
	}
	return nil
}

// Start is Move for calls that run beside what this rank computes: begin begins them, and the wait
// that it returns ends them. Whatever call comes next waits for them first, so that all ranks make
// their calls in the same order; the wait that Start returns has their error.
func (j *Job) Start(what string, begin func(context.Context) (wait func() error)) (wait func() error) {
	if err := j.ready(what); err != nil {
		return func() error { return err }
	}
	limited, cancel := j.limit(context.Background())
	ends := begin(limited)
	var err error
	j.started = func() {
		defer cancel()
		if err = ends(); err != nil {
			err = j.fail(j.lost(what, err))
		}
	}
	return func() error {
		j.land()
		return err
	}
}

// Aside runs do on another goroutine, until wait, which returns its error, or its panic as one.
func Aside(do func() error) (wait func() error) {
	var g task.Group
	var err error
	g.Go(func() { err = task.Catch(do) })
	return func() error {
		g.Wait()
		return err
	}
}

// ready returns when calls of the collective may be made.
func (j *Job) ready(what string) error {
	if j.land(); j.failed != nil {
		return j.failed
	}
	if j.turns.within {
		return nil
	}
	return j.settle(what)
}

// land waits for the calls that Start has begun. Their error is j.failed.
func (j *Job) land() {
	if s := j.started; s != nil {
		j.started = nil
		s()
	}
}

// lost adds to an error of the connection what the run was doing.
func (j *Job) lost(what string, err error) error {
	return &Lost{Rank: j.Rank(), Host: host(), Place: j.where(what), err: err}
}

func (j *Job) where(what string) string {
	if j.place == "" {
		return what
	}
	return j.place + ", " + what
}

// Decide gives all ranks what ask returns on rank 0; the other ranks do not call it. The
// context of ask ends as soon as rank 0 is asked to stop.
func (j *Job) Decide(ctx context.Context, what string, ask func(context.Context) ([]byte, error)) ([]byte, error) {
	if j == nil {
		return ask(ctx)
	}
	var own []byte
	var err error
	if j.First() {
		asking, cancel := context.WithCancel(ctx)
		defer context.AfterFunc(j.outer, cancel)()
		own, err = ask(asking)
		cancel()
	}
	all, err := j.Gather(ctx, what, own, err)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil { // ask may have been cancelled
		return nil, ctx.Err()
	}
	return all[0], nil
}

// Agree is Gather without data: it returns an error on all ranks if err is not nil on one.
func (j *Job) Agree(ctx context.Context, what string, err error) error {
	_, err = j.Gather(ctx, what, nil, err)
	return err
}

// Close leaves the job at the end of the run; err is the run's error or nil. After an error
// that all ranks have received, none of them leaves before rank 0 has saved a checkpoint,
// because launchers kill all processes once one has failed. Any other error aborts the job,
// so that waiting ranks receive it.
func (j *Job) Close(err error) error {
	if j == nil {
		return err
	}
	defer j.stop(nil)
	j.land()
	limited, cancel := j.limit(context.Background())
	defer cancel()
	if err == nil || Told(err) || j.stopped && !errors.As(err, new(*Lost)) {
		if j.failed == nil {
			err = errors.Join(err, j.settle("the end"))
		}
		err = errors.Join(err, j.c.Barrier(limited))
	} else if !errors.As(err, new(*Lost)) {
		j.c.Abort(fmt.Errorf("rank %d on %s, %s: %w", j.Rank(), host(), j.place, err))
	}
	return errors.Join(err, j.c.Close())
}

// frame is a rank's message in a Gather.
type frame struct {
	what    string
	stop    bool // the rank was asked to stop
	failed  bool // payload is host, place and error, with zeros between
	payload []byte
}

func (f frame) encode() []byte {
	var flags byte
	if f.stop {
		flags |= 1
	}
	if f.failed {
		flags |= 2
	}
	b := binary.AppendUvarint([]byte{flags}, uint64(len(f.what)))
	return append(append(b, f.what...), f.payload...)
}

func decode(b []byte) (f frame, err error) {
	if len(b) == 0 {
		return f, errors.New("nothing")
	}
	f.stop, f.failed = b[0]&1 != 0, b[0]&2 != 0
	n, k := binary.Uvarint(b[1:])
	if k <= 0 || n > math.MaxInt32 || len(b)-1-k < int(n) {
		return f, fmt.Errorf("%d bytes", len(b))
	}
	rest := b[1+k:]
	f.what, f.payload = string(rest[:n]), rest[n:]
	return f, nil
}

// failure is the error that a rank sent; err is this rank's own.
func (f frame) failure(rank int, err error) *Failed {
	out := &Failed{Rank: rank, Own: err}
	parts := strings.SplitN(string(f.payload), "\x00", 3)
	for i, to := range []*string{&out.Host, &out.Place, &out.Why} {
		if i < len(parts) {
			*to = parts[i]
		}
	}
	return out
}
