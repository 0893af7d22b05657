package feature

import (
	"context"
	"fmt"
	"slices"

	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/neighbor"
	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/progress"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/pool"
)

// Pooling is how a row's hidden states become one vector.
type Pooling string

// The kinds of pooling.
const (
	Mean Pooling = "mean" // over all tokens of the row
	Last Pooling = "last" // the row's last token
)

// VectorPass asks for a sentence vector of every example: hidden states of one layer, in
// evaluation mode, pooled.
type VectorPass struct {
	Pass
	Layer   int // as transformers' hidden_states: 0 = embeddings, -1 = after the final norm
	Pooling Pooling

	// Keep has the rows of finished batches, which are not computed again; nil = none are
	// kept. Its key identifies everything on which the rows depend.
	Keep *Store
}

// Vectors returns every example's sentence vector, not normalised.
func Vectors(ctx context.Context, p VectorPass, examples []data.Example) (neighbor.Vectors, error) {
	if p.Pooling != Mean && p.Pooling != Last {
		return neighbor.Vectors{}, fmt.Errorf("sentence vectors are pooled by %s or %s, not %q", Mean, Last, p.Pooling)
	}
	dim := p.Model.Config().Hidden
	out := neighbor.Vectors{N: len(examples), Dim: dim, Data: make([]float32, len(examples)*dim)}
	done := progress.New(p.Log, "sentence vectors", len(examples))
	all, err := p.batches(ctx, examples)
	if err != nil {
		return out, err
	}
	kept := 0
	if p.Keep != nil {
		kept = min(p.Keep.Rows(), len(examples))
	}
	for _, r := range slices.Concat(all...)[:kept] {
		if err := p.Keep.Row(r, out.Row(r)); err != nil {
			return out, err
		}
	}
	done.Skip(kept)
	batches := withoutRows(all, kept)
	err = p.fill(ctx, out, "sentence vectors", batches, func(rows []int) ([]float32, error) {
		return p.vectors(examples, rows)
	}, func(rows []int, vectors []float32) error {
		done.Add(len(rows))
		if p.Keep != nil {
			return p.Keep.Put(rows, vectors)
		}
		return nil
	})
	return out, err
}

// fill computes the vectors of batches of rows, [rows, out.Dim], and copies them into out. The
// batches are divided among the ranks; after is called for each in order.
func (p Pass) fill(ctx context.Context, out neighbor.Vectors, what string, batches [][]int, compute func(rows []int) ([]float32, error), after func(rows []int, vectors []float32) error) error {
	return p.Ranks.Deal(ctx, what, len(batches), func(i int) ([]byte, error) {
		vectors, err := compute(batches[i])
		return ranks.Pack(vectors), err
	}, func(i int, result []byte) error {
		rows := batches[i]
		vectors := make([]float32, len(rows)*out.Dim)
		if err := ranks.Unpack(result, vectors); err != nil {
			return err
		}
		for k, r := range rows {
			copy(out.Row(r), vectors[k*out.Dim:(k+1)*out.Dim])
		}
		return after(rows, vectors)
	})
}

// vectors computes those of one batch.
func (p VectorPass) vectors(examples []data.Example, rows []int) (vectors []float32, err error) {
	m := batch.Pack(examples, rows)
	hidden, err := p.Model.Hidden(m.Batch, p.Layer)
	if err == nil {
		vectors, err = pooled(p.Device, p.Pooling, hidden, m.RowStart, p.Model.Config().Hidden)
	}
	if err != nil {
		return nil, fmt.Errorf("sentence vector of %s: %w", describe(examples, rows), err)
	}
	return vectors, nil
}

// pooled reduces hidden states [tokens, dim] to one row per sequence. Sequences begin at
// start, whose last element is the number of tokens.
func pooled(dev driver.Device, how Pooling, hidden driver.F32, start []int32, dim int) ([]float32, error) {
	m, err := dev.Alloc(4 * (len(start) - 1) * dim)
	if err != nil {
		return nil, err
	}
	defer dev.Free(m)
	out := driver.View[float32](m)
	if how == Last {
		pool.Last(dev, hidden, start, out, dim)
	} else {
		pool.Mean(dev, hidden, start, out, dim)
	}
	x, err := driver.Read(dev, out)
	return slices.Clone(x), err // before the memory goes back
}
