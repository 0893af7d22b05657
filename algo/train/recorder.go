package train

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/algo/report/record"
	"dataflex.dev/dataflex/data/pyjson"
)

// recorder keeps the run's records: the log, the history, what was selected.
type recorder struct {
	log       *report.Log
	picks     *report.Picks
	trackers  report.Trackers
	page      *record.Writer
	done      bool // the run came to its end
	history   []pyjson.Object
	lastSaved string // the newest complete checkpoint
}

// afterStep logs, evaluates and saves where the configuration says so, in that
// order, as Hugging Face's Trainer does; stop ends the run early.
func (t *Trainer) afterStep(ctx context.Context, s stepStats) (stop bool, err error) {
	c := t.Config.Training
	if t.progress != nil {
		t.progress.Step(t.step, t.Plan.Total, s.loss, t.totals.Tokens)
	}
	if t.due(c.LoggingStrategy, c.LoggingSteps) || c.LoggingFirstStep && t.step == 1 {
		if err := t.recorder.step(t, s); err != nil {
			return false, err
		}
	}
	t.evaluationDue = len(t.eval) > 0 && t.due(c.EvalStrategy, c.EvalSteps) && !t.delayed()
	return t.settle(ctx)
}

// settle evaluates where that is due and saves where the configuration says so.
func (t *Trainer) settle(ctx context.Context) (stop bool, err error) {
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

// evaluations is how many evaluation sets' metrics the history has of a step.
func (r *recorder) evaluations(step int) (n int) {
	for _, entry := range r.history {
		isOne := slices.ContainsFunc(entry, func(f pyjson.Field) bool { return strings.HasPrefix(f.Key, "eval_") })
		if isOne && entry.Get("step") == step {
			n++
		}
	}
	return n
}

// note adds an entry to the history, and to what report_to names.
func (r *recorder) note(entry pyjson.Object) error {
	r.history = append(r.history, entry)
	return r.trackers.Log(entry)
}

// step writes a line of the training log: the mean loss since the last line.
func (r *recorder) step(t *Trainer, s stepStats) error {
	loss := report.Round(t.totals.WindowLoss/float64(max(t.totals.WindowSteps, 1)), 4)
	t.totals.WindowLoss, t.totals.WindowSteps = 0, 0
	epoch := t.Plan.Epoch(t.step)
	err := r.note(pyjson.Object{
		{Key: "epoch", Value: epoch},
		{Key: "grad_norm", Value: s.gradNorm},
		{Key: "learning_rate", Value: s.lr},
		{Key: "loss", Value: loss},
		{Key: "step", Value: t.step},
	})
	if err != nil {
		return err
	}
	if err := r.page.Log(t.step, t.totals.Tokens, r.log.Elapsed().Seconds(), false); err != nil {
		return err
	}
	t.log.Info("step", "step", fmt.Sprintf("%d/%d", t.step, t.Plan.Total), "loss", loss, "grad_norm", report.Round(s.gradNorm, 4),
		"learning_rate", s.lr, "epoch", report.Round(epoch, 2))
	return r.log.Write(report.Event{Step: t.step, Total: t.Plan.Total, Loss: loss, LR: s.lr, Epoch: epoch})
}

// evaluation logs the metrics, a line for every set, as Hugging Face does.
func (r *recorder) evaluation(t *Trainer, metrics pyjson.Object) error {
	epoch := t.Plan.Epoch(t.step)
	per := len(metrics) / len(t.eval)
	for i := range t.eval {
		set := metrics[i*per : (i+1)*per]
		if err := r.note(append(append(pyjson.Object{}, set...), pyjson.Field{Key: "epoch", Value: epoch}, pyjson.Field{Key: "step", Value: t.step})); err != nil {
			return err
		}
		args := []any{"step", t.step}
		for _, f := range set {
			args = append(args, f.Key, f.Value)
		}
		t.log.Info("evaluation", args...)
		if err := r.log.Write(report.Event{Step: t.step, Total: t.Plan.Total, EvalLoss: set.Get("eval_loss"), Epoch: epoch}); err != nil {
			return err
		}
	}
	return nil
}

// selection records which rows were chosen, with their scores, and how long it
// took.
func (r *recorder) selection(t *Trainer, q algo.Request, sel algo.Selection, seconds float64, reused bool) error {
	fields := selectionFields(sel, seconds)
	epoch := t.Plan.Epoch(t.step)
	if err := r.note(append(append(pyjson.Object{}, fields...), pyjson.Field{Key: "epoch", Value: epoch}, pyjson.Field{Key: "step", Value: t.step})); err != nil {
		return err
	}
	t.log.Info("selection", "step", t.step, "selector", t.component.Name, "mode", t.component.Mode, "rows", len(sel.Indices), "of", len(t.train),
		"reused", reused, "selection_runtime", fields.Get("selection_runtime"), "selection_samples_per_second", fields.Get("selection_samples_per_second"))
	if err := r.log.Write(report.Event{Step: t.step, Total: t.Plan.Total, Epoch: epoch, Extra: fields}); err != nil {
		return err
	}
	if err := r.picks.Write(q, sel, t.train); err != nil {
		return err
	}
	return r.page.Selection(q, sel, t.train, seconds, reused)
}

// state is what goes into trainer_state.json.
func (r *recorder) state(t *Trainer) *report.State {
	c := t.Config.Training
	s := &report.State{
		GlobalStep: t.step, MaxSteps: t.Plan.Total, LoggingSteps: c.LoggingSteps, EvalSteps: c.EvalSteps, SaveSteps: c.SaveSteps,
		Epoch: t.Plan.Epoch(t.step), NumTrainEpochs: c.NumTrainEpochs, TrainBatchSize: c.PerDeviceTrainBatchSize,
		TotalFlos: t.totals.Flos, History: r.history,
	}
	if t.best.Known {
		s.BestMetric, s.BestStep = t.best.Metric, t.best.Step
		if dir := t.bestCheckpoint(); dir != "" {
			s.BestCheckpoint = dir
		}
	}
	if n, asked := c.IncludeNumInputTokensSeen.Of(t.totals.Padded, t.totals.Tokens); asked {
		s.InputTokensSeen = n
	}
	return s
}
