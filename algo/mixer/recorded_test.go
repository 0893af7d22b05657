package mixer

import (
	"context"
	"encoding/json"
	"os"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/algotest"
)

// recorded is testdata/recorded.json.
type recorded struct {
	DoReMi []struct {
		Weights []float64 `json:"domain_weights"`
		Scores  []float64 `json:"perdomain_scores"`
	} `json:"doremi"`
	Average []float64 `json:"doremi_average"`
	Random  []float64 `json:"random"`
	ODM     struct {
		Losses      [][]json.RawMessage `json:"losses"`      // per step: loss, domains
		Proportions [][]json.RawMessage `json:"proportions"` // step, shares
		Lines       []struct {
			Weights []float64 `json:"domain_weights"`
			Rewards []float64 `json:"estimated_rewards"`
			Rate    float64   `json:"exploration_rate"`
		} `json:"lines"`
	} `json:"odm"`
}

func readRecorded(t *testing.T) recorded {
	t.Helper()
	raw, err := os.ReadFile("testdata/recorded.json")
	if err != nil {
		t.Fatal(err)
	}
	var r recorded
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func decode[T any](t *testing.T, raw json.RawMessage) (v T) {
	t.Helper()
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestDoReMiUpstreamFormula: recorded scores give the recorded weights and average.
func TestDoReMiUpstreamFormula(t *testing.T) {
	r := readRecorded(t)
	m := &doremi{domains: domainsOf(1, 1, 1), eta: 0.1, c: 0.01, weights: uniform(3), sum: make([]float64, 3)}
	for _, line := range r.DoReMi {
		m.ascend(centred(line.Scores, []bool{true, true, true}))
		algotest.Near(t, "weights", m.weights, line.Weights, 1e-15)
	}
	algotest.Near(t, "average", m.average(), r.Average, 1e-15)
}

// TestODMUpstreamFormula: recorded losses give the recorded policies.
func TestODMUpstreamFormula(t *testing.T) {
	r := readRecorded(t)
	domains := domainsOf(5, 5, 5)
	m := mustBuild(t, &algo.Run{Log: algotest.Quiet}, domains, "odm", "upstream",
		"warmup_steps: 3", "alpha: 0.9", "reward_scale: 15.0", "min_exploration_rate: 0.03", "initial_proportions: [0.5, 0.3, 0.2]").(*odm)
	line := 0
	for step, e := range r.ODM.Losses {
		for i, p := range r.ODM.Proportions {
			if decode[int](t, p[0]) != step {
				continue
			}
			got, err := m.Mix(context.Background(), algo.MixRequest{Step: step, Update: i + 1})
			if err != nil {
				t.Fatal(err)
			}
			algotest.Near(t, "proportions", got.Proportions, decode[[]float64](t, p[1]), 1e-15)
			if step > 3 {
				want := r.ODM.Lines[line]
				line++
				algotest.Near(t, "weights", m.policy, want.Weights, 1e-15)
				algotest.Near(t, "rewards", m.rewards, want.Rewards, 1e-13)
				algotest.Near(t, "rate", []float64{m.epsilon}, []float64{want.Rate}, 1e-15)
			}
		}
		report := algo.MicroReport{Domain: decode[[]int](t, e[1]), Returned: decode[float64](t, e[0])}
		if err := m.Observe(context.Background(), step, []algo.MicroReport{report}); err != nil {
			t.Fatal(err)
		}
	}
	if line != 2 {
		t.Errorf("%d of 2 lines compared", line)
	}
}

// TestRandom compares with upstream's run, and per_update with NumPy's RandomState.
func TestRandom(t *testing.T) {
	r := readRecorded(t)
	run := &algo.Run{Seed: 7, Log: algotest.Quiet}
	domains := domainsOf(1, 1, 1)
	fixed := mustBuild(t, run, domains, "random", "upstream", "seed: 42")
	moving := mustBuild(t, run, domains, "random", "faithful")
	for i, want := range [][]float64{
		{0.05894187317663893, 0.6024230777211348, 0.3386350491022264},
		{0.32216022624177654, 0.35724155617088094, 0.3205982175873426},
		{0.010291594313013774, 0.49788057467739916, 0.4918278310095871},
	} {
		q := algo.MixRequest{Step: 10 * i, Update: i + 1}
		a, err := fixed.Mix(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		algotest.Near(t, "fixed", a.Proportions, r.Random, 1e-15)
		b, err := moving.Mix(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		algotest.Near(t, "per_update", b.Proportions, want, 1e-15)
	}
}
