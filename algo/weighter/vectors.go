package weighter

import (
	"context"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/ranks"
)

// vectors passes what embed makes of each micro-batch, a vector [Hidden] for each of its rows, to
// take, in order. Ranks share the micro-batches out.
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
