package selector

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/algotest"
	"dataflex.dev/dataflex/data/npy"
)

// The window of upstream's calculate_window_position, by hand: n 120, 20 %, three
// updates; σ(-5) = 0.0066929, σ(0) = 0.5, σ(5) = 0.9933071; times 96.
func TestDeltaLossWindow(t *testing.T) {
	s := &deltaLoss{run: &algo.Run{Updates: 3}, window: 0.2}
	for update, want := range map[int][2]int{1: {0, 24}, 2: {48, 72}, 3: {95, 119}} {
		if start, end := s.bounds(120, update); start != want[0] || end != want[1] {
			t.Errorf("update %d: rows %d to %d, want %v", update, start, end, want)
		}
	}
	once := &deltaLoss{run: &algo.Run{Updates: 2, UpdatesPerEpoch: 1}, window: 0.2}
	if start, end := once.bounds(120, 1); start != 0 || end != 24 {
		t.Errorf("one update per Flex epoch: rows %d to %d", start, end)
	}
}

// TestRegression12DeltaLossOneUpdate: one update in each of two Flex
// epochs is refused in mode upstream and works in faithful.
func TestRegression12DeltaLossOneUpdate(t *testing.T) {
	run := bare(50)
	run.Updates, run.UpdatesPerEpoch = 2, 1
	if _, err := build(t, run, "delta_loss", "upstream"); err == nil || !strings.Contains(err.Error(), "divides by zero") {
		t.Errorf("mode upstream: %v", err)
	}
	s := mustBuild(t, run, "delta_loss", "faithful")
	losses := make([]float64, 50)
	for u := range 2 {
		for i := range losses {
			losses[i] = float64(i+1) / float64(u+1)
		}
		given(run, slices.Clone(losses))
		if _, err := s.Select(t.Context(), algo.Request{Step: 4 + 8*u, Update: 1, N: 10}); err != nil {
			t.Errorf("selection %d: %v", u, err)
		}
	}
}

// A row without a loss is never drawn in faithful mode.
func TestRowsWithoutLoss(t *testing.T) {
	losses := make([]float64, 30)
	for i := range losses {
		if losses[i] = float64(i); i >= 12 {
			losses[i] = math.NaN()
		}
	}
	for _, name := range []string{"loss", "delta_loss"} {
		run := bare(30)
		given(run, losses)
		s := mustBuild(t, run, name, "faithful")
		for u := range 3 {
			sel, err := s.Select(t.Context(), algo.Request{Step: u, Update: u + 1, N: 20})
			if err != nil {
				t.Fatal(err)
			}
			if name == "delta_loss" && u == 0 {
				continue // the first selection is a draw from all
			}
			for _, i := range sel.Indices {
				if i >= 12 {
					t.Errorf("%s drew row %d, which has no loss", name, i)
				}
			}
		}
	}
}

func TestNearAdvances(t *testing.T) {
	order := mustBuild(t, bare(50), "near", "faithful", "indices_path: testdata/near.npy").(*near).order
	s := mustBuild(t, bare(50), "near", "faithful", "indices_path: testdata/near.npy")
	var all []int
	for u := range 5 {
		sel, err := s.Select(context.Background(), algo.Request{Update: u + 1, N: 12})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, sel.Indices...)
	}
	for i, r := range all {
		if r != order[i%len(order)] {
			t.Fatalf("pick %d is row %d, want %d", i, r, order[i%len(order)])
		}
	}
}

// Row i is drawn ⌊np⌋ or ⌈np⌉ times, over many starts np times on average.
func TestSystematic(t *testing.T) {
	p := []float64{0.5, 0, 0.23, 0.07, 0.2}
	order := []int{3, 1, 4, 0, 2}
	const n, starts = 7, 1000
	sums := make([]int, len(p))
	for u := range starts {
		count := make([]int, len(p))
		got := systematic(p, n, order, (float64(u)+0.5)/starts)
		for _, i := range got {
			count[i]++
		}
		for i, c := range count {
			sums[i] += c
			if x := n * p[i]; float64(c) < math.Floor(x) || float64(c) > math.Ceil(x) {
				t.Fatalf("row %d drawn %d times, its share is %v", i, c, x)
			}
		}
	}
	for i, s := range sums {
		if x := float64(s) / starts; math.Abs(x-n*p[i]) > 0.01 {
			t.Errorf("row %d drawn %v times on average, want %v", i, x, n*p[i])
		}
	}
}

func TestStaticReadsEveryRowOnce(t *testing.T) {
	for _, shuffle := range []string{"true", "false"} {
		s := mustBuild(t, bare(50), "static", "faithful", "shuffle: "+shuffle)
		var all []int
		for range 4 {
			sel, err := s.Select(context.Background(), algo.Request{N: 25})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, sel.Indices...)
		}
		for pass := range 2 {
			rows := slices.Clone(all[50*pass : 50*pass+50])
			slices.Sort(rows)
			for i, r := range rows {
				if r != i {
					t.Fatalf("shuffle %s: pass %d reads %v", shuffle, pass, rows)
				}
			}
		}
		if shuffle == "true" && slices.Equal(all[:50], all[50:]) {
			t.Error("both passes are in the same order")
		}
	}
}

func TestTop(t *testing.T) {
	nan := math.NaN()
	score := []float64{0.1, nan, 0.7, 0.7, -1, 0.7}
	for _, c := range []struct {
		tie  []float64
		n    int
		want []int
	}{
		{nil, 4, []int{2, 3, 5, 0}},
		{[]float64{0, 0, 3, 1, 0, 2}, 3, []int{3, 5, 2}},
		{nil, 7, []int{2, 3, 5, 0, 4, 2, 3}}, // fewer rows with a score than wanted
	} {
		if got := topAmong(algo.Faithful, score, c.tie, c.n); !slices.Equal(got, c.want) {
			t.Errorf("%d by %v: %v, want %v", c.n, c.tie, got, c.want)
		}
	}
	if slices.Contains(top(algo.Upstream, score, 5), 1) {
		t.Error("mode upstream picked the row without a score")
	}
	if err := scored(algotest.Quiet, bare(2).Train, []float64{nan, nan}); err == nil {
		t.Error("a pool without scores was accepted")
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, raw []byte) string {
		path := dir + "/" + name
		if err := writeFile(path, raw); err != nil {
			t.Fatal(err)
		}
		return path
	}
	far := write("far.npy", npy.Encode([]int64{0, 50}, 1, 2))
	flat := write("flat.npy", npy.Encode([]int64{0, 1}, 2))
	floats := write("floats.npy", npy.Encode([]float32{0, 1}, 1, 2))
	short := write("short.npy", npy.Encode([]float64{0.5, 0.5}, 2))
	half := make([]float64, 50)
	half[0] = 0.5
	unit := write("half.npy", npy.Encode(half, 50))
	for _, c := range []struct{ selector, param, want string }{
		{"near", "indices_path: " + far, "row 50, the training set has rows 0 to 49"},
		{"near", "indices_path: " + flat, "not an array of shape [2]"},
		{"near", "indices_path: " + floats, "integers are needed"},
		{"near", "indices_path: nowhere.npy", "dataflex-cli near"},
		{"near", "cache_dir: x", "name the .npy"},
		{"tsds", "probs_path: " + short, "training set of 50 rows"},
		{"tsds", "probs_path: " + unit, "sum to 0.5"},
		{"tsds", "cache_dir: x", "name the .npy"},
		{"delta_loss", "window_size: 1.5", "between 0 and 1"},
		{"delta_loss", "windw_size: 0.5", "did you mean window_size?"},
		{"static", "seed: 3", "unknown parameter"},
		{"loss", "focus: middle", "low, medium or high"},
		{"zeroth", "seed: 3", "evaluation set"},
	} {
		_, err := build(t, bare(50), c.selector, "faithful", c.param)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s, %s: error %v does not say %q", c.selector, c.param, err, c.want)
		}
		if err != nil && !strings.Contains(err.Error(), "components.yaml:") {
			t.Errorf("%s, %s: the error has no place: %v", c.selector, c.param, err)
		}
	}
}

// A window larger than the rows that can be drawn is an error upstream.
func TestTooFew(t *testing.T) {
	two := make([]float64, 50)
	two[3], two[7] = 0.5, 0.5
	path := t.TempDir() + "/p.npy"
	if err := writeFile(path, npy.Encode(two, 50)); err != nil {
		t.Fatal(err)
	}
	r := algo.Request{Step: 4, Update: 1, N: 3}
	if _, err := mustBuild(t, bare(50), "tsds", "upstream", "probs_path: "+path).Select(context.Background(), r); err == nil || !strings.Contains(err.Error(), "only 2 probabilities are positive") {
		t.Errorf("tsds: %v", err)
	}
	sel, err := mustBuild(t, bare(50), "tsds", "faithful", "probs_path: "+path).Select(context.Background(), r)
	if err != nil || len(sel.Indices) != 3 {
		t.Errorf("tsds, faithful: %v, %v", sel.Indices, err)
	}
	r.N = 51
	if _, err := mustBuild(t, bare(50), "near", "upstream", "indices_path: testdata/near.npy").Select(context.Background(), r); err == nil || !strings.Contains(err.Error(), fmt.Sprint(r.N)) {
		t.Errorf("near: %v", err)
	}
}
