package train

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/algo/report/record"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/pyjson"
)

// journal writes a run's records: the log, the history, the selections, the trackers of
// report_to, the data of the report page. It receives values and converts them to JSON.
type journal struct {
	config    *config.Config
	plan      Plan
	at        *position // progress of the run
	rows      []data.Example
	component *config.Component // nil if the run has none
	out       *slog.Logger
	silent    bool // on ranks other than 0: rank 0 writes

	log      *report.Log
	picks    *report.Picks
	trackers report.Trackers // as requested by report_to
	page     *record.Writer
	history  []pyjson.Object
	weighed  int  // the step whose row weights were recorded last
	done     bool // the run has ended
}

// open opens the run's log files and the data of the report page; a resumed run drops their
// entries of steps that it will repeat. held is true if the window that opens at this step
// was chosen before the checkpoint from which the run resumes.
func (j *journal) open(fresh, held bool, facts record.Run) (err error) {
	if j.silent {
		return nil
	}
	out, step := j.config.Training.OutputDir, j.at.step
	prior := time.Duration(j.at.totals.Seconds * float64(time.Second))
	if j.log, err = report.OpenLog(out, fresh, prior); err != nil {
		return err
	}
	if j.picks, err = report.OpenPicks(out, fresh); err != nil {
		return err
	}
	if err := j.openTrackers(fresh); err != nil {
		return err
	}
	if !fresh {
		after := step
		if held {
			after++
		}
		if err := errors.Join(j.log.Truncate(step, held, j.evaluations(step)), j.picks.Truncate(after)); err != nil {
			return err
		}
	}
	if j.page, err = record.Open(out, fresh, step, held, len(j.rows), j.trackers.Scalar); err != nil {
		return err
	}
	return j.page.Start(facts)
}

// openTrackers opens the trackers of report_to.
func (j *journal) openTrackers(fresh bool) error {
	c := j.config.Training
	if slices.Contains(c.ReportTo, "tensorboard") {
		e, err := j.openEvents(fresh)
		if err != nil {
			return err
		}
		j.trackers = append(j.trackers, e)
	}
	if slices.Contains(c.ReportTo, "mlflow") {
		store, err := report.MLflowStore()
		if err != nil {
			return j.config.Errorf("report_to", "%w", err)
		}
		m, err := report.OpenMLflow(store, c.RunName, c.OutputDir, j.config.Shown(), fresh, j.at.step)
		if err != nil {
			return j.config.Errorf("report_to", "%w", err)
		}
		j.trackers = append(j.trackers, m)
	}
	return nil
}

// openEvents opens TensorBoard's file.
func (j *journal) openEvents(fresh bool) (*report.Events, error) {
	c := j.config.Training
	dir := c.LoggingDir
	if dir == "" {
		dir = filepath.Join(c.OutputDir, "runs")
	}
	e, err := report.OpenEvents(dir)
	if err != nil || fresh {
		return e, err
	}
	return e, e.Resume(j.at.step)
}

// evaluations is the number of evaluation sets whose metrics the history has for a step.
func (j *journal) evaluations(step int) (n int) {
	for _, entry := range j.history {
		isOne := slices.ContainsFunc(entry, func(f pyjson.Field) bool { return strings.HasPrefix(f.Key, "eval_") })
		if isOne && entry.Get("step") == step {
			n++
		}
	}
	return n
}

// note adds an entry to the history, its line to the training log, and passes it to the
// trackers, in this order: if a later one fails, the rescue checkpoint has the entry, and
// the resumed run does not write the line again.
func (j *journal) note(entry pyjson.Object, lines ...report.Event) error {
	j.history = append(j.history, entry)
	if j.silent {
		return nil
	}
	for _, e := range lines {
		if err := j.log.Write(e); err != nil {
			return err
		}
	}
	return j.trackers.Log(entry)
}

// stepTaken writes a line of the training log: the mean loss since the last line.
func (j *journal) stepTaken(s stepStats) error {
	step, totals := j.at.step, &j.at.totals
	loss := report.Round(totals.WindowLoss/float64(max(totals.WindowSteps, 1)), 4)
	totals.WindowLoss, totals.WindowSteps = 0, 0
	epoch := j.plan.Epoch(step)
	err := j.note(pyjson.Object{
		{Key: "epoch", Value: epoch},
		{Key: "grad_norm", Value: s.gradNorm},
		{Key: "learning_rate", Value: s.lr},
		{Key: "loss", Value: loss},
		{Key: "step", Value: step},
	}, report.Event{Step: step, Total: j.plan.Total, Loss: loss, LR: s.lr, Epoch: epoch})
	if err != nil || j.silent {
		return err
	}
	if err := j.page.Log(step, totals.Tokens, j.log.Elapsed().Seconds(), j.at.ledger.Sum(), false); err != nil {
		return err
	}
	j.out.Info("step", "step", fmt.Sprintf("%d/%d", step, j.plan.Total), "loss", loss, "grad_norm", report.Round(s.gradNorm, 4),
		"learning_rate", s.lr, "epoch", report.Round(epoch, 2))
	return nil
}

// evaluated logs evaluations, one line per set, as Hugging Face does.
func (j *journal) evaluated(sets evaluations) error {
	step := j.at.step
	epoch := j.plan.Epoch(step)
	for _, e := range sets {
		fields := e.fields()
		entry := append(slices.Clip(fields), pyjson.Field{Key: "epoch", Value: epoch}, pyjson.Field{Key: "step", Value: step})
		if err := j.note(entry, report.Event{Step: step, Total: j.plan.Total, EvalLoss: fields.Get("eval_loss"), Epoch: epoch}); err != nil {
			return err
		}
		args := []any{"step", step}
		for _, f := range fields {
			args = append(args, f.Key, f.Value)
		}
		j.out.Info("evaluation", args...)
	}
	return nil
}

// skipped records that a row, whose loss or gradient is NaN or Inf, is left out of the
// coming step.
func (j *journal) skipped(row int, what string) error {
	id, step := j.rows[row].ID, j.at.step
	j.out.Warn("a row's "+what+" is not finite: it is left out of this step, and of every other step in which this happens", "dataset", id.Dataset, "row", id.Row, "step", step+1)
	return j.note(pyjson.Object{
		{Key: "skipped_dataset", Value: id.Dataset},
		{Key: "skipped_row", Value: id.Row},
		{Key: "epoch", Value: j.plan.Epoch(step)},
		{Key: "step", Value: step + 1},
	})
}

// summed records the metrics of a finished run.
func (j *journal) summed(metrics pyjson.Object) error {
	step, rows := j.at.step, j.at.ledger.Sum()
	j.out.Info("rows trained on", "of", rows.Rows, "once", rows.Once, "more_than_once", rows.More, "most_often", rows.Most, "never", rows.Never)
	if err := j.note(append(slices.Clone(metrics), pyjson.Field{Key: "step", Value: step})); err != nil {
		return err
	}
	return j.log.Write(report.Event{Step: step, Total: j.plan.Total, Epoch: j.plan.Epoch(step)})
}

// finished records that the run ended.
func (j *journal) finished() error {
	if err := j.page.Log(j.at.step, j.at.totals.Tokens, j.log.Elapsed().Seconds(), j.at.ledger.Sum(), true); err != nil {
		return err
	}
	j.done = true
	return nil
}

// Phase times a part of the run.
func (j *journal) Phase(name string) func() {
	if j.silent {
		return func() {}
	}
	return j.page.Phase(name)
}

// Selected records which rows were chosen, with their scores, and how long it took.
func (j *journal) Selected(r algo.Request, sel algo.Selection, seconds float64, reused bool) error {
	j.at.totals.Selecting += seconds
	j.at.totals.Selections++
	if j.silent {
		return nil
	}
	perSecond := 0.0
	if sel.Scored > 0 {
		perSecond = float64(sel.Scored) / max(seconds, 1e-9)
	}
	fields := pyjson.Object{
		{Key: "selection_runtime", Value: report.Round(seconds, 4)},
		{Key: "selection_samples_per_second", Value: report.Round(perSecond, 3)},
	}
	epoch := j.plan.Epoch(r.Step)
	if err := j.note(append(slices.Clip(fields), pyjson.Field{Key: "epoch", Value: epoch}, pyjson.Field{Key: "step", Value: r.Step})); err != nil {
		return err
	}
	j.out.Info("selection", "step", r.Step, "selector", j.component.Name, "mode", j.component.Mode, "rows", len(sel.Indices), "of", len(j.rows),
		"reused", reused, "selection_runtime", fields[0].Value, "selection_samples_per_second", fields[1].Value)
	if err := j.log.Write(report.Event{Step: r.Step, Total: j.plan.Total, Epoch: epoch, Extra: fields}); err != nil {
		return err
	}
	if err := j.picks.Write(r, sel, j.rows); err != nil {
		return err
	}
	return j.page.Selection(r, sel, j.rows, seconds, reused)
}

// Mixed records the shares with which a window was drawn; update 0 is the run's own shares.
func (j *journal) Mixed(step, update int, domains []algo.Domain, shares, lossWeights []float64, seconds float64) error {
	if j.silent {
		return nil
	}
	if update > 0 {
		args := []any{"step", step, "mixer", j.component.Name, "mode", j.component.Mode, "runtime", report.Round(seconds, 4)}
		for i, d := range domains {
			args = append(args, d.Name, report.Round(shares[i], 4))
		}
		j.out.Info("mixture", args...)
	}
	return j.page.Mixture(step, update, domains, shares, lossWeights)
}

// Weighed records the weights of a step's rows.
func (j *journal) Weighed(step int, micros []batch.Micro, weights, loss [][]float64) {
	if j.weighed = step; j.silent {
		return
	}
	j.page.Weigh(step, micros, weights, loss, j.rows)
}

// Trained records the losses of a step by domain.
func (j *journal) Trained(micros []algo.MicroReport) {
	if !j.silent {
		j.page.Domains(micros)
	}
}
