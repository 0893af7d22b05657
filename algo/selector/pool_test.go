package selector

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/data/npy"
)

// Every method's picks from a pool are in the pool, its scores are at the rows' positions, and
// a pool of all rows has no effect.
func TestPools(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 1))
	run := whole(t, rows(24, 3, 1), rows(4, 2, 2))
	for i := range run.Eval {
		run.Eval[i].Dataset = []string{"a", "b"}[i%2]
	}
	every := slices.Sorted(slices.Values(r.Perm(24)))
	dir := t.TempDir()
	neighbours, shares := filepath.Join(dir, "near.npy"), filepath.Join(dir, "tsds.npy")
	order, even := make([]int64, 24), make([]float64, 24)
	for i, row := range r.Perm(24) {
		order[i], even[i] = int64(row), 1.0/24
	}
	for path, raw := range map[string][]byte{neighbours: npy.Encode(order, 4, 6), shares: npy.Encode(even, 24)} {
		if err := writeFile(path, raw); err != nil {
			t.Fatal(err)
		}
	}
	cases := map[string][]string{
		"less": {"cache_dir: " + t.TempDir()}, "icons": {"cache_dir: " + t.TempDir()}, "zeroth": {"directions: 1"},
		"loss": nil, "random": nil, "static": nil, "custom": nil,
		"cluster_less": {"cache_dir: " + t.TempDir(), "cluster_size: 4"}, "coincide": {"cache_dir: " + t.TempDir(), "num_clusters: 3"},
		"near": {"indices_path: " + neighbours}, "tsds": {"probs_path: " + shares},
	}
	for name, params := range cases {
		for trial := range 3 {
			among := slices.Sorted(slices.Values(r.Perm(24)[:8+4*trial]))
			key := strings.Repeat(string(rune('a'+trial)), 64)
			sel, err := mustBuild(t, run, name, "faithful", params...).Select(t.Context(), algo.Request{Step: 4, Update: 1, N: 6, Pool: among, Key: key})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for _, i := range sel.Indices {
				if !slices.Contains(among, i) {
					t.Errorf("%s picked row %d, which is not in the pool %v", name, i, among)
				}
			}
			for i, x := range sel.Score {
				if name != "tsds" && !math.IsNaN(x) && !slices.Contains(among, i) {
					t.Errorf("%s gave row %d, outside the pool, the score %v", name, i, x)
				}
			}
		}
		ask := func(pool []int, key string) algo.Selection {
			sel, err := mustBuild(t, run, name, "faithful", params...).Select(t.Context(), algo.Request{Step: 4, Update: 1, N: 6, Pool: pool, Key: strings.Repeat(key, 64)})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return sel
		}
		if a, b := ask(nil, "e"), ask(every, "f"); !slices.Equal(a.Indices, b.Indices) && name != "near" {
			t.Errorf("%s: all rows %v, a pool of all rows %v", name, a.Indices, b.Indices)
		}
	}
}

// A row's score does not depend on the pool in which it is scored.
func TestPoolScores(t *testing.T) {
	run := whole(t, rows(24, 3, 1), rows(4, 2, 2))
	some := []int{1, 3, 4, 9, 16, 22}
	for name, params := range map[string][]string{"less": {"cache_dir: " + t.TempDir()}, "zeroth": {"directions: 1"}, "loss": nil} {
		all, err := mustBuild(t, run, name, "faithful", params...).Select(t.Context(), algo.Request{Step: 4, Update: 1, N: 3, Key: strings.Repeat("1", 64)})
		if err != nil {
			t.Fatal(err)
		}
		got, err := mustBuild(t, run, name, "faithful", params...).Select(t.Context(), algo.Request{Step: 4, Update: 1, N: 3, Pool: some, Key: strings.Repeat("2", 64)})
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range some {
			if all.Score[i] != got.Score[i] {
				t.Errorf("%s: row %d has %v among all rows, %v in the pool", name, i, all.Score[i], got.Score[i])
			}
		}
	}
}

// delta_loss compares with the first loss of every row, including those outside the first pool.
func TestPoolDeltas(t *testing.T) {
	run := bare(6)
	s := mustBuild(t, run, "delta_loss", "faithful", "window_size: 1")
	given(run, []float64{5, 5, 5, 5, 5, 5})
	if _, err := s.Select(t.Context(), algo.Request{Step: 1, Update: 1, N: 2, Pool: []int{0, 1, 2}}); err != nil {
		t.Fatal(err)
	}
	given(run, []float64{5, 4, 3, 2, 1, 0})
	sel, err := s.Select(t.Context(), algo.Request{Step: 2, Update: 2, N: 2, Pool: []int{2, 4, 5}})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range map[int]float64{2: 2, 4: 4, 5: 5} {
		if sel.Score[i] != want {
			t.Errorf("row %d: %v, want %v", i, sel.Score[i], want)
		}
	}
	if !math.IsNaN(sel.Score[3]) {
		t.Errorf("row 3, outside the pool, has the score %v", sel.Score[3])
	}
}
