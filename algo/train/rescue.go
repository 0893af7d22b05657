package train

import (
	"context"
	"errors"
	"fmt"
	"os"

	"dataflex.dev/dataflex/algo/curriculum"
	"dataflex.dev/dataflex/data/task"
)

// spoilt is an error after which the weights of the last finished step are not worth
// keeping, or not to be trusted: what was saved before is.
type spoilt struct{ error }

func (e spoilt) Unwrap() error { return e.error }

// Rescued is an error that ended training, with what can be gone on from.
type Rescued struct {
	err  error
	note string
}

// Error is what went wrong and what is saved.
func (e *Rescued) Error() string { return e.err.Error() + "; " + e.note }

// Unwrap is what went wrong.
func (e *Rescued) Unwrap() error { return e.err }

// rescued saves the last finished step where an error ends training, a program's, a
// device's, a panic: the work up to there is not lost. Where the weights have begun to
// move, or cannot be read any more, it names what was saved before.
func (t *session) rescued(err error) error {
	if errors.As(err, new(spoilt)) {
		return err // it says what is saved
	}
	if t.step == 0 || t.moving || t.bestLoaded {
		return &Rescued{err, t.lastCheckpoint()}
	}
	var path string
	serr := task.Catch(func() (err error) { path, err = t.save(true); return err })
	if serr != nil {
		return &Rescued{err, fmt.Sprintf("step %d could not be saved (%v), %s", t.step, serr, t.lastCheckpoint())}
	}
	return &Rescued{err, fmt.Sprintf("step %d is saved in %s, the same command goes on from it", t.step, path)}
}

// errSaveAsked cuts short the opening of a window for a checkpoint.
var errSaveAsked = errors.New("a checkpoint is asked for")

// openOrSave lets the window open that the coming step starts with. Where a checkpoint is
// asked for in the meantime, it is cut short for that, once, and begun again: a long
// selection must not use up the time between a scheduler's warning and the end. What it
// has finished, it has kept.
func (t *session) openOrSave(ctx context.Context, open func(context.Context) error) error {
	if o, _ := t.Plan.Opening(t.step); o == curriculum.Continue || t.saveNow == nil || t.step == 0 {
		return open(ctx)
	}
	inner, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	opened := make(chan struct{})
	var asked os.Signal
	var watch task.Group
	watch.Go(func() {
		select {
		case asked = <-t.saveNow:
			cut(errSaveAsked)
		case <-opened:
		}
	})
	err := open(inner)
	close(opened)
	watch.Wait()
	if asked == nil {
		return err
	}
	if serr := t.saveFor(asked); serr != nil || err == nil || ctx.Err() != nil || !errors.Is(err, context.Canceled) {
		return errors.Join(err, serr)
	}
	return open(ctx)
}

// saveAsked saves a checkpoint of the last finished step where one was asked for.
func (t *session) saveAsked() error {
	select {
	case s := <-t.saveNow:
		return t.saveFor(s)
	default:
		return nil
	}
}

func (t *session) saveFor(s os.Signal) error {
	path, err := t.save(true)
	if err == nil {
		t.log.Info("checkpoint saved, training goes on", "signal", s.String(), "step", t.step, "path", path)
	}
	return err
}
