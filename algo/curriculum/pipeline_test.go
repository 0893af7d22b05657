package curriculum

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/config"
	_ "dataflex.dev/dataflex/algo/mixer"
	"dataflex.dev/dataflex/algo/report/record"
	_ "dataflex.dev/dataflex/algo/selector"
	_ "dataflex.dev/dataflex/algo/weighter"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/npy"
	"dataflex.dev/dataflex/data/rng"
)

// silent is a Journal that records nothing.
type silent struct{}

func (silent) Phase(string) func()                                                { return func() {} }
func (silent) Selected(algo.Request, algo.Selection, float64, bool) error         { return nil }
func (silent) Weighed(int, []batch.Micro, [][]float64, [][]float64)               {}
func (silent) Trained([]algo.MicroReport)                                         {}
func (silent) Mixed(int, int, []algo.Domain, []float64, []float64, float64) error { return nil }

// fixed is a mixer whose decision is a weight of 0.2, 0.3 and 0.5 in the loss.
type fixed struct{}

func (fixed) Mix(context.Context, algo.MixRequest) (algo.Mixture, error) {
	return algo.Mixture{Proportions: []float64{1. / 3, 1. / 3, 1. / 3}}, nil
}
func (fixed) DomainWeights() []float64 { return []float64{0.2, 0.3, 0.5} }

func TestMain(m *testing.M) {
	algo.RegisterMixer("test_fixed", func(*algo.Run, []algo.Domain, algo.Mode, *config.Params) (algo.Mixer, error) { return fixed{}, nil })
	os.Exit(m.Run())
}

// bricks are the components of the pipelines in these tests.
const bricks = `
selectors: {random: {name: random}, long: {name: static, params: {shuffle: false}}}
mixers: {shares: {name: static, params: {proportions: [0.5, 0.3, 0.2]}}, weights: {name: test_fixed}}
reorders: {sorted: {name: sorted, params: {pattern: sorting, apply_at: index, score_params: {score_path: scores.npy}}}}
weighters: {loss: {name: loss}, custom: {name: custom}}
pipelines:
`

// modeMark separates stages from the pipeline's mode.
const modeMark = "; mode "

// laid is a pipeline with the given stages, for a run over 300 rows in three data sets with 8
// rows a step.
func laid(t *testing.T, stages string, more ...string) (*pipeline, error) {
	t.Helper()
	stages, mode, _ := strings.Cut(stages, modeMark)
	if mode == "" {
		mode = "faithful"
	}
	dir := t.TempDir()
	t.Chdir(dir)
	scores := make([]float64, 300)
	for i := range scores {
		scores[i] = float64((7 * i) % 300)
	}
	for name, text := range map[string]string{
		"c.yaml": "model_name_or_path: m\nstage: sft\ndo_train: true\nfinetuning_type: lora\ndataset: a,b,c\ntemplate: default\noutput_dir: out\n" +
			"per_device_train_batch_size: 8\ntrain_type: dynamic_lego\ncomponents_cfg_file: parts.yaml\ncomponent_name: p\nwarmup_step: 2\nupdate_step: 2\nupdate_times: -1\nmax_steps: 200\n",
		"parts.yaml": bricks + "  p: {mode: " + mode + ", params: {stages: [" + stages + "]}}\n",
		"scores.npy": string(npy.Encode(scores, 300)),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Load("c.yaml", more)
	if err != nil {
		t.Fatal(err)
	}
	component, err := c.Component()
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	run := &algo.Run{Train: make([]data.Example, 300), Seed: uint64(c.Training.Seed), Updates: 99, Log: log}
	var domains []algo.Domain
	for d, ends := range [][2]int{{0, 150}, {150, 250}, {250, 300}} {
		domain := algo.Domain{Name: string(rune('a' + d))}
		for i := ends[0]; i < ends[1]; i++ {
			run.Train[i] = data.Example{ID: data.ID{Dataset: domain.Name, Row: i - ends[0]}}
			domain.Rows = append(domain.Rows, i)
		}
		domains = append(domains, domain)
	}
	s, err := NewSchedule(c, 300, 8, 38)
	if err != nil {
		t.Fatal(err)
	}
	return newPipeline(t.Context(), Run{
		Run: run, Config: c, Schedule: s, Domains: domains, Journal: silent{}, Log: log,
		Key: func(r algo.Request) (string, error) { return fmt.Sprintf("%064d", r.Step), nil },
	}, component)
}

func must(t *testing.T, stages string, more ...string) *pipeline {
	t.Helper()
	p, err := laid(t, stages, more...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// windows opens the windows of the first steps.
func (p *pipeline) windows(t *testing.T, steps int) (out [][]int) {
	t.Helper()
	for step := range steps {
		w, opened, err := p.Open(t.Context(), step)
		if err != nil {
			t.Fatal(err)
		}
		if opened {
			out = append(out, w.Rows)
		}
	}
	return out
}

// TestRegression20NoRowTwice: whatever the stages, rows are repeated only when the pool is
// exhausted; upstream trained on 506 distinct rows of 6,400 here.
func TestRegression20NoRowTwice(t *testing.T) {
	for stages, pool := range map[string]int{
		"{family: reorder, component: sorted, every: 4}":                                                                                                 300,
		"{family: selector, component: random, every: 10, keep_ratio: 0.5}":                                                                              300,
		"{family: selector, component: random, every: 10, keep_ratio: 0.5}, {family: mixer, component: shares, every: 4}":                                300,
		"{family: selector, component: random, every: 10}, {family: mixer, component: shares, every: 6}, {family: reorder, component: sorted, every: 4}": 300,
		"{family: mixer, component: shares, every: 8, allow_replacement: false}, {family: reorder, component: sorted}":                                   300,
		"{family: selector, component: random, warmup_step: 6, every: 10}, {family: reorder, component: sorted, warmup_step: 8}":                         300,
		"{family: weighter, component: loss}": 300,
	} {
		p := must(t, stages)
		seen := map[int]int{}
		total := 0
		for _, rows := range p.windows(t, 20) {
			if len(rows) != 16 {
				t.Errorf("%s: a window of %d rows, want 16", stages, len(rows))
			}
			for _, r := range rows {
				seen[r]++
				total++
			}
		}
		if len(seen) != min(total, pool) {
			t.Errorf("%s: %d distinct rows of %d served", stages, len(seen), total)
		}
	}
}

// A pass without a selector has every row once, and so has the next one.
func TestPassesAreWhole(t *testing.T) {
	for _, stages := range []string{"{family: reorder, component: sorted}", "{family: mixer, component: shares, every: 4}", "{family: weighter, component: custom}"} {
		p := must(t, stages)
		var all []int
		for _, rows := range p.windows(t, 76) { // 608 rows
			all = append(all, rows...)
		}
		for pass := range 2 {
			rows := slices.Clone(all[300*pass : 300*(pass+1)])
			slices.Sort(rows)
			for i, r := range rows {
				if i != r {
					t.Fatalf("%s: pass %d has not every row once", stages, pass)
				}
			}
		}
	}
}

// TestRegression21EveryIsNoReplay: intervals advance through a decision that holds for several
// of them, instead of repeating it.
func TestRegression21EveryIsNoReplay(t *testing.T) {
	p := must(t, "{family: selector, component: random, every: 8, keep_ratio: 0.5}, {family: reorder, component: sorted, every: 8}")
	w := p.windows(t, 10) // a warm-up and four intervals of one decision
	score := func(r int) int { return (7 * r) % 300 }
	last := -1
	for i, rows := range w[1:] {
		for _, r := range rows {
			if score(r) <= last {
				t.Fatalf("interval %d begins the order anew: %d after %d", i, score(r), last)
			}
			last = score(r)
		}
	}
}

// An interval has the mixer's shares as long as the domains have rows left.
func TestPipelineShares(t *testing.T) {
	p := must(t, "{family: mixer, component: shares, every: 2}")
	for i, rows := range p.windows(t, 14)[1:] {
		var n [3]int
		for _, r := range rows {
			n[p.domain[r]]++
		}
		if n != [3]int{8, 5, 3} { // 16 rows in 0.5, 0.3, 0.2: 8, 4.8, 3.2
			t.Errorf("interval %d: %v", i, n)
		}
	}
	p = must(t, "{family: mixer, component: shares, every: 2, warmup_step: 50}", "init_mixture_proportions=[1, 0, 1]")
	var n [3]int
	for _, r := range slices.Concat(p.windows(t, 10)...) {
		n[p.domain[r]]++
	}
	if n != [3]int{40, 0, 40} {
		t.Errorf("init_mixture_proportions 1:0:1 gave %v", n)
	}
}

// TestRegression34Seeds: another seed gives other draws, the same seed the same draws.
func TestRegression34Seeds(t *testing.T) {
	stages := "{family: mixer, component: shares, every: 4}"
	a, b, c := must(t, stages).windows(t, 8), must(t, stages).windows(t, 8), must(t, stages, "seed=7").windows(t, 8)
	if !slices.Equal(slices.Concat(a...), slices.Concat(b...)) {
		t.Error("the same seed gives other rows")
	}
	for i := range a {
		if slices.Equal(a[i], c[i]) {
			t.Errorf("window %d is the same under another seed", i)
		}
	}
}

// TestRegression22Product: the weights of several stages multiply, and have mean 1.
func TestRegression22Product(t *testing.T) {
	losses := [][]float64{{1, 2, 3}, {0.5, 4, 2.5}}
	step := &Step{Index: 5, Total: 9, Loss: func(context.Context) ([][]float64, error) { return losses, nil }}
	for _, rows := range [][]int{{0, 160, 260}, {1, 299, 170}} {
		step.Micros = append(step.Micros, batch.Micro{Rows: rows, Labelled: []int{1, 1, 1}})
	}
	weigh := func(stages string) [][]float64 {
		w, err := must(t, stages).Weights(t.Context(), step)
		if err != nil {
			t.Fatal(err)
		}
		if w.How != algo.TokenMean {
			t.Errorf("%s: reduction %v", stages, w.How)
		}
		return w.Rows
	}
	alone := weigh("{family: weighter, component: loss}")
	domain := []float64{0.2, 0.3, 0.5}
	of := [][]int{{0, 1, 2}, {0, 2, 1}}
	var sum float64
	want := [][]float64{{0, 0, 0}, {0, 0, 0}}
	for i := range want {
		for r := range want[i] {
			want[i][r] = domain[of[i][r]] * alone[i][r]
			sum += want[i][r]
		}
	}
	got := weigh("{family: mixer, component: weights}, {family: weighter, component: loss}")
	for i := range want {
		for r := range want[i] {
			if w := want[i][r] * 6 / sum; math.Abs(got[i][r]-w) > 1e-12 {
				t.Errorf("micro-batch %d, row %d: %v, the product is %v", i, r, got[i][r], w)
			}
		}
	}
	if late := weigh("{family: weighter, component: loss, warmup_step: 6}"); late != nil {
		t.Errorf("before its warmup_step the weighter gave %v", late)
	}
}

// TestRegression31Stages: misspelt and incompatible stages are refused with their position.
func TestRegression31Stages(t *testing.T) {
	for stages, want := range map[string]string{
		"{family: selector, component: random, evry: 4}":                                        `unknown parameter "evry" of component p, stages[0]: did you mean every?`,
		"{family: selectr, component: random}":                                                  "a stage's family is one of selector, mixer, reorder, weighter",
		"{family: selector, component: rndom}":                                                  `there is no "rndom" among the selectors (did you mean random?)`,
		"{family: selector, component: random, keep_ratio: 0}":                                  "keep_ratio: it is a share above 0",
		"{family: selector, component: random, mode: pick}":                                     "narrows the pool (filter) or takes the interval (draw)",
		"{family: selector, component: random}, {family: selector, component: long}":            "a pipeline has one selector stage",
		"{family: selector, component: random, mode: draw}, {family: mixer, component: shares}": "draw decides the rows of an interval, and so does the stage after it",
		"{family: reorder, component: sorted, enabled: false}":                                  "every stage is disabled",
		"": "a pipeline is a list of stages",
	} {
		_, err := laid(t, stages)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", stages, err, want)
		}
		if err != nil && !strings.Contains(err.Error(), "parts.yaml:") {
			t.Errorf("%s: no place in %v", stages, err)
		}
	}
}

// TestRegression24Identity: different pipelines never share what they store.
func TestRegression24Identity(t *testing.T) {
	var seen []string
	for _, stages := range []string{
		"{family: selector, component: random}", "{family: selector, component: random, mode: draw}", "{family: selector, component: random, keep_ratio: 0.4}",
		"{family: selector, component: random}, {family: reorder, component: sorted}", "{family: selector, component: long}",
	} {
		id, err := must(t, stages).Identity()
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(seen, id) {
			t.Errorf("%s has the identity of another pipeline: %s", stages, id)
		}
		seen = append(seen, id)
	}
}

// The state can be carried on from every window, in both modes.
func TestPipelineState(t *testing.T) {
	for _, stages := range []string{
		"{family: selector, component: random, every: 10}, {family: mixer, component: shares, every: 6}, {family: reorder, component: sorted, every: 4}",
		"{family: selector, component: long, every: 6}",
		"{family: mixer, component: shares, every: 4}",
	} {
		for _, mode := range []string{"faithful", "upstream"} {
			stages := stages + modeMark + mode
			whole := must(t, stages).windows(t, 40)
			p := must(t, stages)
			var got [][]int
			for step := range 40 {
				state, err := p.State()
				if err != nil {
					t.Fatal(err)
				}
				p = must(t, stages)
				if step > 0 {
					if err := p.Restore(json.RawMessage(state)); err != nil {
						t.Fatal(err)
					}
				}
				w, opened, err := p.Open(t.Context(), step)
				if err != nil {
					t.Fatal(err)
				}
				if opened {
					got = append(got, w.Rows)
				}
			}
			if !slices.EqualFunc(whole, got, slices.Equal) {
				t.Errorf("%s, mode %s: the rows differ where the run goes on from a checkpoint", stages, mode)
			}
		}
	}
}

// The draws of a mixer's shares, from NumPy 1.26.4: a pool of 27 rows in three domains,
// one of them too small for its share, or refilled from itself.
func TestDraw(t *testing.T) {
	domain := make([]int, 30)
	var pool []int
	for i := range domain {
		if domain[i] = i % 3; i >= 24 {
			domain[i] = 0
		}
		if i != 4 && i != 9 && i != 17 {
			pool = append(pool, i)
		}
	}
	for _, c := range []struct {
		shares []float64
		n      int
		seed   uint64
		repeat bool
		want   []int
	}{
		{[]float64{.5, .3, .2}, 10, 8 + 12345, false, []int{18, 0, 25, 27, 15, 16, 19, 1, 2, 11}},
		{[]float64{.1, .2, .7}, 14, 4 + 12345, false, []int{27, 7, 19, 22, 2, 14, 8, 23, 11, 5, 20, 24, 6, 21}},
		{[]float64{.1, .2, .7}, 14, 4 + 12345, true, []int{27, 7, 19, 22, 8, 20, 5, 5, 2, 20, 23, 5, 14, 20}},
	} {
		got, err := draw(rng.NewPCG64(c.seed), pool, domain, c.shares, c.n, c.repeat)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%v of %d: %v, %v; want %v", c.shares, c.n, got, err, c.want)
		}
	}
}

func TestLedger(t *testing.T) {
	l := NewLedger(5)
	l.Deal([]int{0, 1, 1, 4, 1})
	raw, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	var again Ledger
	if err := json.Unmarshal(raw, &again); err != nil {
		t.Fatal(err)
	}
	again.Deal([]int{4})
	if got, want := again.Sum(), (record.Dealt{Rows: 5, Never: 2, Once: 1, More: 2, Most: 3, Dealt: 6}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if again.Fits(6) == nil || again.Fits(5) != nil {
		t.Error("the ledger fits other rows")
	}
	if json.Unmarshal([]byte(`{"rows": 4, "times": "AAAA"}`), &again) == nil {
		t.Error("a damaged ledger is read")
	}
}
