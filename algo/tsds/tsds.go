// Package tsds computes the sampling probabilities of TSDS: Data Selection for Task-Specific
// Model Finetuning (Liu, Karbasi, Rekatsinas, NeurIPS 2024, arXiv:2410.11303): optimal transport
// from the candidates to the queries, in which near-duplicates share the probability of one
// candidate.
//
// Every one of the M queries has the mass 1/M, which goes to its nearest candidates in order.
// Candidate i takes at most 1/(M·s·ρ_i), where ρ_i estimates the number of its near-duplicates
// (itself included). A larger s spreads the mass further: more diversity, but transport over
// longer distances. s is the largest value for which
//
//	α/C · (marginal cost of spreading further) < (1-α) · M
package tsds

import (
	"container/heap"
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"

	"dataflex.dev/dataflex/algo/neighbor"
	"dataflex.dev/dataflex/data/npy"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/driver"
)

// Options are the method's parameters.
type Options struct {
	MaxK  int     // candidates considered per query
	KDEK  int     // neighbours considered per candidate
	Sigma float64 // radius of the density's kernel; 0 = no near-duplicates
	Alpha float64 // between 0, diversity only, and 1, distance only
	C     float64 // on the scale of the vectors' lengths
}

// Official returns the paper's own settings.
func Official() Options { return Options{MaxK: 5000, KDEK: 1000, Sigma: 0.75, Alpha: 0.5, C: 5} }

func (o Options) check(candidates, queries neighbor.Vectors) error {
	switch {
	case candidates.N < 2 || queries.N < 1:
		return fmt.Errorf("tsds: %d candidates and %d queries: at least two candidates and one query are needed", candidates.N, queries.N)
	case o.MaxK < 1 || o.KDEK < 1:
		return fmt.Errorf("tsds: max_K %d and kde_K %d must be positive", o.MaxK, o.KDEK)
	case !(o.Sigma >= 0):
		return fmt.Errorf("tsds: sigma %v must not be negative", o.Sigma)
	case !(o.Alpha > 0 && o.Alpha <= 1):
		return fmt.Errorf("tsds: alpha %v must be above 0 and at most 1", o.Alpha)
	case !(o.C > 0):
		return fmt.Errorf("tsds: C %v must be positive", o.C)
	}
	return nil
}

// clamp limits the neighbourhoods to a tenth of the candidates, as the paper's code does, but
// to no fewer than two neighbours.
func (o Options) clamp(n int) Options {
	o.MaxK = max(2, min(o.MaxK, n/10))
	o.KDEK = max(1, min(o.KDEK, n/10))
	return o
}

// Probabilities returns the probability of every candidate; they sum to 1.
func Probabilities(ctx context.Context, dev driver.Device, log *slog.Logger, candidates, queries neighbor.Vectors, o Options) ([]float64, error) {
	if err := o.check(candidates, queries); err != nil {
		return nil, err
	}
	o = o.clamp(candidates.N)
	near, err := neighbor.Search(ctx, dev, log, "nearest rows of each query", queries, candidates, o.MaxK)
	if err != nil {
		return nil, fmt.Errorf("tsds: %w", err)
	}
	density, err := densities(ctx, dev, log, candidates, near.Index, o)
	if err != nil {
		return nil, fmt.Errorf("tsds: %w", err)
	}
	t := &transport{found: near, density: density, options: o}
	t.spread()
	p := make([]float64, candidates.N)
	if err := t.assign(p); err != nil {
		return nil, err
	}
	return p, normalize(p)
}

// Write computes the probabilities and writes them to path as upstream's offline step does:
// float64 [candidates]. The selector tsds reads this file.
func Write(ctx context.Context, dev driver.Device, log *slog.Logger, candidates, queries neighbor.Vectors, o Options, path string) ([]float64, error) {
	p, err := Probabilities(ctx, dev, log, candidates, queries, o)
	if err != nil {
		return nil, err
	}
	return p, storage.WriteFile(path, npy.Encode(p, len(p)))
}

// densities estimates ρ of every candidate in rows: the sum of max(0, 1-d²/σ²) over its KDEK
// nearest candidates, itself included.
func densities(ctx context.Context, dev driver.Device, log *slog.Logger, candidates neighbor.Vectors, rows []int, o Options) (map[int]float64, error) {
	unique := slices.Clone(rows)
	slices.Sort(unique)
	unique = slices.Compact(unique)
	out := make(map[int]float64, len(unique))
	if o.Sigma == 0 {
		for _, i := range unique {
			out[i] = 1
		}
		return out, nil
	}
	sub := candidates.Select(unique)
	near, err := neighbor.Search(ctx, dev, log, "nearest rows of each candidate", sub, sub, min(o.KDEK, sub.N))
	if err != nil {
		return nil, err
	}
	for u, i := range unique {
		var rho float64
		for _, d2 := range near.Squared[u*near.K : (u+1)*near.K] {
			rho += max(0, 1-d2/(o.Sigma*o.Sigma))
		}
		out[i] = rho
	}
	return out, nil
}

// transport computes how far every query's mass is spread over its neighbours.
type transport struct {
	found   *neighbor.Found
	density map[int]float64
	options Options

	scale float64 // s
	last  []int   // per query: the last neighbour that takes its full share; -1 = none
}

func (t *transport) rho(query, k int) float64 { return t.density[t.found.Index[query*t.found.K+k]] }

func (t *transport) distance(query, k int) float64 {
	return math.Sqrt(t.found.Squared[query*t.found.K+k])
}

// front is the point at which a query's neighbours up to k take their full shares: at the scale
// full.
type front struct {
	full     float64
	k, query int
	work     float64 // Σ d_i/ρ_i up to k: the cost of transporting the mass, times s
}

// fronts is a heap: the smallest scale first, then the nearer neighbour, then the earlier
// query.
type fronts []front

func (f fronts) Len() int { return len(f) }

func (f fronts) Less(i, j int) bool {
	a, b := f[i], f[j]
	switch {
	case a.full != b.full:
		return a.full < b.full
	case a.k != b.k:
		return a.k < b.k
	}
	return a.query < b.query
}

func (f fronts) Swap(i, j int) { f[i], f[j] = f[j], f[i] }

func (f *fronts) Push(x any) { *f = append(*f, x.(front)) }

func (f *fronts) Pop() any {
	old := *f
	x := old[len(old)-1]
	*f = old[:len(old)-1]
	return x
}

// spread raises s from one front to the next. Beyond a front, the query's mass begins to spread
// to the next neighbour, which changes the marginal cost.
func (t *transport) spread() {
	m := t.found.M
	t.last = make([]int, m)
	cost := make([]float64, m)
	h := make(fronts, 0, m)
	for j := range m {
		// The paper's code starts at 0, which would give a query whose first front is not
		// reached more than its mass; there an assertion stops it.
		t.last[j] = -1
		share := 1 / t.rho(j, 0)
		h = append(h, front{full: share, query: j, work: t.distance(j, 0) * share})
	}
	heap.Init(&h)
	var total float64
	for len(h) > 0 {
		f := heap.Pop(&h).(front)
		t.scale = f.full
		marginal := t.distance(f.query, f.k+1)*f.full - f.work
		total += marginal - cost[f.query]
		cost[f.query] = marginal
		if t.options.Alpha/t.options.C*total >= (1-t.options.Alpha)*float64(m) {
			return
		}
		t.last[f.query] = f.k
		if f.k+2 < t.found.K {
			share := 1 / t.rho(f.query, f.k+1)
			heap.Push(&h, front{full: f.full + share, k: f.k + 1, query: f.query, work: f.work + t.distance(f.query, f.k+1)*share})
		}
	}
}

// assign adds every query's mass to p: full shares up to last, the rest to the neighbour after
// it. It checks the same bounds as the assertions of the paper's code.
func (t *transport) assign(p []float64) error {
	const tolerance = 1e-9
	mass := 1 / float64(t.found.M)
	for j := range t.found.M {
		rest := mass
		for k := range t.last[j] + 1 {
			share := mass / t.scale / t.rho(j, k)
			p[t.found.Index[j*t.found.K+k]] += share
			rest -= share
		}
		next := t.last[j] + 1
		share := mass / t.scale / t.rho(j, next)
		switch {
		case rest < -tolerance:
			return fmt.Errorf("tsds: query %d gave %v more than its mass", j, -rest)
		case rest > share*(1+tolerance) && next < t.found.K-1:
			return fmt.Errorf("tsds: query %d has %v left for a neighbour that takes %v", j, rest, share)
		}
		p[t.found.Index[j*t.found.K+next]] += max(rest, 0)
	}
	return nil
}

// normalize scales the sum to exactly 1; it must already be 1 up to rounding.
func normalize(p []float64) error {
	var sum float64
	for _, x := range p {
		sum += x
	}
	if !(math.Abs(sum-1) <= 1e-6) {
		return fmt.Errorf("tsds: the probabilities sum to %v", sum)
	}
	for i := range p {
		p[i] /= sum
	}
	return nil
}
