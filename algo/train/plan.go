// Package train is the training loop: one loop for every train_type. What it
// trains on is decided by windows of rows; its state at a step, checkpointed,
// continues bit for bit.
//
// A run is a session: the order in which it is set up, goes on, stops and ends. The loop
// takes the steps; what else there is has a type and a file of its own: checkpoints and
// what is saved in them, output_dir (folder), the journal, what is due (cadence), the
// evaluator and the judge of the best model, the forecast of plan and memory.
package train

import (
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/curriculum"
)

// Plan is the step schedule of a run over its rows, fixed before it starts.
type Plan struct {
	Rows       int // training rows
	Micro      int // rows of a micro-batch
	Accumulate int // micro-batches of an optimizer step, of a rank
	Ranks      int // logical ranks, that micro-batches are dealt out to in turn
	Epochs     float64
	DropLast   bool // a last, short micro-batch is left out
	curriculum.Schedule
}

// NewPlan lays the run out over that many rows.
func NewPlan(c *config.Config, rows int) (Plan, error) {
	p := Plan{
		Rows: rows, Micro: c.Training.PerDeviceTrainBatchSize, Accumulate: c.Training.GradientAccumulationSteps, Ranks: max(1, c.Training.Ranks),
		Epochs: c.Training.NumTrainEpochs, DropLast: c.Training.DataloaderDropLast,
	}
	var err error
	p.Schedule, err = curriculum.NewSchedule(c, rows, p.Batch(), p.StepsPerEpoch())
	return p, err
}

// Batch is the rows of an optimizer step.
func (p Plan) Batch() int { return p.Micro * p.Accumulate * p.Ranks }

// shape is what a checkpoint notes: rows of a micro-batch, micro-batches of a step.
func (p Plan) shape() [2]int { return [2]int{p.Micro, p.Accumulate} }

// microPerEpoch is the number of micro-batches of a pass over the data, of a rank.
func (p Plan) microPerEpoch() int {
	round := p.Micro * p.Ranks
	if p.DropLast {
		return max(1, p.Rows/round)
	}
	return (p.Rows + round - 1) / round
}

// StepsPerEpoch is the optimizer steps of a pass: a last, short accumulation
// group makes a step of its own, as in Hugging Face's Trainer.
func (p Plan) StepsPerEpoch() int {
	n := p.microPerEpoch()
	return max(1, (n+p.Accumulate-1)/p.Accumulate)
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
