package weighter

import (
	"context"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/ranks"
)

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
