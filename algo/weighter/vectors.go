package weighter

import (
	"context"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/decoder"
)

// hiddenStates computes the hidden states [tokens, Hidden] of a batch after a layer, in
// evaluation mode: decoder.Model.Hidden.
type hiddenStates func(b decoder.Batch, layer int) (driver.F32, error)

// rows returns the hidden states [tokens of the row, Hidden] of every row of a micro-batch.
func (h hiddenStates) rows(run *algo.Run, m batch.Micro, layer int) ([][]float32, error) {
	hidden, err := h(m.Batch, layer)
	if err != nil {
		return nil, err
	}
	states, err := driver.Read(run.Device, hidden)
	if err != nil {
		return nil, err
	}
	dim := run.Model.Config().Hidden
	out := make([][]float32, len(m.Rows))
	for i := range out {
		out[i] = states[int(m.RowStart[i])*dim : int(m.RowStart[i+1])*dim]
	}
	return out, nil
}

// vectors calls embed for each micro-batch, which returns a vector [Hidden] for each of its
// rows, and passes the results to take in order. The micro-batches are divided among the ranks.
func vectors(ctx context.Context, run *algo.Run, what string, micros []batch.Micro, embed func(batch.Micro) ([][]float64, error), take func(i int, vectors [][]float64)) error {
	return run.Ranks.Deal(ctx, what, len(micros), func(i int) ([]byte, error) {
		made, err := embed(micros[i])
		return ranks.Pack(made...), err
	}, func(i int, result []byte) error {
		made := make([][]float64, len(micros[i].Rows))
		for j := range made {
			made[j] = make([]float64, run.Model.Config().Hidden)
		}
		if err := ranks.Unpack(result, made...); err != nil {
			return err
		}
		take(i, made)
		return nil
	})
}
