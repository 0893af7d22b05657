// Package cluster partitions vectors by the methods of DataFlex's cluster_less. Random choices
// follow torch's CPU generator, so that a seed gives upstream's partition.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"

	"dataflex.dev/dataflex/algo/neighbor"
	"dataflex.dev/dataflex/data/rng"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gemm"
)

// Method is a way to partition.
type Method string

// The methods.
const (
	KMeans          Method = "kmeans"                // Lloyd's iterations, Euclidean
	SphericalKMeans Method = "spherical_kmeans"      // Lloyd's iterations, cosine
	FarthestFirst   Method = "farthest_first"        // centres far apart (Gonzalez 1985)
	LSH             Method = "random_projection_lsh" // signs of random projections
	RandomPartition Method = "random_partition"      // of equal sizes
)

// aliases are upstream's other names.
var aliases = map[string]Method{
	"kmeans": KMeans, "euclidean_kmeans": KMeans,
	"spherical_kmeans": SphericalKMeans, "cosine_kmeans": SphericalKMeans,
	"farthest_first": FarthestFirst, "kcenter": FarthestFirst, "k_center": FarthestFirst,
	"random_projection_lsh": LSH, "lsh": LSH, "rp_lsh": LSH,
	"random_partition": RandomPartition, "random": RandomPartition,
}

// ParseMethod takes any of upstream's names, in any case.
func ParseMethod(name string) (Method, error) {
	if m, ok := aliases[strings.ToLower(name)]; ok {
		return m, nil
	}
	return "", fmt.Errorf("a clustering method is %s, %s, %s, %s or %s, not %q", KMeans, SphericalKMeans, FarthestFirst, LSH, RandomPartition, name)
}

// Options are the parameters of a partition.
type Options struct {
	Method     Method
	K          int // number of clusters; LSH and k-means may leave some empty
	Iterations int // of k-means
	Bits       int // of LSH; 0 = ⌈log₂ K⌉
	Seed       uint64
}

// Assign gives every row the number of its cluster.
func Assign(ctx context.Context, dev driver.Device, v neighbor.Vectors, o Options) ([]int, error) {
	if v.N == 0 {
		return nil, errors.New("cluster: no vectors")
	}
	o.K = max(1, min(o.K, v.N))
	placed, release, err := driver.Place(dev, v.Data)
	if err != nil {
		return nil, fmt.Errorf("cluster: %d vectors on the device: %w", v.N, err)
	}
	defer release()
	p := partition{ctx: ctx, dev: dev, rows: v, data: placed[0], Options: o}
	switch o.Method {
	case KMeans, SphericalKMeans:
		return p.lloyd()
	case FarthestFirst:
		return p.farthestFirst()
	case LSH:
		return p.lsh()
	case RandomPartition:
		return p.random(), nil
	}
	return nil, fmt.Errorf("cluster: unknown method %q", o.Method)
}

type partition struct {
	ctx  context.Context
	dev  driver.Device
	rows neighbor.Vectors
	data driver.F32 // the rows, on the device
	Options
}

// lloyd runs Lloyd's algorithm from K rows of a random permutation. An empty cluster restarts
// at a random row, drawn from a new permutation of the same generator.
func (p *partition) lloyd() ([]int, error) {
	g := rng.NewTorch(p.Seed)
	centres := p.rows.Select(g.Randperm(p.rows.N)[:p.K])
	spherical := p.Method == SphericalKMeans
	if spherical {
		centres.Normalize()
	}
	for range max(1, p.Iterations) {
		ids, err := p.nearest(centres, spherical)
		if err != nil {
			return nil, err
		}
		var empty []int
		centres, empty = means(p.rows, ids, p.K)
		if len(empty) > 0 {
			for i, r := range g.Randperm(p.rows.N)[:len(empty)] {
				copy(centres.Row(empty[i]), p.rows.Row(r))
			}
		}
		if spherical {
			centres.Normalize()
		}
	}
	return p.nearest(centres, spherical)
}

// means returns the mean row of every cluster, and the clusters without a row.
func means(v neighbor.Vectors, ids []int, k int) (centres neighbor.Vectors, empty []int) {
	sum := make([]float64, k*v.Dim)
	count := make([]int, k)
	for i, c := range ids {
		count[c]++
		for j, x := range v.Row(i) {
			sum[c*v.Dim+j] += float64(x)
		}
	}
	centres = neighbor.Vectors{N: k, Dim: v.Dim, Data: make([]float32, k*v.Dim)}
	for c := range k {
		if count[c] == 0 {
			empty = append(empty, c)
		}
		row := centres.Row(c)
		for j := range row {
			row[j] = float32(sum[c*v.Dim+j] / float64(max(1, count[c])))
		}
	}
	return centres, empty
}

const chunk = 1024 // rows whose products with all centres are in memory at a time

// nearest returns each row's nearest centre, the first of equal ones; with spherical the one
// with the largest inner product.
func (p *partition) nearest(centres neighbor.Vectors, spherical bool) ([]int, error) {
	half := make([]float32, centres.N)
	if !spherical {
		for c := range half {
			half[c] = float32(squared(centres.Row(c), nil) / 2)
		}
	}
	ids := make([]int, p.rows.N)
	start := make([]float32, min(chunk, p.rows.N)*centres.N) // of the scores
	placed, release, err := driver.Place(p.dev, centres.Data, start)
	if err != nil {
		return nil, err
	}
	defer release()
	for first := 0; first < p.rows.N; first += chunk {
		if err := p.ctx.Err(); err != nil {
			return nil, err
		}
		m := min(chunk, p.rows.N-first)
		for i := range m {
			copy(start[i*centres.N:], half)
		}
		score := placed[1].Sub(0, m*centres.N)
		if err := driver.Upload(p.dev, score, start[:m*centres.N]); err != nil {
			return nil, err
		}
		// |c|²/2 - x·c orders the centres as |x-c|² does.
		gemm.Run(p.dev, gemm.NT, -1, gemm.Dense(p.data, p.rows.N, p.rows.Dim).Sub(first, first+m), gemm.Dense(placed[0], centres.N, p.rows.Dim),
			1, gemm.Dense(score, m, centres.N))
		s, err := driver.Read(p.dev, score)
		if err != nil {
			return nil, err
		}
		for i := range m {
			ids[first+i] = smallest(s[i*centres.N : (i+1)*centres.N])
		}
	}
	return ids, nil
}

func smallest(x []float32) int {
	at := 0
	for i, v := range x {
		if v < x[at] {
			at = i
		}
	}
	return at
}

// squared is |x-y|² in float64; y nil is the origin.
func squared(x, y []float32) float64 {
	var s float64
	for i, v := range x {
		d := float64(v)
		if y != nil {
			d -= float64(y[i])
		}
		s += d * d
	}
	return s
}

// farthestFirst chooses a random row as the first centre, then K-1 times the row farthest from
// the centres so far.
func (p *partition) farthestFirst() ([]int, error) {
	n := p.rows.N
	taken := rng.NewTorch(p.Seed).Randint(0, n, 1)
	least := make([]float64, n) // squared distance to the nearest centre; -1 = is a centre
	for i := range least {
		least[i] = math.Inf(1)
	}
	for {
		if err := p.ctx.Err(); err != nil {
			return nil, err
		}
		centre := taken[len(taken)-1]
		next := -1
		for i := range least {
			if least[i] = min(least[i], squared(p.rows.Row(i), p.rows.Row(centre))); i == centre {
				least[i] = -1
			}
			if next < 0 || least[i] > least[next] {
				next = i
			}
		}
		if len(taken) == p.K {
			return p.nearest(p.rows.Select(taken), false)
		}
		taken = append(taken, next)
	}
}

// lsh groups rows by the signs of their projections on random directions. If there are more
// than K sign patterns, several share a cluster.
func (p *partition) lsh() ([]int, error) {
	width := p.Bits
	if width == 0 {
		width = max(1, bits.Len(uint(p.K-1)))
	}
	width = min(width, 30)
	planes := make([]float32, p.rows.Dim*width)
	rng.NewTorch(p.Seed+31).Normal(planes, 0, 1)
	placed, release, err := driver.Place(p.dev, planes, make([]float32, p.rows.N*width))
	if err != nil {
		return nil, err
	}
	defer release()
	gemm.Run(p.dev, gemm.NN, 1, gemm.Dense(p.data, p.rows.N, p.rows.Dim), gemm.Dense(placed[0], p.rows.Dim, width), 0, gemm.Dense(placed[1], p.rows.N, width))
	projected, err := driver.Read(p.dev, placed[1])
	if err != nil {
		return nil, err
	}
	codes := make([]int, p.rows.N)
	for i := range codes {
		for b, x := range projected[i*width : (i+1)*width] {
			if x >= 0 {
				codes[i] |= 1 << b
			}
		}
	}
	unique := slices.Clone(codes)
	slices.Sort(unique)
	unique = slices.Compact(unique)
	for i, c := range codes {
		at, _ := slices.BinarySearch(unique, c)
		codes[i] = at % p.K
	}
	return codes, nil
}

// random distributes a random permutation over the clusters.
func (p *partition) random() []int {
	ids := make([]int, p.rows.N)
	for i, r := range rng.NewTorch(p.Seed + 47).Randperm(p.rows.N) {
		ids[r] = i % p.K
	}
	return ids
}
