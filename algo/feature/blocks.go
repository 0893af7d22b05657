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

// BlockPass asks for one vector of every example made of several layers' hidden
// states, in evaluation mode: of each layer the mean over the row's tokens, through
// tanh, as a unit vector; one after another, divided by the root of their number.
// A layer costs a forward pass up to it.
type BlockPass struct {
	Pass
	Layers    []int // as transformers' hidden_states: 0 = embeddings, the last is after the final norm
	TanhFirst bool  // tanh of every token's states, then their mean
}

// Blocks is every example's vector [len(Layers)·Hidden], of length 1.
func Blocks(ctx context.Context, p BlockPass, examples []data.Example) (neighbor.Vectors, error) {
	dim := p.Model.Config().Hidden
	width := dim * len(p.Layers)
	out := neighbor.Vectors{N: len(examples), Dim: width, Data: make([]float32, len(examples)*width)}
	done := progress.New(p.Log, "vectors of several layers", len(examples))
	for _, rows := range batch.ByLength(examples, p.tokens()) {
		m := batch.Pack(examples, rows)
		for k, layer := range p.Layers {
			if err := ctx.Err(); err != nil {
				return out, err
			}
			hidden, err := p.Model.Hidden(m.Batch, layer)
			if err != nil {
				return out, fmt.Errorf("layer %d of %s: %w", layer, describe(examples, rows), err)
			}
			h, err := driver.Read(p.Device, hidden)
			if err != nil {
				return out, err
			}
			for i, r := range rows {
				p.block(out.Row(r)[k*dim:(k+1)*dim], h[int(m.RowStart[i])*dim:int(m.RowStart[i+1])*dim])
			}
		}
		done.Add(len(rows))
	}
	out.Normalize()
	return out, nil
}

// block is one layer's part, of length 1, of a row's states [tokens, len(dst)].
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
