package weighter

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"math"
	"os"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/algotest"
	"dataflex.dev/dataflex/algo/batch"
)

// TestLossUpstream: from recorded losses the recorded weighted losses are computed, those of
// the weighter and, divided by the number of micro-batches, those of the training step.
func TestLossUpstream(t *testing.T) {
	raw, err := os.ReadFile("testdata/recorded.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded map[string][]struct {
		Step     int       `json:"step"`
		In       []float64 `json:"losses_in"`
		Out      float64   `json:"weighted_out"`
		Returned float64   `json:"loss_returned"`
	}
	if err := json.Unmarshal(raw, &recorded); err != nil {
		t.Fatal(err)
	}
	run := &algo.Run{Log: algotest.Quiet, Train: rows(4, 1)}
	micro := batch.Pack(run.Train, []int{0, 1, 2, 3})
	for strategy, steps := range recorded {
		w := mustBuild(t, run, "loss", "upstream", "strategy: "+strategy, "delta: 1.0")
		for i := 0; i < len(steps); i += 2 {
			r := algo.WeightRequest{Step: steps[i].Step, Micros: []batch.Micro{micro, micro}, Loss: [][]float64{steps[i].In, steps[i+1].In}}
			weights, how := weigh(t, w, r)
			if how != algo.RowSum {
				t.Fatal("upstream sums rows")
			}
			for j, m := range weights {
				var sum float64
				for k, x := range m {
					sum += x * steps[i+j].In[k]
				}
				if want := steps[i+j].Returned; math.Abs(sum-want) > 1e-6*want {
					t.Errorf("%s step %d: %v, recorded %v", strategy, steps[i].Step, sum, want)
				}
				if want := steps[i+j].Out; math.Abs(2*sum-want) > 1e-6*want {
					t.Errorf("%s step %d: %v before accumulation, recorded %v", strategy, steps[i].Step, 2*sum, want)
				}
			}
		}
	}
	if len(recorded) != 4 {
		t.Errorf("%d strategies compared", len(recorded))
	}
}

// someLoss is a different loss for every row.
func someLoss(row int) float64 { return 1 + float64(row*row%11)/3 }

// TestLossByHand: losses 1, 2, 3 are x = -1, 0, 1.
func TestLossByHand(t *testing.T) {
	run := &algo.Run{Log: algotest.Quiet, Train: rows(4, 1)}
	for _, c := range []struct {
		strategy string
		f        []float64
	}{
		{"linupper", []float64{0, 1, 1}},
		{"quadratic", []float64{0, 1, 0}},
		{"extremes", []float64{1, 0, 1}},
		{"uniform", []float64{0, 0, 0}},
	} {
		w := mustBuild(t, run, "loss", "faithful", "strategy: "+c.strategy, "r: 0.5")
		got, how := weigh(t, w, request(run.Train, func(row int) float64 { return float64(row + 1) }, []int{0, 1}, []int{2}))
		if how != algo.TokenMean {
			t.Error("faithful keeps token normalisation")
		}
		var sum float64
		for _, f := range c.f {
			sum += math.Exp(f / 0.5)
		}
		want := make([]float64, 3)
		for i, f := range c.f {
			want[i] = 3 * math.Exp(f/0.5) / sum
		}
		algotest.Near(t, c.strategy, flat(got), want, 1e-12)
	}
}

// TestLossAccumulation: however a step is split into micro-batches, a row has the same weight,
// and the mean is 1 (upstream's depend on it: finding 52).
func TestLossAccumulation(t *testing.T) {
	run := &algo.Run{Log: algotest.Quiet, Train: rows(8, 1)}
	for _, strategy := range []string{"linupper", "uniform", "quadratic", "extremes"} {
		w := mustBuild(t, run, "loss", "faithful", "strategy: "+strategy)
		var first []float64
		for _, groups := range [][][]int{{{0, 1, 2, 3, 4, 5, 6, 7}}, {{0, 1, 2, 3}, {4, 5, 6, 7}}, {{0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}}, {{0, 1, 2}, {3, 4, 5, 6, 7}}} {
			got, _ := weigh(t, w, request(run.Train, someLoss, groups...))
			all := flat(got)
			if first == nil {
				first = all
			}
			algotest.Near(t, strategy, all, first, 1e-12)
			var sum float64
			for _, x := range all {
				sum += x
			}
			if math.Abs(sum/8-1) > 1e-12 {
				t.Errorf("%s: the mean weight is %v", strategy, sum/8)
			}
		}
		if strategy == "uniform" {
			for _, x := range first {
				if x != 1 {
					t.Errorf("uniform weighs %v: it must be the unweighted loss, bit for bit", first)
				}
			}
		}
	}
}

// TestLossSurvives: rows without targets are left out, a row whose loss is NaN or Inf has
// weight 0 and is named; equal losses get equal weights; a single row gets weight 1.
func TestLossSurvives(t *testing.T) {
	var log bytes.Buffer
	run := &algo.Run{Log: slog.New(slog.NewTextHandler(&log, nil)), Train: rows(8, 1)}
	for _, strategy := range []string{"linupper", "uniform", "quadratic", "extremes"} {
		log.Reset()
		w := mustBuild(t, run, "loss", "faithful", "strategy: "+strategy)
		broken := func(row int) float64 {
			if row == 5 {
				return math.NaN()
			}
			return someLoss(row)
		}
		got, _ := weigh(t, w, request(run.Train, broken, []int{0, 1, 6}, []int{5, 4}))
		whole, _ := weigh(t, w, request(run.Train, broken, []int{0, 1, 4}))
		algotest.Near(t, strategy, flat(got), []float64{whole[0][0], whole[0][1], 1, 0, whole[0][2]}, 1e-12)
		if !strings.Contains(log.String(), "dataset=pool row=5") {
			t.Errorf("the log does not name the row: %s", log.String())
		}
		equal, _ := weigh(t, w, request(run.Train, func(int) float64 { return 2 }, []int{0, 1}, []int{2}))
		algotest.Near(t, strategy+", equal losses", flat(equal), []float64{1, 1, 1}, 1e-12)
		one, _ := weigh(t, w, request(run.Train, someLoss, []int{3}))
		algotest.Near(t, strategy+", one row", flat(one), []float64{1}, 0)
		none, _ := weigh(t, w, request(run.Train, someLoss, []int{6}))
		algotest.Near(t, strategy+", nothing to learn", flat(none), []float64{1}, 0)
		up := mustBuild(t, run, "loss", "upstream", "strategy: "+strategy)
		for _, x := range flat(first(weigh(t, up, request(run.Train, broken, []int{0, 1, 6}, []int{5, 4})))) {
			if math.IsNaN(x) {
				t.Errorf("upstream %s: a weight is NaN", strategy)
			}
		}
	}
}

func first(w [][]float64, _ algo.Reduction) [][]float64 { return w }

// TestLossSchedule: r goes from initial_r to r.
func TestLossSchedule(t *testing.T) {
	run := &algo.Run{Log: algotest.Quiet, Train: rows(4, 1)}
	for _, c := range []struct {
		params []string
		want   []float64 // at steps 0, 1, 2, 4, 8 of 9
	}{
		{[]string{"r: 2"}, []float64{2, 2, 2, 2, 2}},
		{[]string{"r: 1", "initial_r: 9"}, []float64{9, 8, 7, 5, 1}},
		{[]string{"r: 1", "initial_r: 9", "r_steps: 3"}, []float64{9, 5, 1, 1, 1}},
		{[]string{"r: 1", "initial_r: 9", "r_schedule: cosine"}, []float64{9, 1 + 4*(1+math.Cos(math.Pi/8)), 1 + 4*(1+math.Cos(math.Pi/4)), 5, 1}},
	} {
		w := mustBuild(t, run, "loss", "faithful", c.params...).(*loss)
		var got []float64
		for _, step := range []int{0, 1, 2, 4, 8} {
			got = append(got, w.temperature(algo.WeightRequest{Step: step, Total: 9}))
		}
		algotest.Near(t, strings.Join(c.params, ", "), got, c.want, 1e-12)
	}
}

func TestLossRefuses(t *testing.T) {
	run := &algo.Run{Log: algotest.Quiet, Train: rows(4, 1)}
	for _, c := range []struct{ mode, param, want string }{
		{"faithful", "strategy: middle", "strategy is linupper, uniform, quadratic or extremes"},
		{"faithful", "delta: 0", "delta must be positive"},
		{"faithful", "r: -1", "r must be positive"},
		{"faithful", "r_schedule: stepwise", "constant, linear or cosine"},
		{"faithful", "detla: 1", "did you mean delta?"},
		{"upstream", "r: 2", `unknown parameter "r"`},
	} {
		if _, err := build(t, run, "loss", c.mode, c.param); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.param, err)
		}
	}
}
