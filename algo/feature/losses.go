// Package feature implements the passes over the data that several methods share: per-sample
// losses, projected per-sample gradients and sentence vectors. Passes batch rows by token
// count, grouped by length, can be interrupted, and continue where a killed run stopped.
// Several ranks divide the batches among themselves; the results and their order do not
// depend on the number of ranks.
package feature

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"

	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/progress"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/decoder"
)

// DefaultTokens is the number of tokens in a batch on a CPU, where longer passes are not faster.
// On a GPU they are, so that there it is up to deviceTokens, the default of merge_tokens.
const (
	DefaultTokens = 1024
	deviceTokens  = 8192
)

// Pass is common to all passes.
type Pass struct {
	Device driver.Device
	Model  *decoder.Model
	Tokens int // per batch; 0 means as many as suit the device
	Log    *slog.Logger
	Ranks  *ranks.Job // divide the batches, and all get all results; nil: this process computes all of them
}

// tokens returns the length of the batches that suit this process's device.
func (p Pass) tokens() int {
	switch {
	case p.Tokens > 0:
		return p.Tokens
	case p.Device.Kind() == driver.CPU:
		return DefaultTokens
	}
	most := deviceTokens
	for most > DefaultTokens && !p.Model.Fits(most) {
		most /= 2
	}
	return most
}

// batches groups the rows by length into batches that every rank can compute: if their devices
// differ in size, those of the smallest.
func (p Pass) batches(ctx context.Context, examples []data.Example) ([][]int, error) {
	tokens := p.tokens()
	if p.Device.Kind() != driver.CPU {
		var err error
		if tokens, err = least(ctx, p.Ranks, "the length of batches", tokens); err != nil {
			return nil, err
		}
	}
	return batch.ByLength(examples, tokens), nil
}

// least returns the smallest of the ranks' numbers.
func least(ctx context.Context, job *ranks.Job, what string, own int) (int, error) {
	all, err := job.Gather(ctx, what, binary.BigEndian.AppendUint64(nil, uint64(own)), nil)
	if err != nil {
		return 0, err
	}
	for _, b := range all {
		own = min(own, int(binary.BigEndian.Uint64(b)))
	}
	return own, nil
}

// Losses returns every example's mean token loss in evaluation mode; NaN for one without a
// labelled token, and for one whose loss is not finite.
func Losses(ctx context.Context, p Pass, examples []data.Example) ([]float64, error) {
	out := make([]float64, len(examples))
	done := progress.New(p.Log, "per-sample loss", len(examples))
	batches, err := p.batches(ctx, examples)
	if err != nil {
		return nil, err
	}
	err = p.Ranks.Deal(ctx, "losses of rows", len(batches), func(i int) ([]byte, error) {
		loss, err := p.losses(examples, batches[i])
		return ranks.Pack(loss), err
	}, func(i int, result []byte) error {
		loss := make([]float64, len(batches[i]))
		if err := ranks.Unpack(result, loss); err != nil {
			return err
		}
		for k, r := range batches[i] {
			out[r] = loss[k]
		}
		done.Add(len(batches[i]))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// losses computes the mean token losses of one batch.
func (p Pass) losses(examples []data.Example, rows []int) ([]float64, error) {
	m := batch.Pack(examples, rows)
	tokenLoss, err := p.Model.Losses(m.Batch, 0)
	if err != nil {
		return nil, fmt.Errorf("loss of %s: %w", describe(examples, rows), err)
	}
	mean, ok := m.RowMeans(tokenLoss)
	for i := range mean {
		if !ok[i] || math.IsInf(mean[i], 0) {
			mean[i] = math.NaN()
		}
	}
	return mean, nil
}

// describe names the rows of a batch in errors.
func describe(examples []data.Example, rows []int) string {
	first := examples[rows[0]].ID
	if len(rows) == 1 {
		return fmt.Sprintf("row %d of %s", first.Row, first.Dataset)
	}
	return fmt.Sprintf("%d rows, the first being row %d of %s", len(rows), first.Row, first.Dataset)
}
