package mixer

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/algotest"
	"dataflex.dev/dataflex/model/decoder"
)

// made builds doremi on a tiny model with another as the reference.
func made(t *testing.T, mode string, params ...string) (*doremi, *algo.Run, []algo.Domain) {
	t.Helper()
	train, domains := rows(16)
	run := loaded(t, algotest.Model(t, 1, nil), train)
	params = append(params, "reference_model_path: "+algotest.Model(t, 2, nil))
	return mustBuild(t, run, domains, "doremi", mode, params...).(*doremi), run, domains
}

// constant makes every token of the model cost own, and of the reference ref.
func (m *doremi) constant(own, ref func(token int32) float32) {
	loss := func(f func(int32) float32) func(decoder.Batch) ([]float32, error) {
		return func(b decoder.Batch) ([]float32, error) {
			out := make([]float32, len(b.Tokens))
			for i, target := range b.Targets {
				if target >= 0 {
					out[i] = f(target)
				}
			}
			return out, nil
		}
	}
	m.ownLoss, m.refLoss = loss(own), loss(ref)
}

// TestDoReMiByHand: low tokens cost 3 against 2.5, high ones 2 against 4, which counts
// as 0: λ = (0.5, 0), and the paper's formulas follow.
func TestDoReMiByHand(t *testing.T) {
	m, run, _ := made(t, "faithful", "reweight_eta: 2", "reweight_eps: 0.1")
	isLow := func(a, b float32) func(int32) float32 {
		return func(token int32) float32 {
			if token < algotest.Vocab/2 {
				return a
			}
			return b
		}
	}
	m.constant(isLow(3, 2), isLow(2.5, 4))
	step := []algo.MicroReport{micro(run.Train, 0, 1, 2), micro(run.Train, 4)}
	w, err := m.StepWeights(context.Background(), 0, step)
	if err != nil {
		t.Fatal(err)
	}
	algotest.Near(t, "λ", m.scores, []float64{0.5, 0}, 1e-12)
	low := 0.9*math.E/(math.E+1) + 0.05
	algotest.Near(t, "α", m.weights, []float64{low, 1 - low}, 1e-12)
	n := []float64{0, 0}
	for _, s := range step {
		for i, d := range s.Domain {
			n[d] += float64(s.Labelled[i])
		}
	}
	all := n[0] + n[1]
	algotest.Near(t, "weights of tokens, paper", w, []float64{low * all / n[0], (1 - low) * all / n[1]}, 1e-9)
	m.official = true
	mean := low*n[0] + (1-low)*n[1]
	algotest.Near(t, "weights of tokens, official", m.perToken([]int{int(n[0]), int(n[1])}), []float64{low * all / mean, (1 - low) * all / mean}, 1e-9)
	// A step without high rows leaves their λ unchanged.
	m.scores[1] = 0.25
	if _, err := m.StepWeights(context.Background(), 1, step[1:]); err != nil {
		t.Fatal(err)
	}
	algotest.Near(t, "λ", m.scores, []float64{0.5, 0.25}, 1e-12)
	if m.count != 2 {
		t.Errorf("the average is over %d steps", m.count)
	}
}

// TestDoReMiSurvives: a row whose loss is NaN or Inf is named and left out.
func TestDoReMiSurvives(t *testing.T) {
	m, run, _ := made(t, "faithful")
	var log bytes.Buffer
	run.Log = slog.New(slog.NewTextHandler(&log, nil))
	m.constant(func(int32) float32 { return 2 }, func(int32) float32 { return 1.5 })
	step := micro(run.Train, 0, 1, 2)
	step.TokenLoss, _ = m.ownLoss(step.Batch)
	step.TokenLoss[step.RowStart[2]] = float32(math.NaN())
	w, err := m.StepWeights(context.Background(), 0, []algo.MicroReport{step})
	if err != nil {
		t.Fatal(err)
	}
	algotest.Near(t, "λ", m.scores, []float64{0.5, 0.5}, 1e-12)
	n := []float64{float64(step.Labelled[0]), float64(step.Labelled[1])}
	algotest.Near(t, "weights", w, []float64{(n[0] + n[1]) / n[0] / 2, (n[0] + n[1]) / n[1] / 2}, 1e-9)
	if !strings.Contains(log.String(), "dataset=low row=1") {
		t.Errorf("the log does not name the row: %s", log.String())
	}
	m.weights, m.c, m.eta, m.official = []float64{0, 1}, 0, 0, true
	if w, err = m.StepWeights(context.Background(), 1, []algo.MicroReport{micro(run.Train, 0)}); err != nil {
		t.Fatal(err)
	}
	algotest.Near(t, "weights where nothing has any", w, []float64{0, 0}, 0)
}

// TestDoReMiWeighsAgain: weighing a step again without a row gives the same state and file as a
// step without that row.
func TestDoReMiWeighsAgain(t *testing.T) {
	m, run, _ := made(t, "faithful")
	other, _, _ := made(t, "faithful")
	m.OutputDir(t.TempDir())
	other.OutputDir(t.TempDir())
	weigh := func(m *doremi, step int, rows ...int) {
		t.Helper()
		if _, err := m.StepWeights(context.Background(), step, []algo.MicroReport{micro(run.Train, rows...)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []*doremi{m, other} {
		weigh(m, 0, 0, 1, 2)
	}
	weigh(m, 1, 3, 4, 5)
	for _, m := range []*doremi{m, other} {
		weigh(m, 1, 3, 4)
		weigh(m, 2, 6, 7)
	}
	algotest.Near(t, "α", m.weights, other.weights, 0)
	algotest.Near(t, "sum of α", m.sum, other.sum, 0)
	if m.count != 3 {
		t.Errorf("the average is over %d steps", m.count)
	}
	raw, err := os.ReadFile(m.journal.path())
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSpace(string(raw)), "\n") {
		if !strings.HasPrefix(line, fmt.Sprintf(`{"step": %d,`, i)) || i > 2 {
			t.Errorf("line %d is %s", i, line)
		}
	}
}

// TestDoReMiUnseen: a domain without a score so far.
func TestDoReMiUnseen(t *testing.T) {
	m, run, _ := made(t, "faithful")
	if _, err := m.StepWeights(context.Background(), 0, []algo.MicroReport{micro(run.Train, 0)}); err != nil {
		t.Fatal(err)
	}
	if m.scores[1] != m.scores[0] {
		t.Errorf("λ %v: an unseen domain has the mean of the others", m.scores)
	}
	m, run, _ = made(t, "faithful", "normalizer: official")
	if _, err := m.StepWeights(context.Background(), 0, []algo.MicroReport{micro(run.Train, 0)}); err != nil {
		t.Fatal(err)
	}
	algotest.Near(t, "λ", m.scores[1:], []float64{math.Log(algotest.Vocab)}, 1e-12)
}

// TestRegression03DoReMiReweighs: α = (1, 0) must change the gradient: it becomes that of the
// first domain alone (finding 36 of the upstream notes).
func TestRegression03DoReMiReweighs(t *testing.T) {
	m, run, _ := made(t, "faithful", "reweight_eta: 0", "reweight_eps: 0")
	m.weights = []float64{1, 0}
	both := micro(run.Train, 0, 1, 2, 3)
	w, err := m.StepWeights(context.Background(), 0, []algo.MicroReport{both})
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Model.TrainAll(); err != nil {
		t.Fatal(err)
	}
	weighted := gradient(t, run, both, w)
	unweighted := gradient(t, run, both, []float64{1, 1})
	alone := gradient(t, run, micro(run.Train, 0, 2), []float64{1, 1})
	if diff := distance(weighted, alone); diff > 1e-6 {
		t.Errorf("α = (1, 0): the gradient is %v away from the first domain's own", diff)
	}
	if diff := distance(weighted, unweighted); diff < 0.1 {
		t.Errorf("α = (1, 0): the gradient is only %v away from the unweighted one", diff)
	}
}

// gradient is that of Σ w_d nll / N, which a loop computes under algo.TokenMean.
func gradient(t *testing.T, run *algo.Run, m algo.MicroReport, w []float64) []float64 {
	t.Helper()
	n := 0
	for _, l := range m.Labelled {
		n += l
	}
	weight := make([]float32, len(m.Tokens))
	for i, d := range m.Domain {
		for at := m.RowStart[i]; at < m.RowStart[i+1]; at++ {
			weight[at] = float32(w[d] / float64(n))
		}
	}
	params := run.Model.Trainable()
	for _, p := range params {
		clear(p.Grad.Host())
	}
	if _, err := run.Model.Backward(m.Batch, decoder.Objective{Weight: weight, Train: true}); err != nil {
		t.Fatal(err)
	}
	var out []float64
	for _, p := range params {
		for _, g := range p.Grad.Host() {
			out = append(out, float64(g))
		}
	}
	return out
}

// distance is |a-b| / |b|.
func distance(a, b []float64) float64 {
	var d, n float64
	for i := range a {
		d += (a[i] - b[i]) * (a[i] - b[i])
		n += b[i] * b[i]
	}
	return math.Sqrt(d / n)
}

// TestDoReMiAccumulation: one batch of 8 and four of 2 give the same α and weights, and so do
// losses that are passed in and losses that are computed.
func TestDoReMiAccumulation(t *testing.T) {
	whole, run, _ := made(t, "faithful")
	parts, _, _ := made(t, "faithful")
	one := []algo.MicroReport{micro(run.Train, 0, 1, 2, 3, 4, 5, 6, 7)}
	var four []algo.MicroReport
	for i := 0; i < 8; i += 2 {
		m := micro(run.Train, i, i+1)
		loss, err := run.Model.Losses(m.Batch, 0)
		if err != nil {
			t.Fatal(err)
		}
		m.TokenLoss = loss
		four = append(four, m)
	}
	for step := range 3 {
		a, err := whole.StepWeights(context.Background(), step, one)
		if err != nil {
			t.Fatal(err)
		}
		b, err := parts.StepWeights(context.Background(), step, four)
		if err != nil {
			t.Fatal(err)
		}
		algotest.Near(t, "weights", b, a, 1e-9)
		algotest.Near(t, "α", parts.weights, whole.weights, 1e-9)
	}
	if whole.weights[0] == 0.5 {
		t.Error("α has not moved")
	}
}

// TestDoReMiResumes: after resuming from a checkpoint, the weights, the average and the file
// are the same as without the interruption, in both modes.
func TestDoReMiResumes(t *testing.T) {
	ctx := context.Background()
	for _, mode := range []string{"faithful", "upstream"} {
		advance := func(m *doremi, run *algo.Run, step int) {
			if step > 0 && step%2 == 0 {
				if _, err := m.Mix(ctx, algo.MixRequest{Step: step, Update: step / 2}); err != nil {
					t.Fatal(err)
				}
			}
			batch := []algo.MicroReport{micro(run.Train, step, step+1, step+4)}
			if _, err := m.StepWeights(ctx, step, batch); err != nil {
				t.Fatal(err)
			}
			if err := m.Observe(ctx, step, batch); err != nil {
				t.Fatal(err)
			}
		}
		m, run, _ := made(t, mode)
		dir := t.TempDir()
		m.OutputDir(dir)
		for step := range 4 {
			advance(m, run, step)
		}
		state, err := m.State()
		if err != nil {
			t.Fatal(err)
		}
		for step := 4; step < 8; step++ {
			advance(m, run, step) // lost to a kill
		}
		again, run2, _ := made(t, mode)
		if err := again.Restore(state); err != nil {
			t.Fatal(err)
		}
		again.OutputDir(dir)
		for step := 4; step < 8; step++ {
			advance(again, run2, step)
		}
		algotest.Near(t, mode+" α", again.weights, m.weights, 0)
		algotest.Near(t, mode+" average", again.average(), m.average(), 0)
		if err := again.Finish(); err != nil {
			t.Fatal(err)
		}
		steps := []float64{0, 1, 2, 3, 4, 5, 6, 7}
		if mode == "upstream" {
			steps = []float64{2, 4, 6}
		}
		var got []float64
		for _, l := range lines(t, filepath.Join(dir, "doremi_weights.jsonl")) {
			got = append(got, l["step"].(float64))
		}
		algotest.Near(t, mode+" steps in the file", got, steps, 0)
	}
}

// TestDoReMiFiles: the files of step 2, as upstream writes them.
func TestDoReMiFiles(t *testing.T) {
	m, _, _ := made(t, "faithful")
	m.sum, m.count = []float64{1.5, 0.5}, 2
	dir := t.TempDir()
	m.OutputDir(dir)
	if err := m.Finish(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"doremi_average_weights.json": `{
  "description": "DoReMi Step 2: average domain weights for Step 3",
  "update_times": 2,
  "domain_names": [
    "low",
    "high"
  ],
  "average_weights": [
    0.75,
    0.25
  ]
}`,
		"doremi_step3_proportions.txt": "# DoReMi Step 3 proportions\n# proportions: [0.75, 0.25]\nlow: 0.750000\nhigh: 0.250000\n",
	} {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if string(raw) != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, raw, want)
		}
	}
}

func TestDoReMiRefuses(t *testing.T) {
	train, domains := rows(4)
	run := loaded(t, algotest.Model(t, 1, nil), train)
	for _, c := range []struct{ param, want string }{
		{"reweight_eta: 1", "reference_model_path: DoReMi compares with a reference model"},
		{"reference_model_path: /nowhere/at/all", "the reference model cannot be loaded"},
		{"normalizer: mean", "normalizer is paper or official"},
		{"reweight_eps: 2", "between 0 and 1"},
	} {
		if _, err := build(t, run, domains, "doremi", "faithful", c.param); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.param, err)
		}
	}
	m, _, _ := made(t, "upstream")
	if _, err := m.Mix(context.Background(), algo.MixRequest{Step: 0, Update: 1}); err == nil || !strings.Contains(err.Error(), "warmup_step") {
		t.Errorf("an update before any step: %v", err)
	}
}
