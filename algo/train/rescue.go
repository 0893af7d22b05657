package train

import (
	"context"
	"errors"
	"fmt"

	"dataflex.dev/dataflex/data/task"
	"dataflex.dev/dataflex/driver"
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

// saveWaiting saves the last finished step while this rank waits for others and is asked to
// stop: they may be dead, and a launcher that has lost one kills the others soon.
func (t *session) saveWaiting(place string) {
	t.log.Warn("asked to stop while the other ranks are waited for", "rank", t.ranks.Rank(), "at", place)
	if !t.ranks.First() || t.loop.step == 0 || t.loop.moving || t.bestLoaded || t.checkpoints.has(true) {
		return
	}
	if t.loop.lanes.shared() {
		t.log.Warn("the optimizer's state is shared out among the ranks, so that none can save it alone: " + t.loop.lastCheckpoint())
		return
	}
	if err := t.writeAlone(); err != nil {
		t.log.Warn("the last finished step could not be saved", "step", t.loop.step, "error", err)
		return
	}
	t.log.Info("checkpoint saved", "step", t.loop.step, "path", t.loop.lastSaved)
}

// rescued saves the last finished step where an error ends training, a program's, a
// device's, a panic: the work up to there is not lost. Where the weights have begun to
// move, or cannot be read any more, it names what was saved before.
func (t *session) rescued(err error) error {
	if t.loop.lanes.shared() {
		return t.rescuedTogether(err)
	}
	if errors.As(err, new(spoilt)) {
		return err // it says what is saved
	}
	if !t.ranks.First() {
		return err // rank 0 saves, by itself: others may be gone
	}
	step := t.loop.step
	if step == 0 || t.loop.moving || t.bestLoaded {
		return &Rescued{err, t.loop.lastCheckpoint()}
	}
	serr := task.Catch(func() error {
		if t.checkpoints.has(true) {
			return nil
		}
		return t.writeAlone()
	})
	if serr != nil {
		return &Rescued{err, fmt.Sprintf("step %d could not be saved (%v), %s", step, serr, t.loop.lastCheckpoint())}
	}
	return &Rescued{err, t.savedNote()}
}

// savedNote says what can be gone on from.
func (t *session) savedNote() string {
	return fmt.Sprintf("step %d is saved in %s, the same command goes on from it", t.loop.step, t.loop.lastSaved)
}

// writeAlone writes the last finished step with an optimizer's state that this rank has whole.
func (t *session) writeAlone() error {
	m, err := t.checkpoints.moments()
	if err != nil {
		return err
	}
	return t.write(m)
}

// rescuedTogether is rescued where ranks keep the optimizer's state together. Of an error that
// all of them have been told they save what there is if every one of them can; one that is
// dead or elsewhere has taken its share along.
func (t *session) rescuedTogether(err error) error {
	kept := t.loop.lastCheckpoint()
	if t.ranks.Rejoin(err) {
		ctx := context.Background()
		serr := t.ranks.Agree(ctx, "whether what there is can be saved", t.unfit(err))
		if serr == nil {
			serr = task.Catch(func() error { _, err := t.save(ctx, true); return err })
		}
		if serr == nil {
			kept = t.savedNote()
		}
	}
	if !t.ranks.First() || errors.As(err, new(spoilt)) {
		return err
	}
	return &Rescued{err, kept}
}

// unfit is why this rank's share of the last finished step is not to be saved.
func (t *session) unfit(err error) error {
	switch {
	case errors.As(err, new(spoilt)):
		return err
	case t.loop.step == 0 || t.loop.moving || t.bestLoaded:
		return errors.New("the weights are of no step that is worth saving")
	}
	return task.Catch(func() error { // a device that has failed cannot give its share
		_, err := driver.Read(t.loop.passes.device, t.loop.passes.params[0].Data.Sub(0, 1))
		return err
	})
}
