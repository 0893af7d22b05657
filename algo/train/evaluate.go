package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/task"
	"dataflex.dev/dataflex/driver"
)

// evaluateOnly is a run with do_train: false: the model as it is, with the adapters that
// are named, is evaluated and answers prompts, and what comes out is left in output_dir.
func evaluateOnly(ctx context.Context, c *config.Config, dev driver.Device, o Options) error {
	if err := supported(c); err != nil {
		return err
	}
	t := newSession(c, dev, o.Log)
	defer t.Close()
	if c.Training.DoEval {
		d, err := LoadData(ctx, c, o.Log)
		if err != nil {
			return err
		}
		t.data, t.tokenizer, t.template, t.eval = d, d.Tokenizer, d.options.Template, d.Eval
	} else {
		var err error
		if t.tokenizer, t.template, err = readTokenizer(c, o.Log); err != nil {
			return err
		}
	}
	if err := t.loadModel(); err != nil {
		return err
	}
	o.Log.Info("do_train is false: the model is used and not trained", "evaluation sets", len(t.eval), "do_predict", c.Training.DoPredict)
	if o.DryRun {
		return nil
	}
	if err := t.writeEvaluation(ctx); err != nil {
		return err
	}
	return t.predict(ctx)
}

// writeEvaluation evaluates where that is asked for, and leaves the result in output_dir.
func (t *session) writeEvaluation(ctx context.Context) error {
	c := t.Config
	if !c.Training.DoEval {
		return nil
	}
	sets, err := t.evaluate(ctx)
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("nothing is written of an evaluation that was cut short: %w", ErrInterrupted)
	}
	if err != nil {
		return err
	}
	metrics := sets.fields()
	for _, f := range metrics {
		t.log.Info("evaluation", f.Key, f.Value)
	}
	if err := storage.MkdirAll(c.Training.OutputDir); err != nil {
		return c.Errorf("output_dir", "%w", err)
	}
	return report.WriteResults(c.Training.OutputDir, "eval", metrics)
}

// evaluate evaluates every set. A panic of a kernel is an error, as in a step.
func (t *session) evaluate(ctx context.Context) (out evaluations, err error) {
	err = task.Catch(func() error {
		for _, set := range t.eval {
			e, err := t.evaluateSet(ctx, set)
			if err != nil {
				return err
			}
			out = append(out, e)
		}
		return nil
	})
	return out, err
}

func (t *session) evaluateSet(ctx context.Context, set EvalSet) (e evaluation, err error) {
	started := time.Now()
	e = evaluation{set: set.Name, rows: len(set.Examples)}
	if e.loss, e.batches, err = t.evalLoss(ctx, set.Examples); err != nil {
		return e, err
	}
	if t.Config.Tuning.ComputeAccuracy {
		accuracy, err := t.evalAccuracy(ctx, set.Examples)
		if err != nil {
			return e, err
		}
		e.accuracy = &accuracy
	}
	if t.Config.Tuning.Stage == config.StagePT {
		perplexity := math.Exp(e.loss)
		e.perplexity = &perplexity
	}
	e.seconds = time.Since(started).Seconds()
	return e, nil
}

// evalLoss is Hugging Face's eval_loss: the mean over batches of each batch's mean
// over its tokens. It is not the mean over all tokens, and a last, short batch
// counts as much as the others (recorded: golden run static_sft_eval). Rows whose loss
// is no number are left out, unless no row has one.
func (t *session) evalLoss(ctx context.Context, examples []data.Example) (loss float64, batches int, err error) {
	size := t.Config.Training.PerDeviceEvalBatchSize
	var sum float64
	for lo := 0; lo < len(examples); lo += size {
		if err := ctx.Err(); err != nil {
			return 0, 0, err
		}
		hi := min(lo+size, len(examples))
		rows := make([]int, hi-lo)
		for i := range rows {
			rows[i] = lo + i
		}
		m := batch.Pack(examples, rows)
		tokenLoss, err := t.model.Losses(m.Batch, float32(t.Config.Training.LabelSmoothingFactor))
		if err != nil {
			return 0, 0, fmt.Errorf("evaluation, rows %d to %d: %w", lo, hi-1, err)
		}
		var batchSum float64
		n := 0
		broken := t.brokenEval(examples, m, tokenLoss)
		for r, labelled := range m.Labelled {
			if broken[r] {
				continue
			}
			n += labelled
			for i := m.RowStart[r]; i < m.RowStart[r+1]; i++ {
				if m.Targets[i] >= 0 {
					batchSum += float64(tokenLoss[i])
				}
			}
		}
		if n > 0 {
			sum += batchSum / float64(n)
			batches++
		}
	}
	switch {
	case batches == 0 && len(t.evalBroken) > 0:
		return math.NaN(), 0, nil
	case batches == 0:
		return 0, 0, fmt.Errorf("evaluation: no row has a token to predict")
	}
	return sum / float64(batches), batches, nil
}

// brokenEval says which rows of a batch have a loss that is no number, and names each
// of them once in a run.
func (t *session) brokenEval(examples []data.Example, m batch.Micro, tokenLoss []float32) []bool {
	broken := make([]bool, len(m.Rows))
	for _, i := range rowsNotFinite(m, tokenLoss) {
		id := examples[m.Rows[i]].ID
		broken[i] = true
		if !t.evalBroken[id] {
			t.log.Warn("an evaluation row's loss is not finite: evaluations leave it out while that is so", "dataset", id.Dataset, "row", id.Row, "step", t.step)
		}
		if t.evalBroken == nil {
			t.evalBroken = map[data.ID]bool{}
		}
		t.evalBroken[id] = true
	}
	return broken
}

// evalAccuracy is the mean over rows of the share of labelled tokens that are the
// most probable; a row without any counts for nothing.
func (t *session) evalAccuracy(ctx context.Context, examples []data.Example) (float64, error) {
	var sum float64
	n := 0
	for _, rows := range batch.ByLength(examples, accuracyTokens) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		m := batch.Pack(examples, rows)
		predicted, err := t.model.Predictions(m.Batch)
		if err != nil {
			return 0, fmt.Errorf("compute_accuracy: %w", err)
		}
		for i, labelled := range m.Labelled {
			if labelled == 0 {
				continue
			}
			right := 0
			for k := m.RowStart[i]; k < m.RowStart[i+1]; k++ {
				if m.Targets[k] >= 0 && predicted[k] == m.Targets[k] {
					right++
				}
			}
			sum += float64(right) / float64(labelled)
			n++
		}
	}
	return sum / float64(max(n, 1)), nil
}

// accuracyTokens is how many tokens go through the model at once.
const accuracyTokens = 1024
