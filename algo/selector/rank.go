package selector

import (
	"cmp"
	"fmt"
	"log/slog"
	"math"
	"slices"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/npy"
	"dataflex.dev/dataflex/data/torchsort"
)

// top returns the rows with the n largest scores in descending order. Mode faithful breaks ties
// by the lower row, mode upstream as torch.topk does. Rows whose score is NaN are never picked;
// if fewer rows have a score than are wanted, the best ones are picked again. At least one
// score must not be NaN.
func top(mode algo.Mode, score []float64, n int) []int { return topAmong(mode, score, nil, n) }

// topAmong is top, except that mode faithful breaks ties first by tie and then by the lower
// row.
func topAmong(mode algo.Mode, score, tie []float64, n int) []int {
	var valid []int
	for i, x := range score {
		if !math.IsNaN(x) {
			valid = append(valid, i)
		}
	}
	k := min(n, len(valid))
	var order []int
	if mode == algo.Upstream {
		f := make([]float32, len(valid))
		for i, j := range valid {
			f[i] = float32(score[j])
		}
		for _, i := range torchsort.TopK(f, k) {
			order = append(order, valid[i])
		}
	} else {
		slices.SortStableFunc(valid, func(a, b int) int {
			c := cmp.Compare(score[b], score[a])
			if c == 0 && tie != nil {
				c = cmp.Compare(tie[a], tie[b])
			}
			return c
		})
		order = valid[:k]
	}
	for i := 0; len(order) < n; i++ {
		order = append(order, order[i])
	}
	return order
}

// byIdentity returns every row's rank by data set and row number, which does not depend on
// where the row is stored.
func byIdentity(rows []data.Example) []float64 {
	order := make([]int, len(rows))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(rows[a].Dataset, rows[b].Dataset), cmp.Compare(rows[a].Row, rows[b].Row))
	})
	out := make([]float64, len(rows))
	for place, i := range order {
		out[i] = float64(place)
	}
	return out
}

// scored returns an error if no row of the pool has a score, and logs the rows that have none.
func scored(log *slog.Logger, pool []data.Example, score []float64) error {
	none, first := 0, -1
	for i, x := range score {
		if math.IsNaN(x) {
			if none++; first < 0 {
				first = i
			}
		}
	}
	if none == 0 {
		return nil
	}
	id := pool[first].ID
	if none == len(score) {
		return fmt.Errorf("no row of the pool has a score: each has no labelled tokens, or its loss is NaN or Inf (row %d of %s among them)", id.Row, id.Dataset)
	}
	log.Warn("rows without labelled tokens, or whose loss is NaN or Inf, are never selected", "rows", none, "of", len(score), "first", fmt.Sprintf("row %d of %s", id.Row, id.Dataset))
	return nil
}

// pick returns the entries of x at the indices.
func pick(x []float64, indices []int) []float64 {
	out := make([]float64, len(indices))
	for i, j := range indices {
		out[i] = x[j]
	}
	return out
}

// packFloats and unpackFloats store float32 vectors in a checkpoint's state, as the bytes of a
// .npy file.
func packFloats(x []float64) []byte {
	f := make([]float32, len(x))
	for i, v := range x {
		f[i] = float32(v)
	}
	return npy.Encode(f, len(f))
}

func unpackFloats(raw []byte, n int) ([]float64, error) {
	a, err := npy.Decode(raw)
	if err != nil {
		return nil, err
	}
	if a.Len() != n {
		return nil, fmt.Errorf("%d values for a pool of %d rows", a.Len(), n)
	}
	return a.Float64s(), nil
}

// unpackInts reads a vector of integers of any length.
func unpackInts(raw []byte) ([]int, error) {
	a, err := npy.Decode(raw)
	if err != nil {
		return nil, err
	}
	return a.Ints()
}
