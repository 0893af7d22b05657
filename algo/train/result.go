package train

import (
	"fmt"
	"log/slog"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/data/pyjson"
)

// result is the metrics that a finished run reports.
func result(c *config.Config, plan Plan, at *position) pyjson.Object {
	seconds := max(at.totals.Seconds, 1e-9)
	samples := float64(plan.Rows) * c.Training.NumTrainEpochs
	if plan.Dynamic || c.Training.MaxSteps > 0 {
		samples = float64(plan.Total * plan.Batch())
	}
	out := pyjson.Object{
		{Key: "epoch", Value: plan.Epoch(at.step)},
		{Key: "total_flos", Value: at.totals.Flos},
		{Key: "train_loss", Value: at.totals.Loss / float64(max(at.step, 1))},
		{Key: "train_runtime", Value: report.Round(seconds, 4)},
		{Key: "train_samples_per_second", Value: report.Round(samples/seconds, 3)},
		{Key: "train_steps_per_second", Value: report.Round(float64(plan.Total)/seconds, 3)},
		{Key: "train_tokens_per_second", Value: report.Round(float64(at.totals.Tokens)/seconds, 3)},
	}
	if c.Tuning.IncludeEffectiveTokensPerSecond {
		out.Set("effective_tokens_per_sec", report.Round(float64(at.totals.Tokens)/seconds, 3))
	}
	if n := at.skipped.times(); n > 0 {
		out.Set("skipped_samples", n)
	}
	if n, asked := c.Training.IncludeNumInputTokensSeen.Of(at.totals.Padded, at.totals.Tokens); asked {
		out.Set("num_input_tokens_seen", n)
	}
	return out
}

// trainerState is the content of trainer_state.json.
func trainerState(all *config.Config, plan Plan, at *position, history []pyjson.Object, j *judge) *report.State {
	c := all.Training
	epochs := c.NumTrainEpochs
	if c.MaxSteps > 0 && !plan.Dynamic {
		epochs = float64(plan.Total) / float64(plan.StepsPerEpoch())
	}
	evalSteps := c.EvalSteps
	if c.EvalStrategy != config.Steps && !all.Given("eval_steps") {
		evalSteps = 500 // the default of Hugging Face's state
	}
	s := &report.State{
		GlobalStep: at.step, MaxSteps: plan.Total, LoggingSteps: c.LoggingSteps, EvalSteps: evalSteps, SaveSteps: c.SaveSteps,
		Epoch: plan.Epoch(at.step), NumTrainEpochs: epochs, TrainBatchSize: c.PerDeviceTrainBatchSize,
		TotalFlos: at.totals.Flos, History: history,
	}
	if j.best.Known {
		s.BestMetric = j.best.Metric
	}
	if j.best.Known && c.SaveStrategy != config.No { // otherwise Hugging Face's state has no best step
		s.BestStep = j.best.Step
		if dir := j.checkpoint(); dir != "" {
			s.BestCheckpoint = dir
		}
	}
	if n, asked := c.IncludeNumInputTokensSeen.Of(at.totals.Padded, at.totals.Tokens); asked {
		s.InputTokensSeen = n
	}
	return s
}

// explain writes the report of the selections, and the model card.
func explain(c *config.Config, component *config.Component, history []pyjson.Object, log *slog.Logger) error {
	out := c.Training.OutputDir
	path, ok, err := report.WriteSelectionReport(out)
	if err != nil {
		return err
	}
	if ok {
		log.Info("selection report written", "path", path)
	}
	method := ""
	if component != nil {
		method = fmt.Sprintf("%s: %s, mode %s", c.Dynamic.TrainType, component.Name, component.Mode)
	}
	return report.WriteCard(out, report.Card{
		BaseModel: c.Model.Name, Datasets: c.Data.Dataset, FinetuningType: c.Tuning.FinetuningType, Method: method,
		LearningRate: c.Training.LearningRate, TrainBatchSize: c.Training.PerDeviceTrainBatchSize, EvalBatchSize: c.Training.PerDeviceEvalBatchSize,
		Accumulation: c.Training.GradientAccumulationSteps, Seed: c.Training.Seed, Optimizer: c.Training.Optim,
		Beta1: c.Training.AdamBeta1, Beta2: c.Training.AdamBeta2, Epsilon: c.Training.AdamEpsilon, Scheduler: c.Training.LRSchedulerType,
		WarmupRatio: c.Training.WarmupRatio, WarmupSteps: c.Training.WarmupSteps, Epochs: c.Training.NumTrainEpochs, MaxSteps: c.Training.MaxSteps,
		FP16: c.Training.FP16, LabelSmoothing: c.Training.LabelSmoothingFactor, History: history,
	})
}

// plot draws the losses if plot_loss requests it.
func plot(c *config.Config, history []pyjson.Object, log *slog.Logger) error {
	if !c.Tuning.PlotLoss {
		return nil
	}
	for _, key := range report.LossKeys(history) {
		path, ok, err := report.PlotLoss(c.Training.OutputDir, key, history)
		if err != nil {
			return err
		}
		if ok {
			log.Info("plot written", "path", path)
		}
	}
	return nil
}
