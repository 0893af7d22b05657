package train

import (
	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/data/pyjson"
)

// Result is what a finished run reports.
func (t *session) Result() pyjson.Object {
	seconds := max(t.totals.Seconds, 1e-9)
	samples := float64(len(t.train)) * t.Config.Training.NumTrainEpochs
	if t.Plan.Dynamic || t.Config.Training.MaxSteps > 0 {
		samples = float64(t.Plan.Total * t.Plan.Batch())
	}
	out := pyjson.Object{
		{Key: "epoch", Value: t.Plan.Epoch(t.step)},
		{Key: "total_flos", Value: t.totals.Flos},
		{Key: "train_loss", Value: t.totals.Loss / float64(max(t.step, 1))},
		{Key: "train_runtime", Value: report.Round(seconds, 4)},
		{Key: "train_samples_per_second", Value: report.Round(samples/seconds, 3)},
		{Key: "train_steps_per_second", Value: report.Round(float64(t.Plan.Total)/seconds, 3)},
		{Key: "train_tokens_per_second", Value: report.Round(float64(t.totals.Tokens)/seconds, 3)},
	}
	if t.Config.Tuning.IncludeEffectiveTokensPerSecond {
		out.Set("effective_tokens_per_sec", report.Round(float64(t.totals.Tokens)/seconds, 3))
	}
	if n := t.timesSkipped(); n > 0 {
		out.Set("skipped_samples", n)
	}
	if n, asked := t.Config.Training.IncludeNumInputTokensSeen.Of(t.totals.Padded, t.totals.Tokens); asked {
		out.Set("num_input_tokens_seen", n)
	}
	return out
}

// state is what goes into trainer_state.json.
func (t *session) state() *report.State {
	c := t.Config.Training
	s := &report.State{
		GlobalStep: t.step, MaxSteps: t.Plan.Total, LoggingSteps: c.LoggingSteps, EvalSteps: c.EvalSteps, SaveSteps: c.SaveSteps,
		Epoch: t.Plan.Epoch(t.step), NumTrainEpochs: c.NumTrainEpochs, TrainBatchSize: c.PerDeviceTrainBatchSize,
		TotalFlos: t.totals.Flos, History: t.journal.history,
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
