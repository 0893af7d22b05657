package train

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/task"
	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/data/tokenizer"
	"dataflex.dev/dataflex/model/decoder"
)

// ErrInterrupted is returned when the context ended and a checkpoint was saved.
var ErrInterrupted = errors.New("interrupted; the checkpoint is complete, the same command goes on from it")

// session is a run around its loop: what it is made of, where it lies on disk, when it
// evaluates and saves.
type session struct {
	*loop
	Budget decoder.Budget

	tokenizer *tokenizer.Tokenizer
	template  *template.Template
	data      *Data // whose memory train and eval lie in
	eval      []EvalSet
	lent      *algo.Run                // what methods see of the run
	component *config.Component        // nil in a run without one
	isGate    func(module string) bool // of freeze_gate; nil where it is off
	began     time.Time                // the set-up
	ids       ids
	record    runFile // of output_dir
	aside     string  // where what was in output_dir went

	kept          kept // the checkpoint of the last finished step, if it is saved
	evaluationDue bool // the evaluation that the last finished step asks for has not been made
	bestLoaded    bool // the model holds the best weights, not the last
	best          best
	evalBroken    map[data.ID]bool // evaluation rows that were left out
	progress      Progress
	saveNow       <-chan os.Signal
}

// EvalSet is a named set of evaluation rows; the name is empty when there is one.
type EvalSet struct {
	Name     string
	Examples []data.Example
}

// Progress is told how far the run is; nil wants nothing.
type Progress interface {
	Step(done, total int, loss float64, tokens int) // tokens trained on so far
	Close()
}

// Train runs to the end of the plan. When ctx ends, or an error ends the run, it saves a
// checkpoint of the last finished step.
func (t *session) Train(ctx context.Context) error {
	if t.step == 0 && t.Config.Training.EvalOnStart && len(t.eval) > 0 {
		if _, err := t.evaluateAndJudge(ctx); err != nil {
			return err
		}
	}
	stop := t.enough()
	if t.evaluationDue {
		var err error
		if stop, err = t.settle(ctx); err != nil {
			return t.stopped(ctx, err)
		}
	}
	if !stop {
		err := t.run(ctx, func(ctx context.Context, s stepStats) (stop bool, err error) {
			err = task.Catch(func() error { stop, err = t.afterStep(ctx, s); return err })
			return stop, err
		})
		if err != nil {
			return t.stopped(ctx, err)
		}
	}
	return t.loadBest()
}

// stopped saves what there is when the context ended, or an error ends the run.
func (t *session) stopped(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		return t.rescued(err)
	}
	if t.bestLoaded && t.lastSaved != "" {
		return ErrInterrupted // the last step's weights are in its checkpoint, if anywhere
	}
	if t.step == 0 {
		return fmt.Errorf("interrupted before the first step, nothing is saved: %w", err)
	}
	path, serr := t.save(true)
	if serr != nil {
		return fmt.Errorf("interrupted at step %d, and the checkpoint could not be saved: %w", t.step, serr)
	}
	t.log.Info("checkpoint saved", "step", t.step, "path", path)
	return ErrInterrupted
}

// afterStep logs, evaluates and saves where the configuration says so, in that
// order, as Hugging Face's Trainer does; stop ends the run early.
func (t *session) afterStep(ctx context.Context, s stepStats) (stop bool, err error) {
	c := t.Config.Training
	if t.progress != nil {
		t.progress.Step(t.step, t.Plan.Total, s.loss, t.totals.Tokens)
	}
	t.evaluationDue = len(t.eval) > 0 && t.due(c.EvalStrategy, c.EvalSteps) && !t.delayed() // also where logging fails
	if t.due(c.LoggingStrategy, c.LoggingSteps) || c.LoggingFirstStep && t.step == 1 {
		if err := t.journal.stepTaken(s); err != nil {
			return false, err
		}
	}
	if stop, err = t.settle(ctx); err != nil {
		return false, err
	}
	return stop, t.saveAsked()
}

// settle evaluates where that is due and saves where the configuration says so.
func (t *session) settle(ctx context.Context) (stop bool, err error) {
	c := t.Config.Training
	if t.evaluationDue {
		if stop, err = t.evaluateAndJudge(ctx); err != nil {
			return false, err
		}
		t.evaluationDue, t.kept = false, kept{} // a checkpoint of the step without it is out of date
	}
	final := (stop || t.step == t.Plan.Total) && c.SaveStrategy == config.Steps
	better := c.SaveStrategy == config.Best && t.best.Known && t.best.Step == t.step
	if t.due(c.SaveStrategy, c.SaveSteps) || final || better {
		path, err := t.save(false)
		if err != nil {
			return false, err
		}
		t.log.Info("checkpoint saved", "step", t.step, "path", path)
	}
	return stop, nil
}
