package train

import "dataflex.dev/dataflex/algo/config"

// cadence decides what happens after a step: a function of configuration, plan and step.
type cadence struct {
	training *config.Training
	plan     Plan
}

// logs reports whether the training log has a line for the step.
func (c cadence) logs(step int) bool {
	return c.due(c.training.LoggingStrategy, c.training.LoggingSteps, step) || c.training.LoggingFirstStep && step == 1
}

// evaluates reports whether an evaluation follows the step.
func (c cadence) evaluates(step int) bool {
	return c.due(c.training.EvalStrategy, c.training.EvalSteps, step) && !c.delayed(step)
}

// saves reports whether a checkpoint is saved after the step: stop is true if it is the last
// one before the plan's end, better if its evaluation is the best so far.
func (c cadence) saves(step int, stop, better bool) bool {
	final := (stop || step == c.plan.Total) && c.training.SaveStrategy == config.Steps
	return c.due(c.training.SaveStrategy, c.training.SaveSteps, step) || final || c.training.SaveStrategy == config.Best && better
}

// due reports whether an action with that strategy happens.
func (c cadence) due(strategy string, every, step int) bool {
	last := step == c.plan.Total
	switch strategy {
	case config.Steps:
		return step%every == 0
	case config.Epoch:
		// In dynamic runs, too, an epoch is a pass over the whole data set, as in upstream's
		// loop, whatever windows are trained on.
		return last || step%c.plan.StepsPerEpoch() == 0
	}
	return false
}

// delayed reports whether evaluation has not begun: eval_delay counts epochs with
// eval_strategy epoch, otherwise steps.
func (c cadence) delayed(step int) bool {
	if c.training.EvalStrategy == config.Epoch {
		return c.plan.Epoch(step) < c.training.EvalDelay
	}
	return float64(step) < c.training.EvalDelay
}
