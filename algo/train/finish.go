package train

import (
	"context"
	"os"
	"path/filepath"

	"dataflex/algo/report"
)

// Finish leaves in output_dir what LLaMA-Factory leaves there after training: the
// model, the metrics, the state, the plots; and evaluates once more where an
// evaluation was asked for.
func (t *Trainer) Finish(ctx context.Context) error {
	out := t.Config.Training.OutputDir
	if err := t.saveModel(out); err != nil {
		return err
	}
	metrics := t.Result()
	t.recorder.history = append(t.recorder.history, append(append(report.Object{}, metrics...), report.Field{Key: "step", Value: t.step}))
	if err := t.recorder.log.Write(report.Event{Step: t.step, Total: t.Plan.Total, Epoch: t.Plan.Epoch(t.step)}); err != nil {
		return err
	}
	if err := report.WriteResults(out, "train", metrics); err != nil {
		return err
	}
	if err := t.recorder.state(t).Write(out, true); err != nil {
		return err
	}
	if err := t.plot(out); err != nil {
		return err
	}
	if !t.Config.Training.DoEval || len(t.eval) == 0 {
		return nil
	}
	eval, err := t.evaluate(ctx)
	if err != nil {
		return err
	}
	eval.Set("epoch", t.Plan.Epoch(t.step))
	t.log.Info("final evaluation", "eval_loss", eval.Get("eval_loss"))
	return report.WriteResults(out, "eval", eval)
}

func (t *Trainer) plot(out string) error {
	if !t.Config.Tuning.PlotLoss {
		return nil
	}
	for _, key := range []string{"loss", "eval_loss"} {
		path, ok, err := report.PlotLoss(out, key, t.recorder.history)
		if err != nil {
			return err
		}
		if ok {
			t.log.Info("plot written", "path", path)
		}
	}
	return nil
}

// finished reports whether a folder holds final weights but no checkpoint to go
// on from: training there would overwrite a result.
func finished(dir string) bool {
	for _, f := range []string{"adapter_model.safetensors", "model.safetensors", "model.safetensors.index.json"} {
		if _, err := os.Stat(filepath.Join(dir, f)); err == nil {
			return true
		}
	}
	return false
}
