package mixer

import (
	"context"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/algotest"
	"dataflex.dev/dataflex/data/rng"
)

// costs is a micro-batch of rows of the pool with the same loss for every token of a
// domain.
func costs(run *algo.Run, loss []float64, of ...int) algo.MicroReport {
	m := micro(run.Train, of...)
	m.TokenLoss = make([]float32, len(m.Tokens))
	for i, d := range m.Domain {
		for at := m.RowStart[i]; at < m.RowStart[i+1]; at++ {
			if m.Targets[at] >= 0 {
				m.TokenLoss[at] = float32(loss[d])
			}
		}
		m.Returned += loss[d] / float64(len(of))
	}
	return m
}

// TestODMByHand follows the paper's formulas for two steps and an update; official is
// what the authors' program does.
func TestODMByHand(t *testing.T) {
	train, domains := rows(8)
	run := &algo.Run{Train: train, Log: algotest.Quiet}
	ctx := context.Background()
	for _, c := range []struct {
		variant string
		rewards []float64
		prefer  func(r float64) float64
	}{
		{"paper", []float64{0.5 * 4 / 0.25, 0.5*0.5*2/0.75 + 0.5*1/0.75}, func(r float64) float64 { return math.Exp(r * math.Sqrt(math.Log(2)/(2*9))) }},
		{"official", []float64{0.5 * math.Exp(4), 0.25*math.Exp(2) + 0.5*math.Exp(1)}, func(r float64) float64 { return r }},
	} {
		m := mustBuild(t, run, domains, "odm", "faithful", "alpha: 0.5", "warmup_steps: 2", "variant: "+c.variant, "initial_proportions: [1, 3]", "reward_scale: 15").(*odm)
		for step, micros := range [][]algo.MicroReport{
			{costs(run, []float64{4, 2}, 1)},
			{costs(run, []float64{4, 1}, 0, 1), costs(run, []float64{4, 1}, 3)},
		} {
			if err := m.Observe(ctx, step, micros); err != nil {
				t.Fatal(err)
			}
		}
		algotest.Near(t, "R̂", m.rewards, c.rewards, 1e-6)
		got, err := m.Mix(ctx, algo.MixRequest{Step: 12, Update: 2})
		if err != nil {
			t.Fatal(err)
		}
		rate := math.Sqrt(math.Log(2) / (2 * 10))
		a, b := c.prefer(c.rewards[0]), c.prefer(c.rewards[1])
		algotest.Near(t, "π", got.Proportions, []float64{a/(a+b)*(1-2*rate) + rate, b/(a+b)*(1-2*rate) + rate}, 1e-6)
		if got, err = m.Mix(ctx, algo.MixRequest{Step: 2, Update: 1}); err != nil {
			t.Fatal(err)
		}
		algotest.Near(t, "π in the warm-up", got.Proportions, []float64{0.25, 0.75}, 1e-15)
	}
}

// TestRegression06ODMEqualLosses: with equal losses the weights stay within 10 % of uniform
// (upstream's reach three times uniform: finding 43), whatever the batches contain.
func TestRegression06ODMEqualLosses(t *testing.T) {
	const k, updates, batch = 7, 300, 8
	for _, variant := range []string{"paper", "official"} {
		train, _ := rows(batch)
		domains := domainsOf(1, 1, 1, 1, 1, 1, 1)
		run := &algo.Run{Train: train, Log: algotest.Quiet}
		m := mustBuild(t, run, domains, "odm", "faithful", "warmup_steps: 0", "variant: "+variant).(*odm)
		r := rand.New(rand.NewPCG(3, 4))
		for step := range updates {
			of := make([]int, batch)
			for i := range of {
				of[i] = i
			}
			report := costs(run, []float64{3, 3}, of...)
			for i := range report.Domain {
				report.Domain[i] = pickFrom(m.policy, r.Float64())
			}
			if err := m.Observe(context.Background(), step, []algo.MicroReport{report}); err != nil {
				t.Fatal(err)
			}
			got, err := m.Mix(context.Background(), algo.MixRequest{Step: step + 1, Update: step + 1})
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range got.Proportions {
				if step > 50 && math.Abs(p*k-1) > 0.1 {
					t.Fatalf("%s, update %d: %v", variant, step, got.Proportions)
				}
			}
		}
	}
}

func pickFrom(p []float64, u float64) int {
	for i, x := range p {
		if u -= x; u < 0 {
			return i
		}
	}
	return len(p) - 1
}

// TestODMPrefersLoss: the domain with the higher loss gets more.
func TestODMPrefersLoss(t *testing.T) {
	train, domains := rows(8)
	run := &algo.Run{Train: train, Log: algotest.Quiet}
	for _, variant := range []string{"paper", "official"} {
		m := mustBuild(t, run, domains, "odm", "faithful", "warmup_steps: 0", "variant: "+variant).(*odm)
		var got algo.Mixture
		for step := range 60 {
			if err := m.Observe(context.Background(), step, []algo.MicroReport{costs(run, []float64{4, 1}, 0, 1)}); err != nil {
				t.Fatal(err)
			}
			var err error
			if got, err = m.Mix(context.Background(), algo.MixRequest{Step: step + 1, Update: step + 1}); err != nil {
				t.Fatal(err)
			}
		}
		if got.Proportions[0] < 0.55 {
			t.Errorf("%s: %v", variant, got.Proportions)
		}
	}
}

// TestODMSurvives: a loss that is NaN or Inf does not change the estimate.
func TestODMSurvives(t *testing.T) {
	train, domains := rows(8)
	run := &algo.Run{Train: train, Log: algotest.Quiet}
	for _, mode := range []string{"faithful", "upstream"} {
		m := mustBuild(t, run, domains, "odm", mode, "warmup_steps: 0").(*odm)
		if err := m.Observe(context.Background(), 0, []algo.MicroReport{costs(run, []float64{math.NaN(), 2}, 0, 1)}); err != nil {
			t.Fatal(err)
		}
		got, err := m.Mix(context.Background(), algo.MixRequest{Step: 5, Update: 1})
		if err != nil {
			t.Fatal(err)
		}
		if s := total(got.Proportions); !(math.Abs(s-1) < 1e-12) || math.IsNaN(m.rewards[0]) {
			t.Errorf("%s: %v, rewards %v", mode, got.Proportions, m.rewards)
		}
	}
}

func TestODMResumes(t *testing.T) {
	ctx := context.Background()
	train, domains := rows(8)
	run := &algo.Run{Train: train, Log: algotest.Quiet}
	for _, mode := range []string{"faithful", "upstream"} {
		dir := t.TempDir()
		loss := rng.NewPCG64(9).Random(40)
		advance := func(m *odm, step int) {
			if step%2 == 0 {
				if _, err := m.Mix(ctx, algo.MixRequest{Step: step, Update: step/2 + 1}); err != nil {
					t.Fatal(err)
				}
			}
			if err := m.Observe(ctx, step, []algo.MicroReport{costs(run, loss[2*step:], step%3, 3)}); err != nil {
				t.Fatal(err)
			}
		}
		m := mustBuild(t, run, domains, "odm", mode, "warmup_steps: 1").(*odm)
		m.OutputDir(dir)
		for step := range 5 {
			advance(m, step)
		}
		state, err := m.State()
		if err != nil {
			t.Fatal(err)
		}
		for step := 5; step < 10; step++ {
			advance(m, step)
		}
		again := mustBuild(t, run, domains, "odm", mode, "warmup_steps: 1").(*odm)
		again.OutputDir(dir)
		if err := again.Restore(state); err != nil {
			t.Fatal(err)
		}
		for step := 5; step < 10; step++ {
			advance(again, step)
		}
		algotest.Near(t, mode+" π", again.policy, m.policy, 0)
		algotest.Near(t, mode+" R̂", again.rewards, m.rewards, 0)
		var steps []float64
		for _, l := range lines(t, filepath.Join(dir, "odm_weights.jsonl")) {
			steps = append(steps, l["step"].(float64))
		}
		algotest.Near(t, mode+" steps in the file", steps, []float64{2, 4, 6, 8}, 0)
	}
}

// TestODMStarts: its own proportions, else the run's, else equal shares.
func TestODMStarts(t *testing.T) {
	train, domains := rows(8)
	run := &algo.Run{Train: train, Log: algotest.Quiet}
	for _, c := range []struct {
		mode  string
		param string
		run   []float64
		want  []float64
	}{
		{"faithful", "alpha: 0.9", nil, []float64{0.5, 0.5}},
		{"faithful", "alpha: 0.9", []float64{1, 3}, []float64{0.25, 0.75}},
		{"faithful", "initial_proportions: [3, 1]", []float64{1, 3}, []float64{0.75, 0.25}},
		{"upstream", "initial_proportions: [3, 1, 1]", []float64{1, 3}, []float64{0.5, 0.5}},
	} {
		m := mustBuild(t, run, domains, "odm", c.mode, c.param)
		if err := m.(algo.Starter).SetInitial(c.run); err != nil {
			t.Fatal(err)
		}
		got, err := m.Mix(context.Background(), algo.MixRequest{Step: 3, Update: 1})
		if err != nil {
			t.Fatal(err)
		}
		algotest.Near(t, c.param, got.Proportions, c.want, 1e-15)
	}
	for _, c := range []struct{ param, want string }{
		{"initial_proportions: [1, 1, 1]", "initial_proportions: 3 shares for 2 domains"},
		{"variant: naive", "variant is paper or official"},
		{"alpha: 1.5", "between 0 and 1"},
		{"alfa: 0.9", "did you mean alpha?"},
	} {
		if _, err := build(t, run, domains, "odm", "faithful", c.param); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.param, err)
		}
	}
}

// TestODMAttribution: upstream's first row, or the domain of most rows.
func TestODMAttribution(t *testing.T) {
	train, domains := rows(8)
	run := &algo.Run{Train: train, Log: algotest.Quiet}
	for param, want := range map[string]int{"first_sample: true": 1, "first_sample: false": 0} {
		m := mustBuild(t, run, domains, "odm", "upstream", param).(*odm)
		if err := m.Observe(context.Background(), 0, []algo.MicroReport{costs(run, []float64{1, 1}, 1, 0, 2)}); err != nil {
			t.Fatal(err)
		}
		if m.last.Domain != want {
			t.Errorf("%s: domain %d", param, m.last.Domain)
		}
	}
}
