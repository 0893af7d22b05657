package train

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"dataflex.dev/dataflex/algo/curriculum"
	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/data/task"
)

// errSaveAsked cuts short the opening of a window for a checkpoint.
var errSaveAsked = errors.New("a checkpoint is asked for")

// saveRequests are signals that ask for a checkpoint while training goes on.
type saveRequests struct {
	plan    Plan
	at      *position
	signals <-chan os.Signal                      // nil: none come
	save    func(context.Context) (string, error) // of the last finished step
	ranks   *ranks.Job
	log     *slog.Logger
}

// during lets the window open that the coming step starts with. Where a checkpoint is
// asked for in the meantime, it is cut short for that, once, and begun again, unless several ranks open
// it together: a long selection must not use up the time between a scheduler's warning and the end. What it
// has finished, it has kept.
func (r *saveRequests) during(ctx context.Context, open func(context.Context) error) error {
	if o, _ := r.plan.Opening(r.at.step); o == curriculum.Continue || r.signals == nil || r.at.step == 0 || r.ranks.Size() > 1 {
		return open(ctx)
	}
	inner, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	opened := make(chan struct{})
	var asked os.Signal
	var watch task.Group
	watch.Go(func() {
		select {
		case asked = <-r.signals:
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
	if serr := r.answer(ctx, asked.String()); serr != nil || err == nil || ctx.Err() != nil || !errors.Is(err, context.Canceled) {
		return errors.Join(err, serr)
	}
	return open(ctx)
}

// answerNow saves a checkpoint of the last finished step where one was asked for.
// Ranks do so where one of them was asked.
func (r *saveRequests) answerNow(ctx context.Context) error {
	asked := ""
	select {
	case s := <-r.signals:
		asked = s.String()
	default:
	}
	all, err := r.ranks.Gather(ctx, "the end of the step", []byte(asked), nil)
	if err != nil {
		return err
	}
	for _, asked := range all {
		if len(asked) > 0 {
			return r.answer(ctx, string(asked))
		}
	}
	return nil
}

func (r *saveRequests) answer(ctx context.Context, signal string) error {
	path, err := r.save(ctx)
	if err == nil {
		r.log.Info("checkpoint saved, training goes on", "signal", signal, "step", r.at.step, "path", path)
	}
	return err
}
