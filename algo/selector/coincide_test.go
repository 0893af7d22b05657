package selector

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/algotest"
	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/cluster"
	"dataflex.dev/dataflex/algo/feature"
)

func coincideOf(t *testing.T, run *algo.Run, mode string, params ...string) *coincide {
	t.Helper()
	return mustBuild(t, run, "coincide", mode, append(params, "cache_dir: "+t.TempDir())...).(*coincide)
}

func chosen(t *testing.T, s algo.Selector, update, n int) []int {
	t.Helper()
	sel, err := s.Select(t.Context(), algo.Request{Step: 4 * update, Update: update, N: n})
	if err != nil {
		t.Fatal(err)
	}
	return sel.Indices
}

// Regression 26: successive selections continue in each cluster's order: different rows, each
// once until all have been taken, and the same after a restart.
func TestRegression26COINCIDEGoesOn(t *testing.T) {
	run := whole(t, rows(40, 4, 1), nil)
	s := coincideOf(t, run, "faithful", "num_clusters: 4")
	var all [][]int
	for u := 1; u <= 4; u++ {
		all = append(all, chosen(t, s, u, 10))
	}
	flat := slices.Concat(all...)
	slices.Sort(flat)
	for i, row := range flat {
		if i != row {
			t.Fatalf("four selections of 10 of 40 rows are %v", all)
		}
	}
	if again := chosen(t, s, 5, 10); !slices.Equal(again, all[0]) {
		t.Errorf("begun anew: %v, at first %v", again, all[0])
	}
	for cut := range 4 {
		first, second := coincideOf(t, run, "faithful", "num_clusters: 4"), coincideOf(t, run, "faithful", "num_clusters: 4")
		for u := range cut {
			chosen(t, first, u+1, 10)
		}
		carry(t, first, second)
		for u := cut; u < 4; u++ {
			if got := chosen(t, second, u+1, 10); !slices.Equal(got, all[u]) {
				t.Errorf("resumed after %d selections, selection %d is %v, uninterrupted %v", cut, u+1, got, all[u])
			}
		}
	}
	up := coincideOf(t, run, "upstream", "num_clusters: 4")
	if a, b := chosen(t, up, 1, 10), chosen(t, up, 2, 10); !slices.Equal(a, b) || !slices.Equal(a, distinct(a)) {
		t.Errorf("upstream: %v, then %v", a, b)
	}
}

func distinct(x []int) (out []int) {
	for _, v := range x {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// Regression 26: the choice depends on layers, model, number of clusters and seed, and fewer
// rows than clusters are refused.
func TestRegression26COINCIDEParameters(t *testing.T) {
	run := whole(t, rows(40, 4, 1), nil)
	orders := map[string]string{}
	for name, params := range map[string][]string{
		"as it is": {"num_clusters: 4"}, "other layers": {"num_clusters: 4", "embedding_layers: [0]"}, "more clusters": {"num_clusters: 6"},
		"other seed": {"num_clusters: 4", "seed: 7"}, "other arithmetic": {"num_clusters: 4", "variant: upstream"},
		"other model": {"num_clusters: 4", "embedding_model_name_or_path: " + algotest.Model(t, 3, modelKeys)},
	} {
		s := coincideOf(t, run, "faithful", params...)
		chosen(t, s, 1, 10)
		raw, err := json.Marshal(s.found.order)
		if err != nil {
			t.Fatal(err)
		}
		for other, o := range orders {
			if o == string(raw) {
				t.Errorf("%s and %s give the same clusters in the same order", name, other)
			}
		}
		orders[name] = string(raw)
	}
	s := coincideOf(t, run, "faithful") // of 40 rows that the run selects, 3 clusters
	chosen(t, s, 1, 10)
	if len(s.found.order) != 3 {
		t.Errorf("%d clusters", len(s.found.order))
	}
	_, err := coincideOf(t, run, "faithful", "num_clusters: 39").Select(t.Context(), algo.Request{N: 8})
	if err == nil || !strings.Contains(err.Error(), "num_clusters is 39 and the run selects 32 rows") {
		t.Errorf("error %v", err)
	}
	for _, c := range []struct{ param, want string }{
		{"temperature: 0", "must be positive"},
		{"embedding_layers: [3]", "0 to 2"},
		{"embedding_layers: []", "at least one layer"},
		{"variant: paper", "official or upstream"},
		{"num_cluster: 3", "did you mean num_clusters?"},
	} {
		if _, err := build(t, run, "coincide", "faithful", c.param); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.param, err)
		}
	}
}

// The vectors by their definition, and the layers of the paper's models.
func TestCOINCIDEVectors(t *testing.T) {
	run := whole(t, rows(6, 3, 1), nil)
	for _, tanhFirst := range []bool{true, false} {
		pass := feature.BlockPass{Pass: feature.Pass{Device: run.Device, Model: run.Model, Log: algotest.Quiet}, Layers: []int{1, 2}, TanhFirst: tanhFirst}
		got, err := feature.Blocks(t.Context(), pass, run.Train)
		if err != nil {
			t.Fatal(err)
		}
		for i := range run.Train {
			var want []float64
			for _, layer := range pass.Layers {
				h, err := run.Model.Hidden(batch.Pack(run.Train, []int{i}).Batch, layer)
				if err != nil {
					t.Fatal(err)
				}
				block := make([]float64, 16)
				n := h.Len() / 16
				for at, x := range h.Host() {
					v := float64(x)
					if tanhFirst {
						v = math.Tanh(v)
					}
					block[at%16] += v / float64(n)
				}
				for j := range block {
					if !tanhFirst {
						block[j] = math.Tanh(block[j])
					}
				}
				for _, x := range unit(block) {
					want = append(want, x/math.Sqrt2)
				}
			}
			for j, x := range got.Row(i) {
				if math.Abs(float64(x)-want[j]) > 1e-6 {
					t.Fatalf("row %d [%d] is %v, want %v", i, j, x, want[j])
				}
			}
		}
	}
	for layers, want := range map[int][]int{24: {1, 7, 12, 18, 24}, 28: {1, 8, 14, 21, 28}, 32: {1, 9, 16, 24, 32}, 3: {1, 2, 3}, 1: {1}} {
		if got := fiveLayers(layers); !slices.Equal(got, want) {
			t.Errorf("of %d layers %v, want %v", layers, got, want)
		}
	}
}

// Regression 68: every family of rows is represented, not only the most central rows.
func TestCOINCIDECoversTheFamilies(t *testing.T) {
	run := whole(t, rows(60, 5, 1), nil)
	run.Updates = 1
	s := coincideOf(t, run, "faithful", "num_clusters: 5", "temperature: 1")
	seen := map[int]int{}
	for _, i := range chosen(t, s, 1, 15) {
		seen[i%5]++
	}
	if len(seen) < 4 {
		t.Errorf("15 picks by family: %v", seen)
	}
	if s.Reuse() || cluster.SphericalKMeans != s.options.Method {
		t.Error("a choice from disk would leave the clusters unknown")
	}
}
