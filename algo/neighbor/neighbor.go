// Package neighbor finds, exactly, the rows of one set of vectors that are nearest to those of
// another: by matrix products, the k smallest of each row, and the distances of these in
// float64. There is no index to build and nothing is approximate.
package neighbor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"

	"dataflex.dev/dataflex/data/npy"
	"dataflex.dev/dataflex/data/progress"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/topk"
)

// Vectors is N rows of Dim numbers, one after the other.
type Vectors struct {
	N, Dim int
	Data   []float32
}

// Row returns row i.
func (v Vectors) Row(i int) []float32 { return v.Data[i*v.Dim : (i+1)*v.Dim] }

// Select returns a copy of the given rows.
func (v Vectors) Select(rows []int) Vectors {
	out := Vectors{N: len(rows), Dim: v.Dim, Data: make([]float32, 0, len(rows)*v.Dim)}
	for _, i := range rows {
		out.Data = append(out.Data, v.Row(i)...)
	}
	return out
}

// Normalize divides every row by its length, at least 1e-12, as upstream does.
func (v Vectors) Normalize() {
	for i := range v.N {
		row := v.Row(i)
		inv := float32(1 / max(math.Sqrt(squares(row)), 1e-12))
		for j := range row {
			row[j] *= inv
		}
	}
}

func squares(x []float32) float64 {
	var s float64
	for _, v := range x {
		s += float64(v) * float64(v)
	}
	return s
}

// Read reads vectors from a .npy of two dimensions, of any floating-point type.
func Read(path string) (Vectors, error) {
	a, err := npy.Read(path)
	if err != nil {
		return Vectors{}, err
	}
	if len(a.Shape) != 2 || !a.DType.Float() || a.Len() == 0 {
		return Vectors{}, fmt.Errorf("%s: vectors are a matrix [rows, dimensions] of floats, not %s of shape %v", path, a.DType, a.Shape)
	}
	v := Vectors{N: a.Shape[0], Dim: a.Shape[1], Data: a.Float32s()}
	for i, x := range v.Data {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return Vectors{}, fmt.Errorf("%s: row %d has %v in dimension %d", path, i/v.Dim, x, i%v.Dim)
		}
	}
	return v, nil
}

// Write writes vectors as a .npy of float32 [N, Dim], atomically.
func (v Vectors) Write(path string) error {
	return storage.WriteFile(path, npy.Encode(v.Data, v.N, v.Dim))
}

// Found holds, for every query, the rows found in order of distance, equal distances in order
// of rows.
type Found struct {
	M, K    int
	Index   []int     // [M, K]
	Squared []float64 // [M, K] squared Euclidean distances
}

// Block sizes limit the memory of a search.
const (
	queryBlock = 64
	baseBlock  = 4096

	// slack is how many more candidates than requested are compared in float64, so that
	// rounding in the product does not decide which is the k-th.
	slack = 16
)

// Search finds the k rows of base nearest to each query; k is at most base.N. what describes
// the search in the log, which may be nil.
func Search(ctx context.Context, dev driver.Device, log *slog.Logger, what string, queries, base Vectors, k int) (*Found, error) {
	if queries.Dim != base.Dim {
		return nil, fmt.Errorf("queries of %d dimensions among vectors of %d", queries.Dim, base.Dim)
	}
	if k < 1 || k > base.N {
		return nil, fmt.Errorf("%d neighbours of %d vectors", k, base.N)
	}
	if err := errors.Join(tooLong("query", queries), tooLong("vector", base)); err != nil {
		return nil, err
	}
	half := make([]float32, base.N) // half of every row's squared length
	for i := range half {
		half[i] = float32(squares(base.Row(i)) / 2)
	}
	f := &Found{M: queries.N, K: k, Index: make([]int, queries.N*k), Squared: make([]float64, queries.N*k)}
	placed, release, err := driver.Place(dev, queries.Data, base.Data, make([]float32, queryBlock*min(baseBlock, base.N)))
	if err != nil {
		return nil, err
	}
	defer release()
	start := make([]float32, placed[2].Len()) // of the scores
	done := progress.New(log, what, queries.N)
	for q := 0; q < queries.N; q += queryBlock {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m := min(queryBlock, queries.N-q)
		best := topk.NewBest(m, min(k+slack, base.N))
		for b := 0; b < base.N; b += baseBlock {
			n := min(baseBlock, base.N-b)
			for i := range m {
				copy(start[i*n:], half[b:b+n])
			}
			score := placed[2].Sub(0, m*n)
			if err := driver.Upload(dev, score, start[:m*n]); err != nil {
				return nil, err
			}
			// |b|²/2 - q·b orders the rows as |q-b|² does.
			gemm.Run(dev, gemm.NT, -1, gemm.Dense(placed[0].Sub(q*base.Dim, (q+m)*base.Dim), m, base.Dim),
				gemm.Dense(placed[1].Sub(b*base.Dim, (b+n)*base.Dim), n, base.Dim), 1, gemm.Dense(score, m, n))
			best.Keep(dev, score, m, n, b)
		}
		for i := range m {
			f.put(q+i, queries.Row(q+i), base, best.Row(i))
		}
		done.Add(m)
	}
	return f, nil
}

// maxLength is the length of vectors up to which products of two fit in float32.
const maxLength = 1e18

// tooLong names the first row that is longer.
func tooLong(what string, v Vectors) error {
	for i := range v.N {
		if n := math.Sqrt(squares(v.Row(i))); !(n <= maxLength) {
			return fmt.Errorf("%s %d has the length %.3g: beyond %.0e distances cannot be told apart; divide the vectors by their lengths", what, i, n, maxLength)
		}
	}
	return nil
}

// put sorts the candidates by their distance in float64.
func (f *Found) put(q int, query []float32, base Vectors, kept []topk.Entry) {
	type row struct {
		index   int
		squared float64
	}
	rows := make([]row, len(kept))
	for i, e := range kept {
		rows[i] = row{int(e.Column), distance(query, base.Row(int(e.Column)))}
	}
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.squared, b.squared), cmp.Compare(a.index, b.index))
	})
	for i, r := range rows[:f.K] {
		f.Index[q*f.K+i], f.Squared[q*f.K+i] = r.index, r.squared
	}
}

func distance(x, y []float32) float64 {
	var s float64
	for i, v := range x {
		d := float64(v) - float64(y[i])
		s += d * d
	}
	return s
}

// UpstreamNeighbours is how many neighbours upstream's offline script stores.
const UpstreamNeighbours = 1000

// Near finds every query's k nearest candidates, or all where there are fewer, and writes their
// rows to path as upstream's offline step does: int64 [queries, k], nearest first. The selector
// near reads this file.
func Near(ctx context.Context, dev driver.Device, log *slog.Logger, candidates, queries Vectors, k int, path string) (*Found, error) {
	f, err := Search(ctx, dev, log, "nearest rows of each query", queries, candidates, min(k, candidates.N))
	if err != nil {
		return nil, err
	}
	rows := make([]int64, len(f.Index))
	for i, r := range f.Index {
		rows[i] = int64(r)
	}
	return f, storage.WriteFile(path, npy.Encode(rows, f.M, f.K))
}
