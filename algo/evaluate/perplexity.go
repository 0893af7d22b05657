// Package evaluate measures a model: perplexity on datasets, and multiple choice by the
// likelihood of the answers.
package evaluate

import (
	"context"
	"fmt"
	"math"

	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/model/decoder"
)

// maxTokens is how many tokens one pass computes at most, unless a single row is longer.
const maxTokens = 2048

// Perplexity measures how well a model predicts the labelled tokens of a dataset.
type Perplexity struct {
	Rows       int     `json:"rows"`
	Tokens     int     `json:"tokens"` // labelled tokens, after the shift
	Loss       float64 `json:"loss"`   // mean negative log-likelihood over these tokens, in nats
	Perplexity float64 `json:"perplexity"`
	// EvalLoss is Hugging Face's eval_loss at a batch size of 1: the mean over the rows of each
	// row's mean.
	EvalLoss float64 `json:"eval_loss"`
}

// Measure computes the perplexity of examples. Rows without a labelled token only count in
// Rows.
func Measure(ctx context.Context, m *decoder.Model, examples []data.Example) (Perplexity, error) {
	p := Perplexity{Rows: len(examples)}
	var sum, means float64
	measured := 0
	for _, rows := range batch.ByLength(examples, maxTokens) {
		if err := ctx.Err(); err != nil {
			return p, err
		}
		b := batch.Pack(examples, rows)
		losses, err := m.Losses(b.Batch, 0)
		if err != nil {
			return p, fmt.Errorf("dataset %s, row %d and %d others: %w", examples[rows[0]].Dataset, examples[rows[0]].Row, len(rows)-1, err)
		}
		for t, target := range b.Targets {
			if target >= 0 {
				sum += float64(losses[t])
				p.Tokens++
			}
		}
		mean, ok := b.RowMeans(losses)
		for i := range mean {
			if ok[i] {
				means += mean[i]
				measured++
			}
		}
	}
	if measured == 0 {
		return p, fmt.Errorf("none of %d rows has a labelled token: nothing can be measured", len(examples))
	}
	p.Loss = sum / float64(p.Tokens)
	p.Perplexity = math.Exp(p.Loss)
	p.EvalLoss = means / float64(measured)
	return p, nil
}
