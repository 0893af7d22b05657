package feature

import (
	"context"
	"fmt"

	"dataflex/algo/batch"
	"dataflex/algo/neighbor"
	"dataflex/data"
	"dataflex/driver"
)

// Pooling says how a row's hidden states become one vector.
type Pooling string

// The poolings.
const (
	Mean Pooling = "mean" // over all tokens of the row
	Last Pooling = "last" // the row's last token
)

// VectorPass asks for a sentence vector of every example: hidden states of one
// layer, in evaluation mode, pooled.
type VectorPass struct {
	Pass
	Layer   int // as transformers' hidden_states: 0 = embeddings, -1 = after the final norm
	Pooling Pooling
}

// Vectors is every example's sentence vector, as it is; Normalize is the caller's.
func Vectors(ctx context.Context, p VectorPass, examples []data.Example) (neighbor.Vectors, error) {
	if p.Pooling != Mean && p.Pooling != Last {
		return neighbor.Vectors{}, fmt.Errorf("sentence vectors are pooled by %s or %s, not %q", Mean, Last, p.Pooling)
	}
	dim := p.Model.Config().Hidden
	out := neighbor.Vectors{N: len(examples), Dim: dim, Data: make([]float32, len(examples)*dim)}
	progress := newProgress(p.Log, "sentence vectors", len(examples))
	for _, rows := range batch.ByLength(examples, p.tokens()) {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		m := batch.Pack(examples, rows)
		hidden, err := p.Model.Hidden(m.Batch, p.Layer)
		if err != nil {
			return out, fmt.Errorf("sentence vector of %s: %w", describe(examples, rows), err)
		}
		h, err := driver.Read(p.Device, hidden)
		if err != nil {
			return out, fmt.Errorf("sentence vector of %s: %w", describe(examples, rows), err)
		}
		for i, r := range rows {
			pool(out.Row(r), h[int(m.RowStart[i])*dim:int(m.RowStart[i+1])*dim], p.Pooling)
		}
		progress.add(len(rows))
	}
	return out, nil
}

// pool reduces hidden states h [tokens, len(dst)] to dst.
func pool(dst, h []float32, how Pooling) {
	dim := len(dst)
	tokens := len(h) / dim
	if how == Last {
		copy(dst, h[(tokens-1)*dim:])
		return
	}
	sum := make([]float64, dim)
	for t := range tokens {
		for j, x := range h[t*dim : (t+1)*dim] {
			sum[j] += float64(x)
		}
	}
	for j, x := range sum {
		dst[j] = float32(x / float64(tokens))
	}
}
