package train

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"time"

	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/task"
	"dataflex.dev/dataflex/model/decoder"
)

// EvalSet is a named set of evaluation rows; the name is empty when there is one.
type EvalSet struct {
	Name     string
	Examples []data.Example
}

// evaluator evaluates a model on its evaluation sets.
type evaluator struct {
	config *config.Config
	model  *decoder.Model
	log    *slog.Logger
	sets   []EvalSet
	broken map[data.ID]bool // rows that were left out, each named once
}

// evaluate evaluates every set after that many steps. A panic of a kernel is an error, as
// in a step.
func (v *evaluator) evaluate(ctx context.Context, step int) (out evaluations, err error) {
	err = task.Catch(func() error {
		for _, set := range v.sets {
			e, err := v.evaluateSet(ctx, step, set)
			if err != nil {
				return err
			}
			out = append(out, e)
		}
		return nil
	})
	return out, err
}

func (v *evaluator) evaluateSet(ctx context.Context, step int, set EvalSet) (e evaluation, err error) {
	started := time.Now()
	e = evaluation{set: set.Name, rows: len(set.Examples)}
	if e.loss, e.batches, err = v.loss(ctx, step, set.Examples); err != nil {
		return e, err
	}
	if v.config.Tuning.ComputeAccuracy {
		accuracy, err := v.accuracy(ctx, set.Examples)
		if err != nil {
			return e, err
		}
		e.accuracy = &accuracy
	}
	if v.config.Tuning.Stage == config.StagePT {
		perplexity := math.Exp(e.loss)
		e.perplexity = &perplexity
	}
	e.seconds = time.Since(started).Seconds()
	return e, nil
}

// loss is Hugging Face's eval_loss: the mean over batches of each batch's mean
// over its tokens. It is not the mean over all tokens, and a last, short batch
// counts as much as the others (recorded: golden run static_sft_eval). Rows whose loss
// is no number are left out, unless no row has one.
func (v *evaluator) loss(ctx context.Context, step int, examples []data.Example) (loss float64, batches int, err error) {
	size := v.config.Training.PerDeviceEvalBatchSize
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
		tokenLoss, err := v.model.Losses(m.Batch, float32(v.config.Training.LabelSmoothingFactor))
		if err != nil {
			return 0, 0, fmt.Errorf("evaluation, rows %d to %d: %w", lo, hi-1, err)
		}
		var batchSum float64
		n := 0
		broken := v.leaveOut(examples, m, tokenLoss, step)
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
	case batches == 0 && len(v.broken) > 0:
		return math.NaN(), 0, nil
	case batches == 0:
		return 0, 0, fmt.Errorf("evaluation: no row has a token to predict")
	}
	return sum / float64(batches), batches, nil
}

// leaveOut says which rows of a batch have a loss that is no number, and names each
// of them once in a run.
func (v *evaluator) leaveOut(examples []data.Example, m batch.Micro, tokenLoss []float32, step int) []bool {
	broken := make([]bool, len(m.Rows))
	for _, i := range rowsNotFinite(m, tokenLoss) {
		id := examples[m.Rows[i]].ID
		broken[i] = true
		if !v.broken[id] {
			v.log.Warn("an evaluation row's loss is not finite: evaluations leave it out while that is so", "dataset", id.Dataset, "row", id.Row, "step", step)
		}
		if v.broken == nil {
			v.broken = map[data.ID]bool{}
		}
		v.broken[id] = true
	}
	return broken
}

// accuracy is the mean over rows of the share of labelled tokens that are the
// most probable; a row without any counts for nothing.
func (v *evaluator) accuracy(ctx context.Context, examples []data.Example) (float64, error) {
	var sum float64
	n := 0
	for _, rows := range batch.ByLength(examples, accuracyTokens) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		m := batch.Pack(examples, rows)
		predicted, err := v.model.Predictions(m.Batch)
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
