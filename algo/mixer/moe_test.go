package mixer

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/algotest"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/model/decoder"
)

// TestMoEByHand: loads (1,0) and (0,1) are √2 apart; Δ = √2/2 for both, so equal weights stay
// equal; of three domains the one that differs gains, by the paper's formula.
func TestMoEByHand(t *testing.T) {
	algotest.Near(t, "Δ", distances([][]float64{{1, 0}, {0, 1}}), []float64{math.Sqrt2 / 2, math.Sqrt2 / 2}, 1e-15)
	delta := distances([][]float64{{1, 0}, {1, 0}, {0, 1}})
	algotest.Near(t, "Δ", delta, []float64{math.Sqrt2 / 3, math.Sqrt2 / 3, 2 * math.Sqrt2 / 3}, 1e-15)
	m := &dynamicMoE{eta: 2, c: 0.1, weights: []float64{0.5, 0.25, 0.25}}
	alpha := m.shift(delta)
	a := []float64{0.5 * math.Exp(2*delta[0]), 0.25 * math.Exp(2*delta[1]), 0.25 * math.Exp(2*delta[2])}
	sum := a[0] + a[1] + a[2]
	for i := range a {
		a[i] /= sum
	}
	algotest.Near(t, "softmax", alpha, a, 1e-9)
	algotest.Near(t, "weights", m.weights, []float64{0.9*a[0] + 0.1/3, 0.9*a[1] + 0.1/3, 0.9*a[2] + 0.1/3}, 1e-9)
}

// TestMoESplit: rows set aside are NumPy's RandomState(0) and are not trained on.
func TestMoESplit(t *testing.T) {
	train, _ := rows(16)
	domains := domainsOf(7, 9)
	run := loaded(t, algotest.Model(t, 1, algotest.Experts(4)), train)
	m := mustBuild(t, run, domains, "dynamic_moe", "faithful", "eval_samples: 4").(algo.Splitter)
	left := m.Domains()
	// permutation(7)[:3] = {1, 2, 6}, then permutation(9)[:4] = {1, 3, 6, 7}
	if want := []int{0, 3, 4, 5}; !slices.Equal(left[0].Rows, want) {
		t.Errorf("rows %v, want %v", left[0].Rows, want)
	}
	if want := []int{7, 9, 11, 12, 15}; !slices.Equal(left[1].Rows, want) {
		t.Errorf("rows %v, want %v", left[1].Rows, want)
	}
	m.SetEval(map[string][]data.Example{"a": train[:2], "b": train[2:3]})
	mix := m.(*dynamicMoE)
	mix.domains = domains
	if left := m.Domains(); len(left[0].Rows) != 7 || len(left[1].Rows) != 9 || len(mix.eval[0]) != 2 {
		t.Errorf("with evaluation sets of their own the domains keep their rows: %v", left)
	}
	one := mustBuild(t, run, domainsOf(1, 9), "dynamic_moe", "faithful").(algo.Splitter)
	if left := one.Domains(); len(left[0].Rows) != 1 {
		t.Errorf("a domain of one row keeps it: %v", left[0].Rows)
	}
}

// TestMoEFollowsGates uses a tiny mixture of experts: of three domains the two with the same
// tokens lose weight to the third, and the weights survive a restart.
func TestMoEFollowsGates(t *testing.T) {
	train, _ := rows(160)
	domains := []algo.Domain{{Name: "low"}, {Name: "alsolow"}, {Name: "high"}}
	for i := range train {
		d := i % 4 / 2
		if i%2 == 1 {
			d = 2
		}
		domains[d].Rows = append(domains[d].Rows, i)
	}
	run := loaded(t, algotest.Model(t, 1, algotest.Experts(4)), train)
	m := mustBuild(t, run, domains, "dynamic_moe", "faithful", "eta: 10.0", "c: 0.05", "collect_steps: 5", "eval_samples: 1000", "eval_batch_size: 32")
	got, err := m.Mix(context.Background(), algo.MixRequest{Step: 2, Update: 1})
	if err != nil {
		t.Fatal(err)
	}
	p := got.Proportions
	if math.Abs(total(p)-1) > 1e-12 || p[2] <= p[0] || p[2] <= p[1] {
		t.Errorf("%v: the third domain uses other experts", p)
	}
	state, err := m.(algo.Stateful).State()
	if err != nil {
		t.Fatal(err)
	}
	again := mustBuild(t, run, domains, "dynamic_moe", "faithful")
	if err := again.(algo.Stateful).Restore(state); err != nil {
		t.Fatal(err)
	}
	next := func(m algo.Mixer) []float64 {
		got, err := m.Mix(context.Background(), algo.MixRequest{Step: 4, Update: 2})
		if err != nil {
			t.Fatal(err)
		}
		return got.Proportions
	}
	algotest.Near(t, "after resuming", next(again), next(m), 1e-15)
}

// TestMoELoads: domains are compared by token-weighted shares of the last router.
func TestMoELoads(t *testing.T) {
	train, domains := rows(8)
	run := loaded(t, algotest.Model(t, 1, algotest.Experts(4)), train)
	m := mustBuild(t, run, domains, "dynamic_moe", "upstream").(*dynamicMoE)
	m.loads = func(b decoder.Batch) ([][]float64, error) {
		return [][]float64{{9, 9}, {float64(b.Tokens[0]), 1}}, nil
	}
	o, err := m.gateLoads(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for d, micros := range m.probes {
		var a, n float64
		for _, micro := range micros {
			a += float64(micro.Tokens[0]) * float64(len(micro.Tokens))
			n += float64(len(micro.Tokens))
		}
		algotest.Near(t, domains[d].Name, o[d], []float64{a / (a + n), n / (a + n)}, 1e-12)
	}
}

// TestMoESurvives: a row whose gate loads are NaN or Inf is named and left out.
func TestMoESurvives(t *testing.T) {
	train, domains := rows(8)
	run := loaded(t, algotest.Model(t, 1, algotest.Experts(4)), train)
	var log bytes.Buffer
	run.Log = slog.New(slog.NewTextHandler(&log, nil))
	m := mustBuild(t, run, domains, "dynamic_moe", "faithful", "eval_samples: 3").(*dynamicMoE)
	if err := m.probe(); err != nil {
		t.Fatal(err)
	}
	bad := m.evaluated[0][1]
	m.loads = func(b decoder.Batch) ([][]float64, error) {
		if strings.Contains(fmt.Sprint(b.Tokens), strings.Trim(fmt.Sprint(bad.InputIDs), "[]")) {
			return [][]float64{{math.NaN(), math.NaN()}}, nil
		}
		return [][]float64{{0.25, 0.75}}, nil
	}
	o, err := m.gateLoads(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	algotest.Near(t, "loads", o[0], []float64{0.25, 0.75}, 1e-12)
	if want := fmt.Sprintf("dataset=low row=%d", bad.Row); !strings.Contains(log.String(), want) {
		t.Errorf("the log does not say %s: %s", want, log.String())
	}
	m.loads = func(decoder.Batch) ([][]float64, error) { return [][]float64{{math.NaN(), 1}}, nil }
	if _, err := m.gateLoads(context.Background()); err == nil || !strings.Contains(err.Error(), "all its 2 rows") {
		t.Errorf("no row with numbers: %v", err)
	}
}

func TestMoERefuses(t *testing.T) {
	train, domains := rows(8)
	dense := loaded(t, algotest.Model(t, 1, nil), train)
	if _, err := build(t, dense, domains, "dynamic_moe", "faithful"); err == nil || !strings.Contains(err.Error(), "mixture of experts") {
		t.Errorf("dense model: %v", err)
	}
	sparse := loaded(t, algotest.Model(t, 1, algotest.Experts(4)), train)
	for _, c := range []struct{ param, want string }{
		{"c: -1", "between 0 and 1"},
		{"collect_steps: 0", "at least one batch"},
		{"eval_batch_size: 0", "at least one row"},
		{"eval_sample: 3", "did you mean eval_samples?"},
	} {
		if _, err := build(t, sparse, domains, "dynamic_moe", "faithful", c.param); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.param, err)
		}
	}
}
