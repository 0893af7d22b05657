package train

import (
	"log/slog"
	"math"
	"path/filepath"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/model/optim"
)

// best is the best evaluation so far, by metric_for_best_model, and the number of
// evaluations since.
type best struct {
	Known   bool    `json:"known"`
	Metric  float64 `json:"metric"`
	Step    int     `json:"step"`
	Waiting int     `json:"waiting"`
}

// observe adds a new value of the metric. Early stopping counts an evaluation as better only
// if it is by more than the threshold; the best itself has no threshold.
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

// outlasts reports whether early stopping's patience, if there is any, has run out.
func (b *best) outlasts(patience *int) bool { return patience != nil && b.Waiting >= *patience }

// judge keeps track of the best model by metric_for_best_model, passes the metric to a
// learning-rate schedule that follows it, and decides when early stopping ends the run.
type judge struct {
	config  *config.Config
	plateau *optim.Plateau // nil: no schedule follows the metric
	log     *slog.Logger
	best    best
}

// check refuses a metric_for_best_model that evaluations will not have.
func (j *judge) check(outline evaluations) error {
	c := j.config
	if c.Training.MetricForBestModel == "" || c.Training.EvalStrategy == config.No {
		return nil
	}
	if _, err := outline.metric(c.Training.MetricForBestModel); err != nil {
		return c.Errorf("metric_for_best_model", "%w", err)
	}
	return nil
}

// observe adds the evaluation after that many steps; stop is true when early stopping's
// patience has run out.
func (j *judge) observe(step int, sets evaluations) (stop bool, err error) {
	name := j.config.Training.MetricForBestModel
	if name == "" {
		return false, nil
	}
	value, err := sets.metric(name)
	if err != nil {
		return false, j.config.Errorf("metric_for_best_model", "%w", err)
	}
	if j.plateau != nil {
		j.plateau.Observe(value)
	}
	j.best.observe(step, value, j.config.Training.GreaterIsBetter, j.config.Tuning.EarlyStoppingMinDelta)
	if j.enough() {
		j.log.Info("early stopping: no better evaluation", "evaluations", j.best.Waiting, name, value, "best", j.best.Metric, "at_step", j.best.Step)
		return true, nil
	}
	return false, nil
}

// enough reports whether early stopping's patience has run out.
func (j *judge) enough() bool { return j.best.outlasts(j.config.Tuning.EarlyStoppingSteps) }

// better reports whether the evaluation after that many steps is the best so far.
func (j *judge) better(step int) bool { return j.best.Known && j.best.Step == step }

// checkpoint is the folder of the best evaluation's checkpoint, "" if there is none.
func (j *judge) checkpoint() string {
	if !j.best.Known {
		return ""
	}
	dir := filepath.Join(j.config.Training.OutputDir, storage.StepName(j.best.Step))
	if storage.Verify(dir) != nil {
		return ""
	}
	return dir
}
