package record

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/data"
)

// pool is rows of growing length from two data sets.
func pool(n int) []data.Example {
	out := make([]data.Example, n)
	for i := range out {
		out[i] = data.Example{ID: data.ID{Dataset: []string{"a", "b"}[i%2], Row: i / 2}, InputIDs: make([]int32, 10*(i+1))}
	}
	return out
}

func open(t *testing.T, dir string, fresh bool, step int, seen *[]string) *Writer {
	t.Helper()
	w, err := Open(dir, fresh, step, false, 8, func(step int, tag string, v float64) error {
		*seen = append(*seen, fmt.Sprintf("%d %s %.4g", step, tag, v))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLengthBins(t *testing.T) {
	for tokens, want := range map[int]int{0: 0, 1: 0, 32: 0, 33: 1, 64: 1, 65: 2, 128: 2, 8192: 8, 8193: 9, 1 << 30: 9} {
		if got := LengthBin(tokens); got != want {
			t.Errorf("%d tokens: class %d, not %d", tokens, got, want)
		}
	}
	if p := PoolOf(pool(8)); fmt.Sprint(p.Datasets, p.Lengths, p.Rows, len(p.Sample)) != "map[a:4 b:4] [3 3 2 0 0 0 0 0 0 0] 8 8" {
		t.Errorf("%+v", p)
	}
}

// TestSelectionLine: two selections, their histograms, the rows passed over, drift.
func TestSelectionLine(t *testing.T) {
	dir := t.TempDir()
	var seen []string
	w := open(t, dir, true, 0, &seen)
	nan := math.NaN()
	score := []float64{0, 6, 3, nan, 1, 5, 6, 2}
	first := algo.Selection{Indices: []int{1, 6, 1}, Metric: map[string][]float64{"sim": {6, 6, 6}}, Score: score}
	must(t, w.Selection(algo.Request{Step: 2, Update: 1}, first, pool(8), 1.5, false))
	must(t, w.Selection(algo.Request{Step: 4, Update: 2}, algo.Selection{Indices: []int{6, 5}}, pool(8), 0.5, true))
	lines, err := Read(dir)
	must(t, err)
	s := lines[0].Selection
	if s.Metric != "sim" || s.Unscored != 1 || fmt.Sprint(s.Lengths) != "[2 0 1 0 0 0 0 0 0 0]" {
		t.Errorf("%+v", s)
	}
	h := s.Histogram
	if h.Low != 0 || h.High != 6 || h.All[0] != 1 || h.All[10] != 1 || h.All[59] != 2 || h.Chosen[59] != 2 || h.Chosen[0] != 0 {
		t.Errorf("%+v", h)
	}
	if got := fmt.Sprint(s.Passed); got != "[{{b 2} 5} {{a 1} 3} {{b 3} 2} {{a 2} 1} {{a 0} 0}]" {
		t.Errorf("passed over: %s", got)
	}
	if s := lines[1].Selection; s.Histogram != nil || !s.Reused {
		t.Errorf("%+v", s)
	}
	want := []string{
		"2 selection/overlap 0", "2 selection/new 1", "2 selection/seconds 1.5", "2 selection/score_mean_all 3.286", "2 selection/score_mean_chosen 6",
		"4 selection/overlap 0.5", "4 selection/new 0.5", "4 selection/seconds 0.5",
	}
	if got := strings.Join(seen, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("scalars\n%s", got)
	}
}

// TestGoesOn: a run resumed from step 4 drops what it did after it, including its decision at
// the step, and keeps what was chosen before.
func TestGoesOn(t *testing.T) {
	dir := t.TempDir()
	var seen []string
	w := open(t, dir, true, 0, &seen)
	must(t, w.Start(Run{Steps: 8}))
	must(t, w.Log(2, 100, 3, Dealt{Rows: 8}, false))
	w.phases["saving"] = 0.75
	must(t, w.Log(4, 200, 6, Dealt{Rows: 8}, false))
	must(t, w.Selection(algo.Request{Step: 4, Update: 1}, algo.Selection{Indices: []int{0}}, pool(8), 1, false))
	must(t, w.Log(6, 300, 9, Dealt{Rows: 8}, true))
	picks, err := report.OpenPicks(dir, true)
	must(t, err)
	must(t, picks.Write(algo.Request{Step: 2, Update: 1}, algo.Selection{Indices: []int{3, 3, 5}}, pool(8)))
	f, err := os.OpenFile(filepath.Join(dir, Name), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString(`{"step":{"st`)
	must(t, err)
	must(t, f.Close())

	w = open(t, dir, false, 4, &seen)
	must(t, w.Log(6, 310, 9, Dealt{Rows: 8}, false))
	lines, err := Read(dir)
	must(t, err)
	var got []string
	for _, l := range lines {
		switch {
		case l.Step != nil:
			got = append(got, fmt.Sprint("step ", l.Step.Step, " tokens ", l.Step.Tokens, " ", l.Step.Phases, l.Step.Done))
		case l.Run != nil:
			got = append(got, fmt.Sprint("run of ", l.Run.Steps))
		default:
			got = append(got, "other")
		}
	}
	if want := "run of 8; step 2 tokens 100 map[] false; step 4 tokens 200 map[saving:0.75] false; step 6 tokens 310 map[saving:0.75] false"; strings.Join(got, "; ") != want {
		t.Errorf("%s", strings.Join(got, "; "))
	}
	seen = nil
	must(t, w.Selection(algo.Request{Step: 6, Update: 2}, algo.Selection{Indices: []int{3, 4}}, pool(8), 1, false))
	if fmt.Sprint(seen[:2]) != "[6 selection/overlap 0.5 6 selection/new 0.5]" {
		t.Errorf("%v", seen)
	}
}

// micro is a micro-batch of rows of two tokens, the second of which is trained on.
func micro(rows ...int) batch.Micro {
	m := batch.Micro{Rows: rows}
	m.RowStart = []int32{0}
	for range rows {
		m.Targets = append(m.Targets, 1, -1)
		m.RowStart = append(m.RowStart, int32(len(m.Targets)))
	}
	return m
}

func TestWeights(t *testing.T) {
	dir := t.TempDir()
	var seen []string
	w := open(t, dir, true, 0, &seen)
	micros := []batch.Micro{micro(0, 1), micro(2, 3)}
	loss := [][]float64{{1, 2}, {3, math.NaN()}}
	w.Weigh(5, micros, [][]float64{{9, 9}, {9, 9}}, loss, pool(8)) // the step is taken again
	w.Weigh(5, micros, [][]float64{{0.1, 0.3}, {1.2, 0.4}}, loss, pool(8))
	must(t, w.Log(6, 1, 1, Dealt{Rows: 8}, false))
	must(t, w.Log(7, 2, 2, Dealt{Rows: 8}, false))
	lines, err := Read(dir)
	must(t, err)
	if len(lines) != 3 || lines[0].Weights == nil {
		t.Fatalf("%+v", lines)
	}
	got := lines[0].Weights
	// Mean 0.5: relative weights 0.2, 0.6, 2.4; the row without a loss is not counted.
	if got.Rows != 3 || fmt.Sprintf("%.3f", got.Quantiles) != "[0.200 0.400 0.600 1.500 2.400]" || got.Heavy[0].Loss != 3 || got.Heavy[0].ID != (data.ID{Dataset: "a", Row: 1}) ||
		got.Light[0].Loss != 1 || got.Bins[2] != 1 || got.Bins[24]+got.Bins[23] != 1 || len(got.Heavy) != 3 {
		t.Errorf("%+v", got)
	}
}

// TestNumbersThatJSONHasNot: a method may return numbers that a line of JSON cannot contain.
func TestNumbersThatJSONHasNot(t *testing.T) {
	dir := t.TempDir()
	var seen []string
	w := open(t, dir, true, 0, &seen)
	inf := math.Inf(1)
	w.Weigh(1, []batch.Micro{micro(0, 1)}, [][]float64{{inf, 1}}, [][]float64{{1, 1}}, pool(8))
	w.Weigh(2, []batch.Micro{micro(0, 1)}, [][]float64{{-0.5, 1}}, [][]float64{{1, 1}}, pool(8))
	must(t, w.Mixture(0, 0, []algo.Domain{{Name: "x"}}, []float64{1}, []float64{math.NaN()}))
	score := []float64{inf, math.NaN(), -inf, 1, 1, 1, 1, 1}
	must(t, w.Selection(algo.Request{Step: 1}, algo.Selection{Indices: []int{0}, Score: score}, pool(8), 1, false))
	must(t, w.Log(2, 1, 1, Dealt{Rows: 8}, true))
	lines, err := Read(dir)
	must(t, err)
	if s := lines[1].Selection; s.Unscored != 3 || s.Histogram.All[0] != 5 || lines[2].Weights.Bins[0] != 1 || lines[2].Weights.Rows != 2 {
		t.Errorf("%+v, %+v", lines[1].Selection, lines[2])
	}
}

func TestDomains(t *testing.T) {
	dir := t.TempDir()
	var seen []string
	w := open(t, dir, true, 0, &seen)
	report := []algo.MicroReport{{Micro: micro(0, 1, 2), TokenLoss: []float32{1, 0, 3, 0, 8, 0}, Domain: []int{0, 0, 1}}}
	w.Domains(report) // before the first mixture: it has no effect
	domains := []algo.Domain{{Name: "x"}, {Name: "y"}, {Name: "z"}}
	must(t, w.Mixture(0, 0, domains, []float64{0.5, 0.25, 0.25}, nil))
	w.Domains(report)
	w.Domains(report[:1])
	must(t, w.Log(2, 1, 1, Dealt{Rows: 8}, false))
	lines, err := Read(dir)
	must(t, err)
	m := lines[1].Mixture
	if *m.Losses[0] != 2 || *m.Losses[1] != 8 || m.Losses[2] != nil || fmt.Sprint(m.Tokens) != "[4 2 0]" {
		t.Errorf("%+v", m)
	}
	if got := strings.Join(seen, ", "); !strings.HasPrefix(got, "0 mixture/x 0.5, 0 mixture/y 0.25, 0 mixture/z 0.25, 2 mixture_loss/x 2, 2 mixture_loss/y 8") {
		t.Errorf("%s", got)
	}
}

// TestStretches: an order with more rows than stretches is cut evenly; rows without a score are
// not counted.
func TestStretches(t *testing.T) {
	nan := math.NaN()
	got := stretches([]float64{1, nan, 3, nan}, []int{2, 0, 1, 3})
	if len(got) != 4 || *got[0] != 3 || *got[1] != 1 || got[2] != nil || got[3] != nil {
		t.Errorf("%v", got)
	}
	score, rows := make([]float64, 1000), make([]int, 1000)
	for i := range rows {
		score[i], rows[i] = float64(i), 999-i
	}
	got = stretches(score, rows)
	if len(got) != 200 || *got[0] != 997 || *got[199] != 2 { // means of 995…999 and of 0…4
		t.Errorf("%d stretches from %v to %v", len(got), *got[0], *got[len(got)-1])
	}
	if got := stretches(score, nil); len(got) != 0 {
		t.Errorf("%v", got)
	}
}
