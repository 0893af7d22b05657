package train

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/curriculum"
	"dataflex.dev/dataflex/data/task"
	"dataflex.dev/dataflex/model/optim"
)

// loop is the training loop: windows of rows become micro-batches become updates, whatever
// decides on the rows. It does not know the train_type. Its state is small: the step, the
// window, sums, and the state of curriculum, optimizer and weights.
type loop struct {
	Config     *config.Config
	Plan       Plan
	optimizer  optim.Optimizer
	schedule   optim.Schedule
	plateau    *optim.Plateau // of reduce_lr_on_plateau, which follows evaluations instead
	curriculum curriculum.Curriculum
	sampler    sampler
	passes     *passes
	lanes      *lanes
	replay     replay
	journal    *journal
	log        *slog.Logger

	// opening calls open, which opens the window with which the step begins, if there is
	// one.
	opening func(ctx context.Context, open func(context.Context) error) error

	nonEmbedding float64 // parameters without the embeddings, adapters included: for total_flos

	*position
	moving bool  // an update has begun and the step is not finished: the weights belong to no step
	began  *rest // the state as it was before the changes of this step; nil: nothing has changed
}

// stepStats is the results of an optimizer step.
type stepStats struct {
	loss, gradNorm, lr float64
}

// run takes steps to the end of the plan, or until after, which is called after each of
// them, returns stop.
func (l *loop) run(ctx context.Context, after func(context.Context, stepStats) (stop bool, err error)) error {
	started, before := time.Now(), l.totals.Seconds
	for l.step < l.Plan.Total {
		stats, err := l.advance(ctx)
		l.totals.Seconds = before + time.Since(started).Seconds()
		if err != nil {
			return err
		}
		if stop, err := after(ctx, stats); err != nil || stop {
			return err
		}
	}
	return nil
}

// advance opens the window with which a step begins, if any, and takes the step. Until the
// weights change, a failure and a panic of a kernel leave no trace of the step.
func (l *loop) advance(ctx context.Context) (stepStats, error) {
	if err := ctx.Err(); err != nil {
		return stepStats{}, err
	}
	if err := l.opening(ctx, func(ctx context.Context) error { return l.orBack(func() error { return l.open(ctx) }) }); err != nil {
		return stepStats{}, err
	}
	var g *gradient
	if err := l.orBack(func() (err error) { g, err = l.replay.gradient(ctx, l.gradient); return err }); err != nil {
		return stepStats{}, err
	}
	var stats stepStats
	err := task.Catch(func() (err error) { stats, err = l.update(ctx, g); return err })
	return stats, err
}

// orBack calls do, which changes the state of the curriculum and of the run, and undoes the
// changes if it fails.
func (l *loop) orBack(do func() error) error {
	before, err := l.curriculum.State()
	if err != nil {
		return err
	}
	b := &rest{before, maps.Clone(l.skipped), len(l.journal.history)}
	l.began = b
	err = task.Catch(do)
	if l.began = nil; err == nil {
		return nil
	}
	l.skipped, l.journal.history = b.skipped, l.journal.history[:b.noted]
	return errors.Join(err, l.curriculum.Restore(before))
}

// open opens the window that begins with the coming step, if any. A window that was restored
// from a checkpoint is not opened again.
func (l *loop) open(ctx context.Context) error {
	if l.sampler.holds(l.step) {
		return nil
	}
	w, opened, err := l.curriculum.Open(ctx, l.step)
	if err != nil || !opened {
		return err
	}
	l.sampler.open(w)
	return nil
}

// update applies a gradient and passes the step to the curriculum.
func (l *loop) update(ctx context.Context, g *gradient) (stepStats, error) {
	stats := stepStats{lr: l.rate()}
	l.count(g, l.nonEmbedding)
	if g.nothing != "" {
		l.log.Warn(g.nothing+": the update is skipped", "step", l.step+1)
	} else {
		l.journal.weighedByColumn(g.step)
		l.moving = true
		if err := l.lanes.step(ctx, func() { l.optimizer.Step(stats.lr, optim.Clip(g.norm, l.Config.Training.MaxGradNorm)) }); err != nil {
			return stats, fmt.Errorf("step %d: %w", l.step+1, err)
		}
		// The weights have changed: what follows belongs to the step and is not interrupted.
		if err := l.curriculum.Observe(context.WithoutCancel(ctx), g.step); err != nil {
			return stats, fmt.Errorf("step %d, %w", l.step+1, err)
		}
		stats.loss, stats.gradNorm = g.loss, g.norm
	}
	l.totals.Loss += stats.loss
	l.totals.WindowLoss += stats.loss
	l.totals.WindowSteps++
	l.step++
	l.moving = false
	return stats, nil
}

// rate is the learning rate of the coming step.
func (l *loop) rate() float64 {
	if l.plateau != nil {
		return l.plateau.LR()
	}
	return l.Config.Training.LearningRate * l.schedule(l.step)
}

// gradient is the parameters' gradients before an update, and the step from which they come.
type gradient struct {
	step       *curriculum.Step // including its losses
	dealt      []dealt          // its micro-batches, rows that were left out included
	nothing    string           // the reason why there is no gradient
	loss, norm float64
}

// gradient computes the gradient of the coming step. A row whose loss or gradient is NaN or
// Inf is left out, and the step is repeated as if it did not contain the row: with other
// micro-batches, other normalisation, other weights, and nothing of the first attempt.
func (l *loop) gradient(ctx context.Context) (g *gradient, err error) {
	micros := l.sampler.step(l.step)
	defer func(dealt []dealt) {
		if g != nil {
			g.dealt = dealt
		}
	}(micros)
	for {
		s, labels := l.passes.group(micros, l.step, l.Plan.Total)
		l.lanes.job.At(fmt.Sprintf("step %d", l.step+1))
		if labels == 0 {
			return &gradient{step: s, nothing: "no labelled token in the rows of this step"}, nil
		}
		if sum, _, _ := columnWeight(l.passes.rows, s.Micros); sum == 0 {
			return &gradient{step: s, nothing: "every row of this step has the weight 0"}, nil
		}
		g, err := l.accumulate(ctx, s)
		var broken *notFinite
		if !errors.As(err, &broken) {
			return g, err
		}
		if micros, err = l.leaveOut(broken, s); err != nil {
			return nil, err
		}
	}
}

// leaveOut returns a step's rows without the faulty ones, which are counted, and each
// reported once. If no row with a label is left, the error says that the rows are not the
// cause.
func (l *loop) leaveOut(broken *notFinite, s *curriculum.Step) ([]dealt, error) {
	micros, left := broken.without(s)
	if left == 0 {
		return nil, spoilt{fmt.Errorf("step %d, %s: the %s of every row of the step is NaN or infinite: the weights hold numbers that are not finite, or learning_rate %v is too high; %s",
			l.step+1, l.passes.describe(broken.rows), broken.what, l.Config.Training.LearningRate, l.lastCheckpoint())}
	}
	for _, row := range broken.rows {
		if !l.skipped.add(row) {
			continue
		}
		if err := l.journal.skipped(row, broken.what); err != nil {
			return nil, err
		}
	}
	return micros, nil
}

// accumulate adds up the gradients of micro-batches: of the mean over all labelled tokens of
// the step, unless the curriculum asks for another reduction. Rows whose loss or gradient is
// NaN or Inf are a *notFinite error.
func (l *loop) accumulate(ctx context.Context, s *curriculum.Step) (*gradient, error) {
	s.TokenLoss, s.Returned = nil, nil
	asked, err := l.curriculum.Weights(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("step %d: %w", l.step+1, err)
	}
	byColumn(l.passes.rows, &asked, s.Micros)
	smoothing := l.passes.smoothing(asked)
	weights := tokenWeights(asked, s, divisor(s, smoothing > 0, l.Plan.Ranks, l.Config.Training.AverageTokens), l.Plan.Ranks)
	g := &gradient{step: s}
	s.TokenLoss, s.Returned = make([][]float32, len(s.Micros)), make([]float64, len(s.Micros))
	err = l.lanes.each(ctx, func(lane int) error { return l.passes.backwards(ctx, s, lane, weights, smoothing) })
	if err := l.lanes.share(ctx, "the losses of the step", s, s.TokenLoss, s.Returned, err); err != nil {
		return nil, err
	}
	broken := &notFinite{what: "loss"}
	for i, m := range s.Micros {
		broken.add(m, s.TokenLoss[i])
		g.loss += s.Returned[i]
	}
	if len(broken.rows) > 0 {
		l.lanes.drop()
		return nil, broken
	}
	if err := l.lanes.reduce(ctx); err != nil {
		return nil, fmt.Errorf("step %d: %w", l.step+1, err)
	}
	if g.norm, err = l.lanes.norm(ctx); err != nil {
		return nil, fmt.Errorf("step %d: %w", l.step+1, err)
	}
	if finite(g.norm) {
		return g, nil
	}
	if broken, err = l.passes.brokenGradients(ctx, s, weights, smoothing); err != nil || len(broken.rows) > 0 {
		return nil, cmp.Or[error](err, broken)
	}
	return nil, spoilt{fmt.Errorf("step %d: the gradient is not finite (norm %v) while the loss is %v and every row's own gradient is finite: lower learning_rate, or look at %s; %s",
		l.step+1, g.norm, g.loss, l.passes.describe(s.Micros[0].Rows), l.lastCheckpoint())}
}
