package weighter

import (
	"math"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/algotest"
	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/data"
)

var (
	threeScores = []float64{.9, .7, .5}
	threeGram   = [][]float64{{1, .8, .2}, {.8, 1, .3}, {.2, .3, 1}}
)

func iterated(s []float64, gram [][]float64, beta, damping float64, steps int) []float64 {
	w := even(len(s))
	for range steps {
		w = damped(w, response(s, gram, beta, 0.05, w), damping)
	}
	return w
}

// The results of upstream's own function (DataFlex 1.1.0, on these numbers).
func TestJointUpdateIterations(t *testing.T) {
	none := make([]float64, 3)
	for name, c := range map[string]struct {
		got, want []float64
	}{
		"full":         {iterated(threeScores, threeGram, .1, 1, 5), []float64{.972419, .025999, .001583}},
		"align_only":   {iterated(threeScores, threeGram, 0, 1, 5), []float64{.98169, .01798, .000329}},
		"diverse_only": {iterated(none, threeGram, .1, 1, 5), []float64{.314259, .294214, .391527}},
		"damped":       {iterated(threeScores, threeGram, .1, .5, 5), []float64{.954251, .034044, .011706}},
	} {
		algotest.Near(t, name, c.got, c.want, 1e-6)
	}
}

// Regression 27: where five undamped steps oscillate between the corners, the solution is the
// fixed point.
func TestRegression27ExactSolution(t *testing.T) {
	s, gram := []float64{.02, 0}, [][]float64{{1, 0}, {0, 1}}
	if w := iterated(s, gram, .3, 1, 5); w[0] < .99 {
		t.Errorf("five steps are at %v, upstream's at .998", w)
	}
	w, err := solveExactly(s, gram, .3, .05)
	if err != nil {
		t.Fatal(err)
	}
	algotest.Near(t, "solution", w, []float64{.525, .475}, 1e-3)
	if w, err = solveExactly(s, gram, .1, .05); err != nil {
		t.Fatal(err)
	}
	algotest.Near(t, "solution", w, []float64{.550, .450}, 1e-3)
	// Large and stiff problems converge, too, to a fixed point that no other weights improve
	// on.
	const n = 64
	big, scores := make([][]float64, n), make([]float64, n)
	for i := range big {
		big[i] = make([]float64, n)
		for j := range big[i] {
			big[i][j] = math.Cos(float64(i-j) / 9) // positive semidefinite
		}
		scores[i] = math.Sin(float64(7 * i))
	}
	for _, beta := range []float64{0, .1, 10} {
		w, err := solveExactly(scores, big, beta, .05)
		if err != nil {
			t.Fatal(err)
		}
		algotest.Near(t, "fixed point", response(scores, big, beta, .05, w), w, 1e-6)
	}
}

// The weights in mode faithful are of the whole step, however it is cut into
// micro-batches.
func TestRegression27AccumulationDoesNotMatter(t *testing.T) {
	run := loaded(t, rows(24, 1), rows(5, 2))
	for _, params := range [][]string{nil, {"pooling: mean_pool", "embed_layer: 1"}, {"objective_mode: diverse_only"}, {"embed_normalize: false"}} {
		w := mustBuild(t, run, "joint_update_aware", "faithful", params...)
		one, how := weigh(t, w, request(run.Train, someLoss, []int{0, 1, 2, 3, 4, 5, 6, 7}))
		four, _ := weigh(t, w, request(run.Train, someLoss, []int{0, 1}, []int{2, 3}, []int{4, 5}, []int{6, 7}))
		if how != algo.TokenMean {
			t.Error("faithful keeps token normalisation")
		}
		algotest.Near(t, "weights", flat(four), flat(one), 1e-9)
		var sum float64
		for i, x := range flat(one) {
			if i == 6 { // without a target
				continue
			}
			sum += x
		}
		if math.Abs(sum-7) > 1e-9 || slices.Max(flat(one)) < 1.001 {
			t.Errorf("%v: weights %v", params, flat(one))
		}
	}
}

// Scores and redundancy by their definition, from hidden states row by row.
func TestJointUpdateByDefinition(t *testing.T) {
	run := loaded(t, rows(24, 1), rows(5, 2))
	last := func(i int, eval bool) []float64 {
		set := run.Train
		if eval {
			set = run.Eval
		}
		m := batch.Pack(set, []int{i})
		h, err := run.Model.Hidden(m.Batch, -1)
		if err != nil {
			t.Fatal(err)
		}
		var v []float64
		for _, x := range h.Host()[h.Len()-16:] {
			v = append(v, float64(x))
		}
		return v
	}
	u := make([]float64, 16)
	for i := range run.Eval {
		for j, x := range last(i, true) {
			u[j] += x
		}
	}
	normalize(u)
	group := []int{3, 0, 9, 2}
	var z [][]float64
	for _, i := range group {
		z = append(z, last(i, false))
		normalize(z[len(z)-1])
	}
	s, gram := make([]float64, 4), make([][]float64, 4)
	for i := range z {
		s[i] = inner(z[i], u)
		for j := range z {
			gram[i] = append(gram[i], inner(z[i], z[j]))
		}
	}
	want, err := solveExactly(s, gram, .1, .05)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := weigh(t, mustBuild(t, run, "joint_update_aware", "faithful"), request(run.Train, someLoss, group[:2], group[2:]))
	for i := range want {
		want[i] *= 4
	}
	algotest.Near(t, "faithful", flat(got), want, 1e-5)
	up, how := weigh(t, mustBuild(t, run, "joint_update_aware", "upstream", "target_num_batches: 0"), request(run.Train, someLoss, group[:2], group[2:]))
	if how != algo.RowSum {
		t.Error("upstream sums rows")
	}
	for i, half := range [][]int{{0, 1}, {2, 3}} {
		a, b := half[0], half[1]
		pair := iterated([]float64{s[a], s[b]}, [][]float64{{1, gram[a][b]}, {gram[a][b], 1}}, .1, 1, 5)
		algotest.Near(t, "upstream", up[i], []float64{pair[0] / 2, pair[1] / 2}, 1e-5)
	}
}

// With label smoothing, upstream's mean_pool of the step's rows is over all their tokens: as if
// all had labels. Evaluation rows keep their labels, and mode faithful goes by labels always.
func TestJointUpdateMeanPoolOfSmoothedRows(t *testing.T) {
	run := loaded(t, rows(24, 1), rows(5, 2))
	group, labels := []int{3, 0, 9, 2}, slices.Clone(run.Train)
	for i, e := range labels {
		labels[i].Labels = append([]int32{data.IgnoreIndex, data.IgnoreIndex}, e.InputIDs[2:]...)
	}
	weights := func(mode string, smooths bool, train []data.Example) []float64 {
		run.Smooths, run.Train = smooths, train
		w, _ := weigh(t, mustBuild(t, run, "joint_update_aware", mode, "pooling: mean_pool", "target_num_batches: 0"), request(train, someLoss, group))
		return flat(w)
	}
	all := slices.Clone(labels)
	for i := range all {
		all[i].Labels = all[i].InputIDs
	}
	algotest.Near(t, "upstream", weights("upstream", true, labels), weights("upstream", false, all), 1e-12)
	algotest.Near(t, "faithful", weights("faithful", true, labels), weights("faithful", false, labels), 1e-12)
	if slices.Equal(weights("upstream", true, labels), weights("upstream", false, labels)) {
		t.Error("the rows of this test do not tell the two means apart")
	}
}

// Upstream takes the next evaluation rows every target_update_step steps, cyclically; a
// restored weighter continues with them.
func TestJointUpdateTargetsGoRound(t *testing.T) {
	run := loaded(t, rows(24, 1), rows(5, 2))
	params := []string{"target_update_step: 2", "target_batch_size: 2", "target_num_batches: 2"}
	straight := mustBuild(t, run, "joint_update_aware", "upstream", params...).(*jointUpdate)
	current := mustBuild(t, run, "joint_update_aware", "upstream", params...).(*jointUpdate)
	var seen [][]float64
	for step := range 7 {
		r := request(run.Train, someLoss, []int{0, 1, 2})
		r.Step = step
		want, _ := weigh(t, straight, r)
		state, err := current.State()
		if err != nil {
			t.Fatal(err)
		}
		current = mustBuild(t, run, "joint_update_aware", "upstream", params...).(*jointUpdate)
		if err := current.Restore(state); err != nil {
			t.Fatal(err)
		}
		got, _ := weigh(t, current, r)
		algotest.Near(t, "restored", flat(got), flat(want), 0)
		if step%2 == 0 {
			seen = append(seen, slices.Clone(straight.state.Target))
		} else if !slices.Equal(straight.state.Target, seen[len(seen)-1]) {
			t.Errorf("at step %d the evaluation rows are looked at anew", step)
		}
	}
	// Batches 01 23 | 4 01 | 23 4 | 01 23.
	if slices.Equal(seen[0], seen[1]) || slices.Equal(seen[1], seen[2]) || !slices.Equal(seen[0], seen[3]) {
		t.Errorf("means %v", seen)
	}
}

func TestJointUpdateRefuses(t *testing.T) {
	run := loaded(t, rows(4, 1), rows(2, 2))
	for _, c := range []struct{ param, want string }{
		{"tau: 0", "must be positive"},
		{"damping: 1.5", "at most 1"},
		{"beta: -1", "beta >= 0"},
		{"objective_mode: all", "diverse_only"},
		{"pooling: max", "mean_pool"},
		{"embed_layer: 3", "0 to 2"},
		{"solver: newton", "exact or iterations"},
		{"betta: 1", "did you mean beta?"},
	} {
		if _, err := build(t, run, "joint_update_aware", "faithful", c.param); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.param, err)
		}
	}
	run.Eval = nil
	w := mustBuild(t, run, "joint_update_aware", "upstream")
	got, _ := weigh(t, w, request(run.Train, someLoss, []int{0}, []int{1, 2}))
	if got[0][0] != .5 || math.Abs(got[1][0]+got[1][1]-.5) > 1e-12 {
		t.Errorf("without evaluation rows, and a row alone: %v", got)
	}
}
