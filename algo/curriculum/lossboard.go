package curriculum

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/feature"
	"dataflex.dev/dataflex/algo/reorder"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/npy"
	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/rng"
)

// board holds the losses that the stages of a pipeline share: a row goes through the model at
// most once per step, whichever stage needs its loss.
type board struct {
	run    *algo.Run
	seed   uint64    // of the draw where only some rows are scored
	median bool      // rows without a loss get the median of the others, as upstream does
	loss   []float64 // of every row of the run; NaN for none
	at     []int64   // the step it was computed at; -1 for never
	keeps  bool      // losses may be older than a step, so that checkpoints must include them
	step   int       // of the last computation
}

func newBoard(run *algo.Run, seed uint64, median bool) *board {
	b := &board{run: run, seed: seed, median: median}
	b.clear()
	return b
}

func (b *board) clear() {
	b.loss, b.at = make([]float64, len(b.run.Train)), make([]int64, len(b.run.Train))
	for i := range b.loss {
		b.loss[i], b.at[i] = math.NaN(), -1
	}
}

// source is algo.Run.Losses for a stage that accepts losses of that age.
func (b *board) source(maxAge int) func(ctx context.Context, rows []int, step, most int) ([]float64, error) {
	b.keeps = b.keeps || maxAge > 0
	return func(ctx context.Context, rows []int, step, most int) ([]float64, error) {
		var missing []int
		for _, r := range rows {
			if b.at[r] < 0 || math.IsNaN(b.loss[r]) || int64(step)-b.at[r] > int64(maxAge) {
				missing = append(missing, r)
			}
		}
		if err := b.compute(ctx, missing, step, most); err != nil {
			return nil, err
		}
		out := make([]float64, len(rows))
		for i, r := range rows {
			out[i] = b.loss[r]
		}
		if b.median {
			fillMedian(out)
		}
		return out, nil
	}
}

// compute computes the losses of rows, or of at most `most` of them if that is not 0; the
// others then have none.
func (b *board) compute(ctx context.Context, rows []int, step, most int) error {
	if len(rows) == 0 {
		return nil
	}
	scored := rows
	if most > 0 && most < len(rows) {
		at, err := rng.NewPCG64(b.seed+uint64(step)).Choice(len(rows), most, false, nil)
		if err != nil {
			return err
		}
		slices.Sort(at)
		scored = make([]int, most)
		for i, j := range at {
			scored[i] = rows[j]
		}
	}
	examples := make([]data.Example, len(scored))
	for i, r := range scored {
		examples[i] = b.run.Train[r]
	}
	loss, err := feature.Losses(ctx, feature.Pass{Device: b.run.Device, Model: b.run.Model, Log: b.run.Log, Ranks: b.run.Ranks}, examples)
	if err != nil {
		return err
	}
	for _, r := range rows {
		b.loss[r], b.at[r] = math.NaN(), int64(step)
	}
	for i, r := range scored {
		b.loss[r] = loss[i]
	}
	b.step = step
	return nil
}

// fillMedian replaces missing losses by the median of the others, or by 0 if all are missing.
func fillMedian(x []float64) {
	median, _ := reorder.Median(x)
	for i, v := range x {
		if math.IsNaN(v) {
			x[i] = median
		}
	}
}

// empty reports whether no loss has been computed yet.
func (b *board) empty() bool {
	return !slices.ContainsFunc(b.at, func(step int64) bool { return step >= 0 })
}

// plan is upstream's scoreboard_step_N.json for an interval's rows: {indices, metric: {loss:
// [number or null]}, computed_at_step}.
func (b *board) plan(rows []int) []byte {
	var metric, at pyjson.Object
	if !b.empty() {
		loss := make([]any, len(rows))
		for i, r := range rows {
			if !math.IsNaN(b.loss[r]) {
				loss[i] = b.loss[r]
			}
		}
		metric, at = pyjson.Object{{Key: "loss", Value: loss}}, pyjson.Object{{Key: "loss", Value: b.step}}
	}
	return []byte(pyjson.Encode(pyjson.Object{{Key: "indices", Value: rows}, {Key: "metric", Value: metric}, {Key: "computed_at_step", Value: at}}, 0))
}

type boardState struct {
	Loss []byte `json:"loss"` // .npy of float64
	At   []byte `json:"at"`   // .npy of int64
	Step int    `json:"step"`
}

// state is nil where no stage accepts losses of an earlier step.
func (b *board) state() (json.RawMessage, error) {
	if !b.keeps {
		return nil, nil
	}
	return json.Marshal(boardState{npy.Encode(b.loss, len(b.loss)), npy.Encode(b.at, len(b.at)), b.step})
}

func (b *board) restore(raw json.RawMessage) error {
	b.clear()
	if raw == nil {
		return nil
	}
	var s boardState
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	loss, err := npy.Decode(s.Loss)
	if err != nil {
		return err
	}
	at, err := npy.Decode(s.At)
	if err != nil {
		return err
	}
	steps, err := at.Ints()
	if err != nil {
		return err
	}
	if loss.Len() != len(b.loss) || len(steps) != len(b.at) {
		return fmt.Errorf("losses of %d rows for a run of %d", loss.Len(), len(b.loss))
	}
	copy(b.loss, loss.Float64s())
	for i, step := range steps {
		b.at[i] = int64(step)
	}
	b.step = s.Step
	return nil
}
