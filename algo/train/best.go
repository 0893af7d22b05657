package train

import (
	"context"
	"fmt"
	"math"
	"path/filepath"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/storage"
)

// best is the best evaluation so far, by metric_for_best_model, and how many
// evaluations have passed without a better one.
type best struct {
	Known   bool    `json:"known"`
	Metric  float64 `json:"metric"`
	Step    int     `json:"step"`
	Waiting int     `json:"waiting"`
}

// observe takes a new value of the metric in. Early stopping counts an evaluation
// as better only past the threshold; the best itself needs no threshold.
func (b *best) observe(step int, metric float64, greater bool, threshold float64) {
	better := func(margin float64) bool {
		d := metric - b.Metric
		if !greater {
			d = -d
		}
		return !b.Known || d > 0 && math.Abs(metric-b.Metric) > margin
	}
	if better(threshold) {
		b.Waiting = 0
	} else {
		b.Waiting++
	}
	if better(0) {
		b.Known, b.Metric, b.Step = true, metric, step
	}
}

// evaluateAndJudge runs an evaluation, logs it, and keeps the books of the best
// model; stop is true when early stopping's patience is at its end.
func (t *session) evaluateAndJudge(ctx context.Context) (stop bool, err error) {
	c := t.Config
	clock := t.journal.Phase("evaluating")
	sets, err := t.evaluate(ctx)
	clock()
	if err != nil {
		return false, err
	}
	if err := t.journal.evaluated(sets); err != nil {
		return false, err
	}
	name := c.Training.MetricForBestModel
	if name == "" {
		return false, nil
	}
	value, err := sets.metric(name)
	if err != nil {
		return false, c.Errorf("metric_for_best_model", "%w", err)
	}
	if t.plateau != nil {
		t.plateau.Observe(value)
	}
	t.best.observe(t.step, value, c.Training.GreaterIsBetter, c.Tuning.EarlyStoppingMinDelta)
	if t.enough() {
		t.log.Info("early stopping: no better evaluation", "evaluations", t.best.Waiting, name, value, "best", t.best.Metric, "at_step", t.best.Step)
		return true, nil
	}
	return false, nil
}

// enough says that early stopping's patience is at its end.
func (t *session) enough() bool {
	p := t.Config.Tuning.EarlyStoppingSteps
	return p != nil && t.best.Waiting >= *p
}

// due says whether something of that strategy happens after the step just taken.
func (t *session) due(strategy string, every int) bool {
	last := t.step == t.Plan.Total
	switch strategy {
	case config.Steps:
		return t.step%every == 0
	case config.Epoch:
		// In dynamic runs, too, an epoch is a pass over the whole data set, as in upstream's
		// loop, whatever windows are trained on.
		return last || t.step%t.Plan.StepsPerEpoch() == 0
	}
	return false
}

// delayed says whether evaluation has not begun: eval_delay counts epochs with
// eval_strategy epoch, steps otherwise.
func (t *session) delayed() bool {
	c := t.Config.Training
	if c.EvalStrategy == config.Epoch {
		return t.Plan.Epoch(t.step) < c.EvalDelay
	}
	return float64(t.step) < c.EvalDelay
}

// bestCheckpoint is the folder of the best evaluation's checkpoint, "" if there is
// none.
func (t *session) bestCheckpoint() string {
	if !t.best.Known {
		return ""
	}
	dir := filepath.Join(t.Config.Training.OutputDir, storage.StepName(t.best.Step))
	if storage.Verify(dir) != nil {
		return ""
	}
	return dir
}

// loadBest puts the best checkpoint's weights into the model, for what is saved at
// the end.
func (t *session) loadBest() error {
	if !t.Config.Training.LoadBestModelAtEnd {
		return nil
	}
	dir := t.bestCheckpoint()
	if dir == "" {
		t.log.Warn("load_best_model_at_end: the best evaluation has no checkpoint: the last weights are kept", "best_step", t.best.Step)
		return nil
	}
	t.log.Info("loading the best model", "checkpoint", dir, t.Config.Training.MetricForBestModel, t.best.Metric)
	if err := t.model.ReadTrained(dir); err != nil {
		return fmt.Errorf("load_best_model_at_end: %w", err)
	}
	t.bestLoaded = true
	return nil
}
