package selector

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"dataflex.dev/dataflex/algo"
)

// recorded is what upstream's own selectors picked (testdata/derive.py).
type recorded struct {
	Rows   int         `json:"rows"`
	N      int         `json:"num_samples"`
	Losses [][]float64 `json:"losses"`
	picks  map[string][][]int
}

func readRecorded(t *testing.T) recorded {
	t.Helper()
	raw, err := os.ReadFile("testdata/upstream.json")
	if err != nil {
		t.Fatal(err)
	}
	var r recorded
	all := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	r.picks = map[string][][]int{}
	for k, v := range all {
		var p [][]int
		if json.Unmarshal(v, &p) == nil {
			r.picks[k] = p
		}
	}
	return r
}

func (r recorded) request(update int) algo.Request {
	return algo.Request{Step: 4 + 4*update, Update: update + 1, N: r.N}
}

// given sets the losses of a run's rows.
func given(run *algo.Run, losses []float64) {
	run.Losses = func(_ context.Context, rows []int, _, _ int) ([]float64, error) { return pick(losses, rows), nil }
}

func TestUpstreamsDraws(t *testing.T) {
	want := readRecorded(t)
	for name, c := range map[string]struct {
		selector string
		params   []string
	}{
		"delta_loss":      {"delta_loss", []string{"window_size: 0.2"}},
		"delta_loss_wide": {"delta_loss", []string{"window_size: 0.7"}},
		"loss_low":        {"loss", []string{"focus: low"}},
		"loss_medium":     {"loss", []string{"focus: medium"}},
		"loss_high":       {"loss", []string{"focus: high"}},
		"loss_warm":       {"loss", []string{"focus: high", "temperature: 2", "quantiles: [0.5, 0.9]"}},
	} {
		// Where every row has a loss, faithful is the same.
		for _, mode := range []string{"upstream", "faithful"} {
			run := bare(want.Rows)
			s := mustBuild(t, run, c.selector, mode, c.params...)
			for u, rows := range want.picks[name] {
				given(run, want.Losses[u])
				got, err := s.Select(t.Context(), want.request(u))
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got.Indices, rows) {
					t.Errorf("%s, %s, update %d: %v, want %v", name, mode, u+1, got.Indices, rows)
				}
			}
		}
	}
}

func TestUpstreamsFiles(t *testing.T) {
	want := readRecorded(t)
	for name, param := range map[string]string{"near": "indices_path: testdata/near.npy", "tsds": "probs_path: testdata/tsds.npy"} {
		s := mustBuild(t, bare(want.Rows), name, "upstream", param)
		for u, rows := range want.picks[name] {
			got, err := s.Select(context.Background(), want.request(u))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got.Indices, rows) {
				t.Errorf("%s, update %d: %v, want %v", name, u+1, got.Indices, rows)
			}
		}
	}
}

// A checkpoint contains everything that a method's later choices depend on: regression 7 of
// spec/dataflex-upstream.md, method by method.
func TestStateCarriesOn(t *testing.T) {
	want := readRecorded(t)
	for _, c := range []struct{ name, mode, param string }{
		{"delta_loss", "upstream", "window_size: 0.2"},
		{"delta_loss", "faithful", "window_size: 0.2"},
		{"near", "upstream", "indices_path: testdata/near.npy"},
		{"near", "faithful", "indices_path: testdata/near.npy"},
		{"tsds", "upstream", "probs_path: testdata/tsds.npy"},
		{"tsds", "faithful", "probs_path: testdata/tsds.npy"},
		{"static", "faithful", "shuffle: true"},
		{"random", "faithful", "seed: 7"},
	} {
		run := bare(want.Rows)
		ask := func(s algo.Selector, u int) []int {
			given(run, want.Losses[u])
			sel, err := s.Select(t.Context(), want.request(u))
			if err != nil {
				t.Fatalf("%s %s: %v", c.name, c.mode, err)
			}
			return sel.Indices
		}
		straight := mustBuild(t, run, c.name, c.mode, c.param)
		var uninterrupted [][]int
		for u := range 4 {
			uninterrupted = append(uninterrupted, ask(straight, u))
		}
		for cut := range 4 { // killed after the cut-th selection
			first := mustBuild(t, run, c.name, c.mode, c.param)
			for u := range cut {
				ask(first, u)
			}
			second := mustBuild(t, run, c.name, c.mode, c.param)
			carry(t, first, second)
			for u := cut; u < 4; u++ {
				if got := ask(second, u); !slices.Equal(got, uninterrupted[u]) {
					t.Errorf("%s %s, resumed after %d selections: selection %d is %v, uninterrupted %v", c.name, c.mode, cut, u, got, uninterrupted[u])
				}
			}
		}
	}
}

// carry transfers the state as a checkpoint does.
func carry(t *testing.T, from, to algo.Selector) {
	t.Helper()
	s, ok := from.(algo.Stateful)
	if !ok {
		return
	}
	raw, err := s.State()
	if err != nil {
		t.Fatal(err)
	}
	if err := to.(algo.Stateful).Restore(raw); err != nil {
		t.Fatal(err)
	}
}
