package train

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/task"
	"dataflex.dev/dataflex/model/decoder"
)

// EvalSet is a named set of evaluation rows; the name is empty if there is only one.
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
	broken map[data.ID]bool // rows that were left out, each reported once
	ranks  *ranks.Job       // divide the batches
	groups *lengthGroups    // group_by_length; nil = the rows' own order
	final  bool             // the evaluation that follows training
}

// evaluate evaluates every set after that many steps. A panic of a kernel becomes an error,
// as in a step.
func (v *evaluator) evaluate(ctx context.Context, step int) (out evaluations, err error) {
	err = task.Catch(func() error {
		for i, set := range v.sets {
			e, err := v.evaluateSet(ctx, step, set, v.order(step, i))
			if err != nil {
				return err
			}
			out = append(out, e)
		}
		return nil
	})
	return out, err
}

// outline are evaluations with the names of their metrics and without their values.
func (v *evaluator) outline() (out evaluations) {
	for _, set := range v.sets {
		e := evaluation{set: set.Name}
		if v.config.Tuning.ComputeAccuracy {
			e.accuracy = new(float64)
		}
		if v.config.Tuning.Stage == config.StagePT {
			e.perplexity = new(float64)
		}
		out = append(out, e)
	}
	return out
}

func (v *evaluator) evaluateSet(ctx context.Context, step int, set EvalSet, order []int) (e evaluation, err error) {
	started := time.Now()
	e = evaluation{set: set.Name, rows: len(set.Examples)}
	if e.loss, e.batches, err = v.loss(ctx, step, set.Examples, order); err != nil {
		return e, err
	}
	if v.config.Tuning.ComputeAccuracy {
		accuracy, err := v.accuracy(ctx, taken(set.Examples, order))
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

// loss is Hugging Face's eval_loss: the mean over batches of each batch's mean over its
// tokens. It is not the mean over all tokens: a shorter last batch counts as much as the
// others (recorded: golden run static_sft_eval), except in stage pt (weight). Rows whose loss
// is NaN or Inf are left out, unless no row has a finite one.
func (v *evaluator) loss(ctx context.Context, step int, examples []data.Example, order []int) (loss float64, n int, err error) {
	batches := slices.Collect(slices.Chunk(order, v.config.Training.PerDeviceEvalBatchSize))
	var sum, weights float64
	err = v.ranks.Deal(ctx, "evaluation", len(batches), func(i int) ([]byte, error) {
		return v.batchLoss(examples, batches[i])
	}, func(i int, result []byte) error {
		got := make([]float64, len(result)/8) // the sum of the labels' losses, their number, rows that were left out
		if err := ranks.Unpack(result, got); err != nil {
			return err
		}
		for _, r := range got[2:] {
			v.leaveOut(examples[batches[i][int(r)]].ID, step)
		}
		if got[1] > 0 {
			weight := v.weight(len(batches[i]))
			sum += weight * (got[0] / got[1])
			weights += weight
			n++
		}
		return nil
	})
	switch {
	case err != nil:
		return 0, 0, err
	case n == 0 && len(v.broken) > 0:
		return math.NaN(), 0, nil
	case n == 0:
		return 0, 0, fmt.Errorf("evaluation: no row has a token to predict")
	}
	return sum / weights, n, nil
}

// weight is the weight of a batch of that many rows in the mean. Hugging Face's Trainer, which
// LLaMA-Factory's stage pt extends, counts a shorter last batch by its rows; Seq2SeqTrainer,
// which its stage sft and all of DataFlex's trainers extend, as a whole batch.
func (v *evaluator) weight(rows int) float64 {
	if v.config.Tuning.Stage == config.StagePT && v.config.Dynamic.TrainType == config.Static {
		return float64(rows) / float64(v.config.Training.PerDeviceEvalBatchSize)
	}
	return 1
}

// order is the order in which the rows of a set are divided into batches. With
// dataloader_drop_last a shorter last batch is left out of evaluations as well (Hugging
// Face's Trainer), unless it is the only one.
func (v *evaluator) order(step, set int) []int {
	order := upTo(len(v.sets[set].Examples))
	if v.groups != nil && !v.groups.plan.Dynamic {
		order = v.groups.evaluation(step, set, v.final)
	}
	c := &v.config.Training
	if whole := len(order) / c.PerDeviceEvalBatchSize * c.PerDeviceEvalBatchSize; c.DataloaderDropLast && whole > 0 {
		order = order[:whole]
	}
	return order
}

// taken are the rows of an order, in the set's own.
func taken(examples []data.Example, order []int) []data.Example {
	out := make([]data.Example, 0, len(order))
	for _, row := range slices.Sorted(slices.Values(order)) {
		out = append(out, examples[row])
	}
	return out
}

// upTo returns 0, 1, …, n-1.
func upTo(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// batchLoss encodes the sum of the losses of a batch's labels, their number, and which of
// its rows are left out of both.
func (v *evaluator) batchLoss(examples []data.Example, rows []int) ([]byte, error) {
	m := batch.Pack(examples, rows)
	tokenLoss, err := v.model.Losses(m.Batch, float32(v.config.Training.LabelSmoothingFactor))
	if err != nil {
		return nil, fmt.Errorf("evaluation, rows %d to %d: %w", rows[0], rows[len(rows)-1], err)
	}
	broken := rowsNotFinite(m, tokenLoss)
	out := make([]float64, 2, 2+len(broken))
	for r, labelled := range m.Labelled {
		if slices.Contains(broken, r) {
			out = append(out, float64(r))
			continue
		}
		out[1] += float64(labelled)
		for i := m.RowStart[r]; i < m.RowStart[r+1]; i++ {
			if m.Targets[i] >= 0 {
				out[0] += float64(tokenLoss[i])
			}
		}
	}
	return ranks.Pack(out), nil
}

// leaveOut reports a row whose loss is NaN or Inf, once per run.
func (v *evaluator) leaveOut(id data.ID, step int) {
	if !v.broken[id] {
		v.log.Warn("an evaluation row's loss is not finite: it is left out of evaluations until it is finite", "dataset", id.Dataset, "row", id.Row, "step", step)
	}
	if v.broken == nil {
		v.broken = map[data.ID]bool{}
	}
	v.broken[id] = true
}

// accuracy is the mean over rows of the share of labelled tokens that are the most probable;
// a row without labels does not count.
func (v *evaluator) accuracy(ctx context.Context, examples []data.Example) (float64, error) {
	var sum float64
	n := 0
	batches := batch.ByLength(examples, accuracyTokens)
	err := v.ranks.Deal(ctx, "evaluation, compute_accuracy", len(batches), func(i int) ([]byte, error) {
		right, err := v.batchAccuracy(batch.Pack(examples, batches[i]))
		return ranks.Pack(right), err
	}, func(_ int, result []byte) error {
		right := make([]float64, len(result)/8)
		if err := ranks.Unpack(result, right); err != nil {
			return err
		}
		for _, x := range right {
			sum += x
			n++
		}
		return nil
	})
	return sum / float64(max(n, 1)), err
}

// batchAccuracy is the share for every row that has labels.
func (v *evaluator) batchAccuracy(m batch.Micro) (out []float64, err error) {
	predicted, err := v.model.Predictions(m.Batch)
	if err != nil {
		return nil, fmt.Errorf("compute_accuracy: %w", err)
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
		out = append(out, float64(right)/float64(labelled))
	}
	return out, nil
}

// accuracyTokens is the number of tokens in a batch.
const accuracyTokens = 1024
