// Package train is the training loop: one loop for every train_type. The rows it trains on
// are determined by windows; its state at a step is checkpointed, and training continues
// from it bit for bit.
//
// A run is a session: the order in which it is set up, resumes, stops and ends. The loop
// takes the steps; everything else has a type and a file of its own: checkpoints and the
// state saved in them, output_dir (folder), the journal, what follows a step (cadence), the
// evaluator and the judge of the best model, the forecast of plan and memory.
package train

import (
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/curriculum"
)

// Plan is the step schedule of a run over its rows, fixed before it starts.
type Plan struct {
	Rows       int // training rows
	Micro      int // rows per micro-batch
	Accumulate int // micro-batches per optimizer step and rank
	Ranks      int // logical ranks, among which micro-batches are distributed in turn
	Epochs     float64
	DropLast   bool // a shorter last micro-batch is left out
	curriculum.Schedule
}

// NewPlan computes the plan of a run over that many rows.
func NewPlan(c *config.Config, rows int) (Plan, error) {
	p := Plan{
		Rows: rows, Micro: c.Training.PerDeviceTrainBatchSize, Accumulate: c.Training.GradientAccumulationSteps, Ranks: max(1, c.Training.Ranks),
		Epochs: c.Training.NumTrainEpochs, DropLast: c.Training.DataloaderDropLast,
	}
	var err error
	p.Schedule, err = curriculum.NewSchedule(c, rows, p.Batch(), p.StepsPerEpoch())
	if round := p.Micro * p.Ranks; err == nil && p.DropLast && !p.Dynamic && rows < round {
		// Hugging Face's Trainer ends such a run at once with a warning, and saves the untrained model.
		err = c.Errorf("dataloader_drop_last", "the training rows, %d, are fewer than the %d of a micro-batch (per_device_train_batch_size of every rank), so that all of them would be left out: remove it, or lower per_device_train_batch_size", rows, round)
	}
	return p, err
}

// Batch is the number of rows per optimizer step.
func (p Plan) Batch() int { return p.Micro * p.Accumulate * p.Ranks }

// shape is the plan as recorded in a checkpoint: rows per micro-batch, micro-batches per
// step.
func (p Plan) shape() [2]int { return [2]int{p.Micro, p.Accumulate} }

// microPerEpoch is the number of micro-batches of a pass over the data, per rank.
func (p Plan) microPerEpoch() int {
	round := p.Micro * p.Ranks
	if p.DropLast {
		return max(1, p.Rows/round)
	}
	return (p.Rows + round - 1) / round
}

// StepsPerEpoch is the number of optimizer steps of a pass: a shorter last accumulation
// group is a step of its own, as in Hugging Face's Trainer.
func (p Plan) StepsPerEpoch() int {
	n := p.microPerEpoch()
	return max(1, (n+p.Accumulate-1)/p.Accumulate)
}

// Epoch is the logged epoch after that many steps: passes over the data so far.
func (p Plan) Epoch(step int) float64 {
	if p.Dynamic {
		per := float64(p.microPerEpoch())
		return float64(step*p.Accumulate) / per
	}
	perEpoch := p.StepsPerEpoch()
	whole, rest := step/perEpoch, step%perEpoch
	return float64(whole) + float64(rest*p.Accumulate)/float64(p.microPerEpoch())
}
