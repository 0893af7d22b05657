package weighter

import (
	"math"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/algotest"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/decoder"
)

// TestPositioned: weights 1/6, 2/6, 3/6 over the tokens, then length 1.
func TestPositioned(t *testing.T) {
	got := positioned([]float32{6, 0, 0, 3, 2, 2}, 2) // (6+6)/6, (6+6)/6
	algotest.Near(t, "vector", got, []float64{math.Sqrt(0.5), math.Sqrt(0.5)}, 1e-12)
	algotest.Near(t, "zero", positioned(make([]float32, 4), 2), []float64{0, 0}, 0)
}

// TestAdaptByHand compares with a plain computation from every row alone.
func TestAdaptByHand(t *testing.T) {
	run := loaded(t, rows(8, 1), rows(5, 2))
	embed := func(ex data.Example) []float64 {
		w := &adapt{run: run, hidden: run.Model.Hidden}
		v, err := w.embed(request([]data.Example{ex}, someLoss, []int{0}).Micros[0])
		if err != nil {
			t.Fatal(err)
		}
		return v[0]
	}
	var want []float64
	for _, ex := range run.Train[:6] {
		v := embed(ex)
		var cosine float64
		for _, anchor := range run.Eval {
			for i, x := range embed(anchor) {
				cosine += v[i] * x / 5
			}
		}
		want = append(want, min(1/(1+math.Exp(-cosine/0.2)), 0.9))
	}
	r := request(run.Train, someLoss, []int{0, 1, 2}, []int{3, 4, 5})
	got, how := weigh(t, mustBuild(t, run, "adapt", "upstream", "tau: 0.2", "clip: 0.9", "refresh_interval: 50", "anchor_batch_size: 8"), r)
	if how != algo.RowSum {
		t.Error("upstream sums rows")
	}
	half := make([]float64, len(want))
	var sum float64
	for i, x := range want {
		half[i] = x / 2
		sum += x
	}
	algotest.Near(t, "upstream", flat(got), half, 1e-6)
	if slices.Max(want)-slices.Min(want) < 1e-3 {
		t.Errorf("the rows are all alike: %v", want)
	}
	got, how = weigh(t, mustBuild(t, run, "adapt", "faithful", "tau: 0.2", "clip: 0.9"), r)
	if how != algo.TokenMean {
		t.Error("faithful keeps token normalisation")
	}
	for i := range want {
		want[i] *= 6 / sum
	}
	algotest.Near(t, "faithful", flat(got), want, 1e-6)
}

// TestAdaptAccumulation: splitting a step into micro-batches changes nothing.
func TestAdaptAccumulation(t *testing.T) {
	run := loaded(t, rows(8, 1), rows(5, 2))
	w := mustBuild(t, run, "adapt", "faithful", "tau: 0.1")
	whole, _ := weigh(t, w, request(run.Train, someLoss, []int{0, 1, 2, 3, 4, 5, 6, 7}))
	parts, _ := weigh(t, w, request(run.Train, someLoss, []int{0, 1}, []int{2, 3, 4}, []int{5, 6, 7}))
	algotest.Near(t, "weights", flat(parts), flat(whole), 1e-9)
}

// TestAdaptSurvives: an anchor whose vector is NaN or Inf is left out.
func TestAdaptSurvives(t *testing.T) {
	run := loaded(t, rows(8, 1), rows(5, 2))
	whole := mustBuild(t, run, "adapt", "faithful").(*adapt)
	r := request(run.Train, someLoss, []int{0, 1, 2})
	run.Eval = append(run.Eval[:5:5], run.Train[7])
	w := mustBuild(t, run, "adapt", "faithful").(*adapt)
	w.hidden = func(b decoder.Batch, layer int) (driver.F32, error) {
		h, err := run.Model.Hidden(b, layer)
		bad := run.Train[7].InputIDs
		for at := 0; err == nil && at+len(bad) <= len(b.Tokens); at++ {
			if slices.Equal(b.Tokens[at:at+len(bad)], bad) {
				h.Host()[at*run.Model.Config().Hidden] = float32(math.NaN())
			}
		}
		return h, err
	}
	weigh(t, w, r)
	run.Eval = run.Eval[:5]
	weigh(t, whole, r)
	algotest.Near(t, "anchor", w.anchor, whole.anchor, 1e-7)
}

// TestAdaptRefreshes: between refreshes the anchors are unchanged, also across a restart.
func TestAdaptRefreshes(t *testing.T) {
	run := loaded(t, rows(8, 1), rows(5, 2))
	w := mustBuild(t, run, "adapt", "faithful", "refresh_interval: 4").(*adapt)
	r := request(run.Train, someLoss, []int{0, 1, 2})
	r.Step = 3 // the first use computes them, whatever the step
	weigh(t, w, r)
	before := slices.Clone(w.anchor)
	for name, x := range map[string]float32{"model.norm.weight": -1} {
		if err := run.Model.TrainAll(); err != nil {
			t.Fatal(err)
		}
		for _, p := range run.Model.Trainable() {
			if p.Name == name {
				for i := range p.Data.Host() {
					p.Data.Host()[i] *= x
				}
			}
		}
	}
	state, err := w.State()
	if err != nil {
		t.Fatal(err)
	}
	again := mustBuild(t, run, "adapt", "faithful", "refresh_interval: 4").(*adapt)
	if err := again.Restore(state); err != nil {
		t.Fatal(err)
	}
	for _, w := range []*adapt{w, again} {
		r.Step = 5
		weigh(t, w, r)
		algotest.Near(t, "anchor at step 5", w.anchor, before, 0)
		r.Step = 8
		weigh(t, w, r)
		if slices.Equal(w.anchor, before) {
			t.Error("the anchors are not looked at again at step 8")
		}
	}
}

func TestAdaptRefuses(t *testing.T) {
	run := loaded(t, rows(4, 1), rows(2, 2))
	for _, c := range []struct{ param, want string }{
		{"tau: -1", "cannot be negative"},
		{"refresh_interval: 0", "at least 1 step"},
		{"clip: 0", "must be positive"},
		{"tua: 1", "did you mean tau?"},
	} {
		if _, err := build(t, run, "adapt", "faithful", c.param); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.param, err)
		}
	}
	mustBuild(t, run, "adapt", "upstream", "clip: null")
	run.Eval = nil
	if _, err := build(t, run, "adapt", "upstream"); err == nil || !strings.Contains(err.Error(), "set eval_dataset") {
		t.Errorf("no anchors: %v", err)
	}
}
