package feature

import (
	"context"
	"fmt"
	"math"

	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/neighbor"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/progress"
	"dataflex.dev/dataflex/driver"
)

// BlockPass asks for one vector of every example, made from several layers' hidden states in
// evaluation mode: for each layer the mean over the row's tokens, through tanh, as a unit
// vector; these are concatenated and divided by the root of their number. A layer costs a
// forward pass up to it.
type BlockPass struct {
	Pass
	Layers    []int // as transformers' hidden_states: 0 = embeddings, the last is after the final norm
	TanhFirst bool  // tanh of every token's states, then their mean
}

// Blocks returns every example's vector [len(Layers)·Hidden], of length 1.
func Blocks(ctx context.Context, p BlockPass, examples []data.Example) (neighbor.Vectors, error) {
	width := p.Model.Config().Hidden * len(p.Layers)
	out := neighbor.Vectors{N: len(examples), Dim: width, Data: make([]float32, len(examples)*width)}
	done := progress.New(p.Log, "vectors of several layers", len(examples))
	batches, err := p.batches(ctx, examples)
	if err != nil {
		return out, err
	}
	err = p.fill(ctx, out, "vectors of several layers", batches, func(rows []int) ([]float32, error) {
		return p.blocks(ctx, examples, rows)
	}, func(rows []int, _ []float32) error {
		done.Add(len(rows))
		return nil
	})
	if err != nil {
		return out, err
	}
	out.Normalize()
	return out, nil
}

// blocks computes the vectors of one batch.
func (p BlockPass) blocks(ctx context.Context, examples []data.Example, rows []int) ([]float32, error) {
	dim := p.Model.Config().Hidden
	width := dim * len(p.Layers)
	out := make([]float32, len(rows)*width)
	m := batch.Pack(examples, rows)
	for k, layer := range p.Layers {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		hidden, err := p.Model.Hidden(m.Batch, layer)
		if err != nil {
			return nil, fmt.Errorf("layer %d of %s: %w", layer, describe(examples, rows), err)
		}
		h, err := driver.Read(p.Device, hidden)
		if err != nil {
			return nil, err
		}
		for i := range rows {
			p.block(out[i*width+k*dim:i*width+(k+1)*dim], h[int(m.RowStart[i])*dim:int(m.RowStart[i+1])*dim])
		}
	}
	return out, nil
}

// block computes one layer's part, of length 1, from a row's states [tokens, len(dst)].
func (p BlockPass) block(dst, states []float32) {
	dim := len(dst)
	mean := make([]float64, dim)
	n := float64(len(states) / dim)
	for t := 0; t < len(states); t += dim {
		for j, x := range states[t : t+dim] {
			if v := float64(x); p.TanhFirst {
				mean[j] += math.Tanh(v) / n
			} else {
				mean[j] += v / n
			}
		}
	}
	var square float64
	for j, x := range mean {
		if !p.TanhFirst {
			mean[j] = math.Tanh(x)
		}
		square += mean[j] * mean[j]
	}
	length := max(math.Sqrt(square), 1e-12)
	for j, x := range mean {
		dst[j] = float32(x / length)
	}
}
