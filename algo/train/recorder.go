package train

import (
	"context"
	"fmt"

	"dataflex/algo"
	"dataflex/algo/config"
	"dataflex/algo/report"
)

// recorder keeps the run's records: the log, the history, what was selected.
type recorder struct {
	log       *report.Log
	picks     *report.Picks
	history   []report.Object
	lastSaved string // the newest complete checkpoint
}

// afterStep logs, evaluates and saves where the configuration says so, in that
// order, as Hugging Face's Trainer does.
func (t *Trainer) afterStep(ctx context.Context, s stepStats) error {
	c := t.Config.Training
	last := t.step == t.Plan.Total
	if t.progress != nil {
		t.progress.Step(t.step, t.Plan.Total, s.loss)
	}
	if t.step%c.LoggingSteps == 0 || c.LoggingFirstStep && t.step == 1 {
		if err := t.recorder.step(t, s); err != nil {
			return err
		}
	}
	epochEnd := !t.Plan.Dynamic && t.step%t.Plan.StepsPerEpoch() == 0
	if len(t.eval) > 0 && (c.EvalStrategy == config.Steps && t.step%c.EvalSteps == 0 || c.EvalStrategy == config.Epoch && (epochEnd || last)) {
		metrics, err := t.evaluate(ctx)
		if err != nil {
			return err
		}
		if err := t.recorder.evaluation(t, metrics); err != nil {
			return err
		}
	}
	if c.SaveStrategy == config.Steps && (t.step%c.SaveSteps == 0 || last) || c.SaveStrategy == config.Epoch && (epochEnd || last) {
		path, err := t.save()
		if err != nil {
			return err
		}
		t.log.Info("checkpoint saved", "step", t.step, "path", path)
	}
	return nil
}

// step writes a line of the training log: the mean loss since the last line.
func (r *recorder) step(t *Trainer, s stepStats) error {
	loss := report.Round(t.totals.WindowLoss/float64(max(t.totals.WindowSteps, 1)), 4)
	t.totals.WindowLoss, t.totals.WindowSteps = 0, 0
	epoch := t.Plan.Epoch(t.step)
	r.history = append(r.history, report.Object{
		{Key: "epoch", Value: epoch}, {Key: "grad_norm", Value: s.gradNorm}, {Key: "learning_rate", Value: s.lr},
		{Key: "loss", Value: loss}, {Key: "step", Value: t.step},
	})
	t.log.Info("step", "step", fmt.Sprintf("%d/%d", t.step, t.Plan.Total), "loss", loss, "grad_norm", report.Round(s.gradNorm, 4),
		"learning_rate", s.lr, "epoch", report.Round(epoch, 2))
	return r.log.Write(report.Event{Step: t.step, Total: t.Plan.Total, Loss: loss, LR: s.lr, Epoch: epoch})
}

func (r *recorder) evaluation(t *Trainer, metrics report.Object) error {
	epoch := t.Plan.Epoch(t.step)
	r.history = append(r.history, append(append(report.Object{}, metrics...), report.Field{Key: "epoch", Value: epoch}, report.Field{Key: "step", Value: t.step}))
	args := []any{"step", t.step}
	for _, f := range metrics {
		args = append(args, f.Key, f.Value)
	}
	t.log.Info("evaluation", args...)
	return r.log.Write(report.Event{Step: t.step, Total: t.Plan.Total, EvalLoss: metrics.Get("eval_loss"), Epoch: epoch})
}

// selection records which rows were chosen, with their scores, and how long it
// took.
func (r *recorder) selection(t *Trainer, q algo.Request, sel algo.Selection, seconds float64, reused bool) error {
	fields := selectionFields(sel, seconds)
	epoch := t.Plan.Epoch(t.step)
	r.history = append(r.history, append(append(report.Object{}, fields...), report.Field{Key: "epoch", Value: epoch}, report.Field{Key: "step", Value: t.step}))
	t.log.Info("selection", "step", t.step, "selector", t.component.Name, "mode", t.component.Mode, "rows", len(sel.Indices), "of", len(t.train),
		"reused", reused, "selection_runtime", fields.Get("selection_runtime"), "selection_samples_per_second", fields.Get("selection_samples_per_second"))
	if err := r.log.Write(report.Event{Step: t.step, Total: t.Plan.Total, Epoch: epoch, Extra: fields}); err != nil {
		return err
	}
	return r.picks.Write(q, sel, t.train)
}

// state is what goes into trainer_state.json.
func (r *recorder) state(t *Trainer) *report.State {
	c := t.Config.Training
	s := &report.State{
		GlobalStep: t.step, MaxSteps: t.Plan.Total, LoggingSteps: c.LoggingSteps, EvalSteps: c.EvalSteps, SaveSteps: c.SaveSteps,
		Epoch: t.Plan.Epoch(t.step), NumTrainEpochs: c.NumTrainEpochs, TrainBatchSize: c.PerDeviceTrainBatchSize,
		TotalFlos: t.totals.Flos, History: r.history,
	}
	if c.IncludeNumInputTokensSeen {
		s.InputTokensSeen = t.totals.Padded
	}
	return s
}
