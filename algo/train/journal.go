package train

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/algo/report/record"
	"dataflex.dev/dataflex/data/pyjson"
)

// journal keeps a run's records: the log, the history, what was selected, what report_to
// names, what the report page is made of. What happens comes in as values and becomes
// JSON here.
type journal struct {
	loop      *loop // how far the run is
	component *config.Component
	out       *slog.Logger

	log      *report.Log
	picks    *report.Picks
	trackers report.Trackers // what report_to names
	page     *record.Writer
	history  []pyjson.Object
	weighed  int  // the step whose rows' weights were recorded last
	done     bool // the run came to its end
}

// evaluations is how many evaluation sets' metrics the history has of a step.
func (j *journal) evaluations(step int) (n int) {
	for _, entry := range j.history {
		isOne := slices.ContainsFunc(entry, func(f pyjson.Field) bool { return strings.HasPrefix(f.Key, "eval_") })
		if isOne && entry.Get("step") == step {
			n++
		}
	}
	return n
}

// note adds an entry to the history, its line to the training log, and tells what
// report_to names, in this order: where a later one fails, the checkpoint that the run is
// rescued into holds the entry, and a run that goes on does not write the line again.
func (j *journal) note(entry pyjson.Object, lines ...report.Event) error {
	j.history = append(j.history, entry)
	for _, e := range lines {
		if err := j.log.Write(e); err != nil {
			return err
		}
	}
	return j.trackers.Log(entry)
}

// stepTaken writes a line of the training log: the mean loss since the last line.
func (j *journal) stepTaken(s stepStats) error {
	l := j.loop
	loss := report.Round(l.totals.WindowLoss/float64(max(l.totals.WindowSteps, 1)), 4)
	l.totals.WindowLoss, l.totals.WindowSteps = 0, 0
	epoch := l.Plan.Epoch(l.step)
	err := j.note(pyjson.Object{
		{Key: "epoch", Value: epoch},
		{Key: "grad_norm", Value: s.gradNorm},
		{Key: "learning_rate", Value: s.lr},
		{Key: "loss", Value: loss},
		{Key: "step", Value: l.step},
	}, report.Event{Step: l.step, Total: l.Plan.Total, Loss: loss, LR: s.lr, Epoch: epoch})
	if err != nil {
		return err
	}
	if err := j.page.Log(l.step, l.totals.Tokens, j.log.Elapsed().Seconds(), false); err != nil {
		return err
	}
	j.out.Info("step", "step", fmt.Sprintf("%d/%d", l.step, l.Plan.Total), "loss", loss, "grad_norm", report.Round(s.gradNorm, 4),
		"learning_rate", s.lr, "epoch", report.Round(epoch, 2))
	return nil
}

// evaluated logs evaluations, a line for every set, as Hugging Face does.
func (j *journal) evaluated(sets evaluations) error {
	step := j.loop.step
	epoch := j.loop.Plan.Epoch(step)
	for _, e := range sets {
		fields := e.fields()
		entry := append(slices.Clip(fields), pyjson.Field{Key: "epoch", Value: epoch}, pyjson.Field{Key: "step", Value: step})
		if err := j.note(entry, report.Event{Step: step, Total: j.loop.Plan.Total, EvalLoss: fields.Get("eval_loss"), Epoch: epoch}); err != nil {
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

// Phase times a part of the run.
func (j *journal) Phase(name string) func() { return j.page.Phase(name) }

// Selected records which rows were chosen, with their scores, and how long it took.
func (j *journal) Selected(r algo.Request, sel algo.Selection, seconds float64, reused bool) error {
	l := j.loop
	l.totals.Selecting += seconds
	l.totals.Selections++
	perSecond := 0.0
	if sel.Scored > 0 {
		perSecond = float64(sel.Scored) / max(seconds, 1e-9)
	}
	fields := pyjson.Object{
		{Key: "selection_runtime", Value: report.Round(seconds, 4)},
		{Key: "selection_samples_per_second", Value: report.Round(perSecond, 3)},
	}
	epoch := l.Plan.Epoch(r.Step)
	if err := j.note(append(slices.Clip(fields), pyjson.Field{Key: "epoch", Value: epoch}, pyjson.Field{Key: "step", Value: r.Step})); err != nil {
		return err
	}
	j.out.Info("selection", "step", r.Step, "selector", j.component.Name, "mode", j.component.Mode, "rows", len(sel.Indices), "of", len(l.train),
		"reused", reused, "selection_runtime", fields[0].Value, "selection_samples_per_second", fields[1].Value)
	if err := j.log.Write(report.Event{Step: r.Step, Total: l.Plan.Total, Epoch: epoch, Extra: fields}); err != nil {
		return err
	}
	if err := j.picks.Write(r, sel, l.train); err != nil {
		return err
	}
	return j.page.Selection(r, sel, l.train, seconds, reused)
}

// Mixed records the shares that a window was drawn with; update 0 is the run's own.
func (j *journal) Mixed(step, update int, domains []algo.Domain, shares, lossWeights []float64, seconds float64) error {
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
	j.weighed = step
	j.page.Weigh(step, micros, weights, loss, j.loop.train)
}

// Trained records the losses of a step by domain.
func (j *journal) Trained(micros []algo.MicroReport) { j.page.Domains(micros) }
