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

// errSaveAsked interrupts the opening of a window for a checkpoint.
var errSaveAsked = errors.New("a checkpoint is requested")

// saveRequests are signals that request a checkpoint while training continues.
type saveRequests struct {
	plan    Plan
	at      *position
	signals <-chan os.Signal                      // nil: there are none
	save    func(context.Context) (string, error) // saves the last finished step
	ranks   *ranks.Job
	log     *slog.Logger
}

// during opens the window with which the coming step starts. If a checkpoint is requested
// meanwhile, opening is interrupted once and started again, unless several ranks open the
// window together: a long selection must not use up the time between a scheduler's warning
// and the end. A selection keeps what it has finished.
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

// answerNow saves a checkpoint of the last finished step if one was requested. Ranks do so
// if one of them was asked.
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
		r.log.Info("checkpoint saved, training continues", "signal", signal, "step", r.at.step, "path", path)
	}
	return err
}
