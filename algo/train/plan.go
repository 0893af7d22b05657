// Package train is the training loop: one loop for every train_type. What it
// trains on is decided by windows of rows; its state at a step, checkpointed,
// continues bit for bit.
package train

import (
	"math"

	"dataflex.dev/dataflex/algo/config"
)

// Plan is the step schedule of a run, fixed before it starts.
type Plan struct {
	Rows       int // training rows
	Micro      int // rows of a micro-batch
	Accumulate int // micro-batches of an optimizer step
	Total      int // optimizer steps
	Epochs     float64
	DropLast   bool // a last, short micro-batch is left out

	// Of a run that selects; zero for a static one.
	Dynamic bool
	Warmup  int  // steps before the first selection of a Flex epoch
	Update  int  // steps a selection lasts
	Updates int  // selections of a Flex epoch; 0 = one every Update steps to the end
	Mix     bool // windows are drawn by proportions: no Flex epochs, no limit by the pool
	Static  bool // the first window is the whole run
}

// NewPlan lays the run out over that many rows.
func NewPlan(c *config.Config, rows int) (Plan, error) {
	p := Plan{
		Rows: rows, Micro: c.Training.PerDeviceTrainBatchSize, Accumulate: c.Training.GradientAccumulationSteps,
		Epochs: c.Training.NumTrainEpochs, DropLast: c.Training.DataloaderDropLast, Dynamic: c.Dynamic.TrainType == config.DynamicSelect,
	}
	if mixes(c) {
		p.planMix(c)
		return p, nil
	}
	if !p.Dynamic {
		p.Total = int(math.Ceil(p.Epochs * float64(p.StepsPerEpoch())))
		switch {
		case weighs(c) && c.Dynamic.TrainStep > 0:
			p.Total = c.Dynamic.TrainStep
		case c.Training.MaxSteps > 0:
			p.Total = c.Training.MaxSteps
		}
		return p, nil
	}
	p.Warmup, p.Update, p.Updates = c.Dynamic.WarmupStep, c.Dynamic.UpdateStep, max(0, c.Dynamic.UpdateTimes)
	for _, w := range []struct {
		key   string
		steps int
	}{{"warmup_step", p.Warmup}, {"update_step", p.Update}} {
		if n := w.steps * p.Batch(); n > rows {
			return p, c.Errorf(w.key, "%d steps of %d rows need %d rows, the training set has %d: lower %s, per_device_train_batch_size or gradient_accumulation_steps",
				w.steps, p.Batch(), n, rows, w.key)
		}
	}
	switch {
	case c.Dynamic.TrainStep > 0:
		p.Total = c.Dynamic.TrainStep
	case c.Training.MaxSteps > 0:
		p.Total = c.Training.MaxSteps
	case p.Updates > 0:
		p.Total = int(math.Ceil(p.Epochs * float64(p.stage())))
	default:
		p.Total = int(math.Ceil(p.Epochs * math.Ceil(float64(rows)/float64(p.Batch()))))
	}
	return p, nil
}

// planMix is the schedule of dynamic_mix: a warm-up from the run's own proportions,
// then update_times windows; one pass over the data where their number is open.
func (p *Plan) planMix(c *config.Config) {
	d := c.Dynamic
	p.Dynamic, p.Mix, p.Static = true, true, d.StaticMix
	p.Warmup, p.Update = d.WarmupStep, d.UpdateStep
	switch {
	case d.TrainStep > 0:
		p.Total = d.TrainStep
	case c.Training.MaxSteps > 0:
		p.Total = c.Training.MaxSteps
	case d.StaticMix || d.UpdateTimes < 0:
		p.Total = int(float64(max(1, p.Rows/p.Batch())) * p.Epochs)
	default:
		p.Total = d.WarmupStep + d.UpdateStep*d.UpdateTimes
	}
}

// Batch is the rows of an optimizer step.
func (p Plan) Batch() int { return p.Micro * p.Accumulate }

// microPerEpoch is the number of micro-batches of a pass over the data.
func (p Plan) microPerEpoch() int {
	if p.DropLast {
		return max(1, p.Rows/p.Micro)
	}
	return (p.Rows + p.Micro - 1) / p.Micro
}

// StepsPerEpoch is the optimizer steps of a pass: a last, short accumulation
// group makes a step of its own, as in Hugging Face's Trainer.
func (p Plan) StepsPerEpoch() int {
	n := p.microPerEpoch()
	return max(1, (n+p.Accumulate-1)/p.Accumulate)
}

// stage is the length of a Flex epoch in steps; 0 for an open-ended run.
func (p Plan) stage() int {
	if p.Updates == 0 {
		return 0
	}
	return p.Warmup + p.Update*p.Updates
}

// Epoch is what is logged after that many steps: passes over the data so far.
func (p Plan) Epoch(step int) float64 {
	if p.Dynamic {
		per := float64(p.microPerEpoch())
		return float64(step*p.Accumulate) / per
	}
	perEpoch := p.StepsPerEpoch()
	whole, rest := step/perEpoch, step%perEpoch
	return float64(whole) + float64(rest*p.Accumulate)/float64(p.microPerEpoch())
}

// Opening says what happens before a step.
type Opening uint8

const (
	Continue Opening = iota // the window goes on
	Draw                    // a warm-up draw, at the start of a Flex epoch
	Choose                  // the selector chooses the next window
)

// Opening is what to do before the step-th step (0-based), and for Choose which
// selection of its Flex epoch it is: 1, 2, ….
func (p Plan) Opening(step int) (o Opening, update int) {
	if !p.Dynamic {
		return Continue, 0
	}
	t := step
	if s := p.stage(); s > 0 {
		t = step % s
	}
	switch {
	case t == 0:
		return Draw, 0
	case p.Static:
		return Continue, 0
	case t >= p.Warmup && (t-p.Warmup)%p.Update == 0:
		return Choose, (t-p.Warmup)/p.Update + 1
	}
	return Continue, 0
}

// Selections is how many selections the run makes.
func (p Plan) Selections() int {
	n := 0
	for s := range p.Total {
		if o, _ := p.Opening(s); o == Choose {
			n++
		}
	}
	return n
}

// FlexEpoch is the Flex epoch a step belongs to.
func (p Plan) FlexEpoch(step int) int {
	if s := p.stage(); s > 0 {
		return step / s
	}
	return 0
}
