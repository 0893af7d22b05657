package train

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/curriculum"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/task"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/decoder"
	"dataflex.dev/dataflex/model/optim"
	"dataflex.dev/dataflex/model/tensor"
)

// loop is the training itself: windows of rows to micro-batches to an update, whatever
// decides on the rows. It knows no train_type. Its state is small: the step, the window,
// sums, and what a curriculum, an optimizer and the weights hold.
type loop struct {
	Config     *config.Config
	Plan       Plan
	device     driver.Device
	model      *decoder.Model
	params     []*tensor.Param
	optimizer  optim.Optimizer
	schedule   optim.Schedule
	plateau    *optim.Plateau // of reduce_lr_on_plateau, which follows evaluations instead
	curriculum curriculum.Curriculum
	sampler    sampler
	ledger     *curriculum.Ledger // of the rows dealt out
	train      []data.Example
	seed       uint64
	journal    *journal
	log        *slog.Logger

	// opening calls open, which opens the window that the step begins with, if one does.
	opening func(ctx context.Context, open func(context.Context) error) error

	nonEmbedding float64 // parameters but the embeddings, adapters included: for total_flos

	step      int // done
	totals    totals
	skipped   map[int]int // how often training rows were left out of a step
	moving    bool        // an update has begun and the step is not done: the weights are of no step
	lastSaved string      // the newest complete checkpoint
}

// totals is what a run adds up, and a checkpoint keeps.
type totals struct {
	Loss        float64 `json:"loss"`         // of all steps
	WindowLoss  float64 `json:"window_loss"`  // since the last log line
	WindowSteps int     `json:"window_steps"` // likewise
	Flos        float64 `json:"flos"`
	Tokens      int     `json:"tokens"`    // trained on, without padding
	Padded      int     `json:"padded"`    // as upstream counts input tokens
	Seconds     float64 `json:"seconds"`   // of training, selections included
	Selecting   float64 `json:"selecting"` // of which selecting
	Selections  int     `json:"selections"`
}

// stepStats is what an optimizer step reports.
type stepStats struct {
	loss, gradNorm, lr float64
}

// run takes steps to the end of the plan, or until after, which is called after each of
// them, says stop.
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

// advance opens the window a step starts with, where one does, and takes the step. Until
// the weights move, a failure and a panic of a kernel leave no trace of the step.
func (l *loop) advance(ctx context.Context) (stepStats, error) {
	if err := ctx.Err(); err != nil {
		return stepStats{}, err
	}
	if err := l.opening(ctx, func(ctx context.Context) error { return l.orBack(func() error { return l.open(ctx) }) }); err != nil {
		return stepStats{}, err
	}
	var g *gradient
	if err := l.orBack(func() (err error) { g, err = l.checkedGradient(ctx); return err }); err != nil {
		return stepStats{}, err
	}
	var stats stepStats
	err := task.Catch(func() (err error) { stats, err = l.update(ctx, g); return err })
	return stats, err
}

// orBack does something that moves the state of the curriculum and of the run, and
// undoes what it did where it fails.
func (l *loop) orBack(do func() error) error {
	skipped, noted := maps.Clone(l.skipped), len(l.journal.history)
	before, err := l.curriculum.State()
	if err != nil {
		return err
	}
	if err = task.Catch(do); err == nil {
		return nil
	}
	l.skipped, l.journal.history = skipped, l.journal.history[:noted]
	return errors.Join(err, l.curriculum.Restore(before))
}

// open gives the coming step its rows, where a window begins. One that a checkpoint
// already holds is not opened again.
func (l *loop) open(ctx context.Context) error {
	if l.sampler.window.Start == l.step && l.Plan.Dynamic {
		return nil
	}
	w, opened, err := l.curriculum.Open(ctx, l.step)
	if err != nil || !opened {
		return err
	}
	l.sampler.open(w)
	return nil
}

// update applies a gradient and tells the curriculum.
func (l *loop) update(ctx context.Context, g *gradient) (stepStats, error) {
	stats := stepStats{lr: l.rate()}
	l.count(g)
	if g.nothing != "" {
		l.log.Warn(g.nothing+": the update is skipped", "step", l.step+1)
	} else {
		l.recordColumn(g.step)
		l.moving = true
		l.optimizer.Step(stats.lr, optim.Clip(g.norm, l.Config.Training.MaxGradNorm))
		// The weights have moved: what follows belongs to the step and is not cut short.
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

// gradient is what the parameters' gradients hold before an update, and of what.
type gradient struct {
	step       *curriculum.Step // its losses included
	rows       [][]int          // dealt out for it, those that were left out included
	nothing    string           // why there is no gradient
	loss, norm float64
}

// accumulate adds up the gradients of micro-batches: of the mean over all labelled tokens
// of the step, unless the curriculum asks for another reduction. Rows that make the loss
// or the gradient no number are a *notFinite error.
func (l *loop) accumulate(ctx context.Context, s *curriculum.Step, labels int) (*gradient, error) {
	s.TokenLoss, s.Returned = nil, nil
	asked, err := l.curriculum.Weights(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("step %d: %w", l.step+1, err)
	}
	l.byColumn(&asked, s.Micros)
	weights := l.tokenWeights(asked, s.Micros, labels)
	g := &gradient{step: s}
	s.TokenLoss, s.Returned = make([][]float32, len(s.Micros)), make([]float64, len(s.Micros))
	l.zeroGradients()
	broken := &notFinite{what: "loss"}
	for i, m := range s.Micros {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if s.TokenLoss[i], s.Returned[i], err = l.backward(m, i, weights[i]); err != nil {
			return nil, fmt.Errorf("step %d, %s: %w", l.step+1, l.describe(m.Rows), err)
		}
		broken.add(m, s.TokenLoss[i])
		g.loss += s.Returned[i]
	}
	if len(broken.rows) > 0 {
		return nil, broken
	}
	if g.norm = optim.GradNorm(l.device, l.params); finite(g.norm) {
		return g, nil
	}
	if broken, err = l.brokenGradients(ctx, s.Micros, weights); err != nil || len(broken.rows) > 0 {
		return nil, cmp.Or[error](err, broken)
	}
	return nil, spoilt{fmt.Errorf("step %d: the gradient is not finite (norm %v) while the loss is %v and every row's own gradient is finite: lower learning_rate, or look at %s; %s",
		l.step+1, g.norm, g.loss, l.describe(s.Micros[0].Rows), l.lastCheckpoint())}
}

// tokenWeights is the factor of every token's loss in the loss of a step, micro-batch by
// micro-batch: by default 1/N with N the labels of the whole step.
func (l *loop) tokenWeights(w curriculum.Weights, micros []batch.Micro, labels int) [][]float32 {
	out := make([][]float32, len(micros))
	for i, m := range micros {
		out[i] = make([]float32, len(m.Tokens))
		predicted := 0
		for _, n := range m.Labelled {
			predicted += n
		}
		for r, n := range m.Labelled {
			weight := 1.0
			if w.Rows != nil {
				weight = w.Rows[i][r]
			}
			scale := weight / float64(labels)
			switch w.How {
			case algo.RowSum:
				scale = weight / float64(n)
			case algo.MicroSum:
				scale = 1 / float64(max(predicted, 1)) * weight
			case algo.MicroMean: // upstream forgets to divide by the micro-batches (finding 54)
				scale = 1 / float64(max(predicted, 1)*len(micros)) * weight
			}
			for k := m.RowStart[r]; k < m.RowStart[r+1]; k++ {
				if m.Targets[k] >= 0 {
					out[i][k] = float32(scale)
				}
			}
		}
	}
	return out
}
