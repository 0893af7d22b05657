package cluster

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"dataflex.dev/dataflex/algo/neighbor"
	"dataflex.dev/dataflex/data/rng"
)

// Strategy decides which rows represent their cluster.
type Strategy string

// The strategies.
const (
	Random   Strategy = "random"
	Nearest  Strategy = "nearest"  // to the cluster's mean
	Farthest Strategy = "farthest" // from it
	Mixed    Strategy = "mixed"    // nearest, farthest, second nearest, …
)

var strategies = map[string]Strategy{
	"random": Random, "rand": Random,
	"nearest": Nearest, "nearest_to_centroid": Nearest, "center": Nearest, "centroid": Nearest,
	"farthest": Farthest, "farthest_from_centroid": Farthest, "boundary": Farthest,
	"mixed": Mixed, "mixed_center_boundary": Mixed, "center_boundary": Mixed,
}

// ParseStrategy takes any of upstream's names, in any case.
func ParseStrategy(name string) (Strategy, error) {
	if s, ok := strategies[strings.ToLower(name)]; ok {
		return s, nil
	}
	return "", fmt.Errorf("representatives are chosen %s, %s, %s or %s, not %q", Random, Nearest, Farthest, Mixed, name)
}

// Distances returns every row's distance to the mean of its cluster.
func Distances(v neighbor.Vectors, ids []int) []float64 {
	centres, _ := means(v, ids, slices.Max(ids)+1)
	d := make([]float64, v.N)
	for i, c := range ids {
		d[i] = float64(float32(math.Sqrt(squared(v.Row(i), centres.Row(c)))))
	}
	return d
}

// Representatives returns up to perCluster rows of every cluster, cluster after cluster.
// distances are the result of Distances; ties are broken by the lower row. g is only used by
// the random strategy.
func Representatives(ids []int, distances []float64, s Strategy, perCluster int, g *rng.Torch) []int {
	members := make([][]int, slices.Max(ids)+1)
	for i, c := range ids {
		members[c] = append(members[c], i)
	}
	var out []int
	for _, m := range members {
		if len(m) == 0 {
			continue
		}
		out = append(out, ranked(m, distances, s, g)[:min(perCluster, len(m))]...)
	}
	return out
}

func ranked(m []int, d []float64, s Strategy, g *rng.Torch) []int {
	if s == Random {
		out := make([]int, len(m))
		for i, j := range g.Randperm(len(m)) {
			out[i] = m[j]
		}
		return out
	}
	near, far := slices.Clone(m), slices.Clone(m)
	slices.SortStableFunc(near, func(a, b int) int { return cmp.Compare(d[a], d[b]) })
	slices.SortStableFunc(far, func(a, b int) int { return cmp.Compare(d[b], d[a]) })
	switch s {
	case Nearest:
		return near
	case Farthest:
		return far
	}
	seen := map[int]bool{}
	var out []int
	for i := range near {
		for _, r := range []int{near[i], far[i]} {
			if !seen[r] {
				seen[r] = true
				out = append(out, r)
			}
		}
	}
	return out
}
