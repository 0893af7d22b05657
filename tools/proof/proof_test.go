package main

import (
	"bytes"
	"context"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"dataflex.dev/dataflex/tools/tasks"
)

// bench is a lab for one seed in a temporary folder.
func bench(t *testing.T) *lab {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("DATAFLEX_CACHE", filepath.Join(dir, "cache"))
	model, err := filepath.Abs("../dataflex-demo/model")
	if err != nil {
		t.Fatal(err)
	}
	return &lab{dir: dir, model: model, seed: 1, log: slog.New(slog.DiscardHandler)}
}

// TestSelectorsFindTheFamily is the selection experiment for one seed and for the fast methods,
// with the same claims.
func TestSelectorsFindTheFamily(t *testing.T) {
	l, out, ctx := bench(t), newTrial(), context.Background()
	pool, eval := l.pool(tasks.Target, 32)
	if err := l.data(map[string][]tasks.Row{"pool": pool, "eval": eval}); err != nil {
		t.Fatal(err)
	}
	indices, probabilities := filepath.Join(l.dir, "near.npy"), filepath.Join(l.dir, "tsds.npy")
	if err := offline(ctx, l, pool, eval, indices, probabilities); err != nil {
		t.Fatal(err)
	}
	quick := map[string]bool{"less": true, "near": true, "tsds": true, "cluster_less": true, "random": true}
	if err := l.contest(ctx, out, pool, tasks.Target, contenders(indices, probabilities, quick)); err != nil {
		t.Fatal(err)
	}
	hold(t, out, selectionClaims(), func(c claim) bool { return quick[strings.Fields(c.key)[0]] && !c.open })
}

// TestFaint: exact cosines find what a projection's error hides.
func TestFaint(t *testing.T) {
	l, out := bench(t), newTrial()
	if err := faintTrial(context.Background(), l, out); err != nil {
		t.Fatal(err)
	}
	hold(t, out, faintClaims(), func(c claim) bool { return !c.open })
	if spread, e := out.Values["exact spread"], out.Values["projected error"]; spread > 0.005 || e < spread/2 {
		t.Errorf("the scores' standard deviation is %v, the projection's error %v: nothing is faint here", spread, e)
	}
}

// TestExperts is the mixture-of-experts experiment for one seed.
func TestExperts(t *testing.T) {
	l, out := bench(t), newTrial()
	if err := expertTrial(context.Background(), l, out); err != nil {
		t.Fatal(err)
	}
	for _, e := range experiments {
		if e.name == "experts" {
			hold(t, out, e.claims, func(claim) bool { return true })
			if err := e.draw(filepath.Join(l.dir, "experts.png"), []*trial{out}); err != nil {
				t.Error(err)
			}
		}
	}
}

func hold(t *testing.T, out *trial, claims []claim, which func(claim) bool) {
	t.Helper()
	held := 0
	for _, c := range claims {
		if !which(c) {
			continue
		}
		v, err := c.judged([]*trial{out})
		if err != nil {
			t.Fatal(err)
		}
		if held++; !v.won {
			t.Errorf("%s: %s is %s, against %s %s", c.method, c.what, c.format(v.mean), c.rival, c.format(max(v.rivalMean, c.least)))
		}
	}
	if held == 0 {
		t.Error("no claim was held")
	}
}

// TestVerdicts: a claim wins if it holds for every seed; the worst seed is the one closest to
// failing; a value that was not measured is an error.
func TestVerdicts(t *testing.T) {
	a, b := newTrial(), newTrial()
	a.set("x", 0.95)
	b.set("x", 0.85)
	a.set("y", 1.5)
	b.set("y", 0.9)
	for _, c := range []struct {
		claim
		mean, worst float64
		won         bool
	}{
		{share("m", "", "", "x", 0.9, ""), 0.9, 0.85, false},
		{share("m", "", "", "x", 0.8, ""), 0.9, 0.85, true},
		{lower("m", "", "", "x", "y", "", ""), 0.9, 0.95, true},
		{lower("m", "", "", "y", "x", "", ""), 1.2, 1.5, false},
	} {
		v, err := c.judged([]*trial{a, b})
		if err != nil || math.Abs(v.mean-c.mean) > 1e-12 || v.worst != c.worst || v.won != c.won {
			t.Errorf("%+v: %+v, %v", c, v, err)
		}
	}
	if _, err := share("m", "", "", "z", 0, "").judged([]*trial{a}); err == nil {
		t.Error("what was not measured passed")
	}
	lost, _ := share("m", "s", "w", "x", 0.9, "because").judged([]*trial{a, b})
	if table := tableOf([]verdict{lost}); !strings.Contains(table, "| m | s | w | 90 % | 85 % | at least 90 % |  | **does not win**: because |") {
		t.Error(table)
	}
}

// TestJudge: the program called by NICE, and how it rates.
func TestJudge(t *testing.T) {
	in := "{\"prompt\":\"p\",\"reference\":\"MABO\",\"answer\":\"MAXOX\"}\n{\"prompt\":\"p\",\"reference\":\"A\",\"answer\":\"\"}\n"
	var out bytes.Buffer
	if err := judge(strings.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	if want := "{\"reward\": 0.6}\n{\"reward\": 0}\n"; out.String() != want {
		t.Errorf("%q, wanted %q", out.String(), want)
	}
}

// TestBands: thirds of the losses, and delta_loss's order and window.
func TestBands(t *testing.T) {
	losses := make([]float64, 100)
	var picks []pick
	for i := range losses {
		losses[i] = float64(99 - i)
		if i < 20 {
			picks = append(picks, pick{Row: i}) // the highest losses
		}
	}
	if s := bandShare(losses, picks, 2); s != 1 {
		t.Errorf("the highest twenty are %v in the highest third", s)
	}
	place, fell := fallen([]float64{1, 1, 1, 1}, []float64{0.9, 0.2, 1.4, 1})
	if fell != 3 || place[1] != 0 || place[0] != 1 || place[3] != 2 || place[2] != 3 {
		t.Errorf("places %v, %d fell", place, fell)
	}
	// σ(-10/4) = 0.0759 of 800 rows is 60; σ(0) is 400, clipped at the 500th.
	if lo, hi := slidingWindow(2, 1000, 900); lo != 60 || hi != 260 {
		t.Errorf("second window %d to %d", lo, hi)
	}
	if lo, hi := slidingWindow(3, 1000, 500); lo != 400 || hi != 500 {
		t.Errorf("third window %d to %d", lo, hi)
	}
}

// TestAgain: the measurements read back.
func TestAgain(t *testing.T) {
	dir, a := t.TempDir(), newTrial()
	a.set("x", 0.1)
	a.Curves["c"] = []float64{1, 2}
	m := measured{Facts: "once", Trials: map[string][]*trial{"e": {a}}}
	if err := m.write(dir); err != nil {
		t.Fatal(err)
	}
	if back, err := read(dir); err != nil || !reflect.DeepEqual(back, m) {
		t.Errorf("%+v, %v", back, err)
	}
}

// TestBetween replaces the table of a file and nothing else.
func TestBetween(t *testing.T) {
	path := filepath.Join(t.TempDir(), "W.md")
	if err := os.WriteFile(path, []byte("a\n<!-- proof -->\nold\n<!-- /proof -->\nb\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := between(path, "new\n"); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if want := "a\n<!-- proof -->\nnew\n<!-- /proof -->\nb\n"; err != nil || string(raw) != want {
		t.Errorf("%q, %v", raw, err)
	}
	if err := os.WriteFile(path, []byte("no marks"), 0o644); err != nil {
		t.Fatal(err)
	}
	if between(path, "x") == nil {
		t.Error("a file without marks was accepted")
	}
}
