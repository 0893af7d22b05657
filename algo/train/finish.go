package train

import (
	"context"
	"fmt"

	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/algo/report/page"
	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
)

// Finish leaves in output_dir what LLaMA-Factory leaves there after training: the
// model, the metrics, the state, the plots; and evaluates once more, and predicts, where
// that was asked for.
func (t *session) Finish(ctx context.Context) (err error) {
	// The summary is in the history of a run that is over, not of one whose last
	// evaluation was cut short.
	noted := len(t.journal.history)
	defer func() {
		if err != nil {
			t.journal.history = t.journal.history[:noted]
		}
	}()
	out := t.Config.Training.OutputDir
	if err := t.saveModel(out); err != nil {
		return err
	}
	if t.Config.Tuning.PiSSAConvert {
		if err := t.model.SavePiSSA(out); err != nil {
			return err
		}
	}
	metrics := t.Result()
	rows := t.ledger.Sum()
	t.log.Info("rows trained on", "of", rows.Rows, "once", rows.Once, "more_than_once", rows.More, "most_often", rows.Most, "never", rows.Never)
	if err := t.journal.note(append(append(pyjson.Object{}, metrics...), pyjson.Field{Key: "step", Value: t.step})); err != nil {
		return err
	}
	if err := t.journal.log.Write(report.Event{Step: t.step, Total: t.Plan.Total, Epoch: t.Plan.Epoch(t.step)}); err != nil {
		return err
	}
	if err := report.WriteResults(out, "train", metrics); err != nil {
		return err
	}
	if err := t.state().Write(out, true); err != nil {
		return err
	}
	if err := t.plot(out); err != nil {
		return err
	}
	if err := t.explain(out); err != nil {
		return err
	}
	if err := t.finalEvaluation(ctx, out); err != nil {
		return err
	}
	if err := t.predict(ctx); err != nil {
		return err
	}
	if err := t.replaced(); err != nil {
		return err
	}
	// Nothing is written again once the run is finished.
	if err := storage.SyncBelow(out, isCheckpoint); err != nil {
		return err
	}
	t.record.Finished, t.record.Step = true, t.step
	if err := t.writeRecord(); err != nil {
		return err
	}
	t.leaveBest()
	if err := t.journal.page.Log(t.step, t.totals.Tokens, t.journal.log.Elapsed().Seconds(), true); err != nil {
		return err
	}
	t.journal.done = true
	// The model is saved: a picture of how it came about that fails is no failed run.
	if path, err := page.Write(ctx, out); err != nil {
		t.log.Warn("the report was not written: dataflex-cli report writes it at any time", "error", err)
	} else {
		t.log.Info("report written: open it in a browser", "path", path)
	}
	return nil
}

func (t *session) finalEvaluation(ctx context.Context, out string) error {
	if !t.Config.Training.DoEval || len(t.eval) == 0 {
		return nil
	}
	clock := t.journal.page.Phase("evaluating")
	sets, err := t.evaluate(ctx)
	clock()
	if err != nil {
		return err
	}
	eval := sets.fields()
	eval.Set("epoch", t.Plan.Epoch(t.step))
	t.log.Info("final evaluation", "eval_loss", eval.Get("eval_loss"))
	return report.WriteResults(out, "eval", eval)
}

// explain writes the report of what was selected, and the model card.
func (t *session) explain(out string) error {
	path, ok, err := report.WriteSelectionReport(out)
	if err != nil {
		return err
	}
	if ok {
		t.log.Info("selection report written", "path", path)
	}
	c := t.Config
	method := ""
	if t.component != nil {
		method = fmt.Sprintf("%s: %s, mode %s", c.Dynamic.TrainType, t.component.Name, t.component.Mode)
	}
	return report.WriteCard(out, report.Card{
		BaseModel: c.Model.Name, Datasets: c.Data.Dataset, FinetuningType: c.Tuning.FinetuningType, Method: method,
		LearningRate: c.Training.LearningRate, TrainBatchSize: c.Training.PerDeviceTrainBatchSize, EvalBatchSize: c.Training.PerDeviceEvalBatchSize,
		Accumulation: c.Training.GradientAccumulationSteps, Seed: c.Training.Seed, Optimizer: c.Training.Optim,
		Beta1: c.Training.AdamBeta1, Beta2: c.Training.AdamBeta2, Epsilon: c.Training.AdamEpsilon, Scheduler: c.Training.LRSchedulerType,
		WarmupRatio: c.Training.WarmupRatio, WarmupSteps: c.Training.WarmupSteps, Epochs: c.Training.NumTrainEpochs, MaxSteps: c.Training.MaxSteps,
		FP16: c.Training.FP16, LabelSmoothing: c.Training.LabelSmoothingFactor, History: t.journal.history,
	})
}

func (t *session) plot(out string) error {
	if !t.Config.Tuning.PlotLoss {
		return nil
	}
	for _, key := range report.LossKeys(t.journal.history) {
		path, ok, err := report.PlotLoss(out, key, t.journal.history)
		if err != nil {
			return err
		}
		if ok {
			t.log.Info("plot written", "path", path)
		}
	}
	return nil
}
