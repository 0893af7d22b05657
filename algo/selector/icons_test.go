package selector

import (
	"math"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo"
)

// of is the influence of rows z on tasks of unit rows, by its definition.
func influencesOf(z [][]float64, tasks [][][]float64) [][]float64 {
	out := make([][]float64, len(tasks))
	for t, rows := range tasks {
		for _, x := range z {
			var sum float64
			for _, y := range rows {
				sum += inner(x, y) / float64(len(rows))
			}
			out[t] = append(out[t], sum)
		}
	}
	return out
}

var (
	sixRows  = [][]float64{{1, 0, 0}, {.8, .6, 0}, {.6, .8, 0}, {0, 1, 0}, {0, .6, .8}, {0, 0, 1}}
	twoTasks = [][][]float64{{{1, 0, 0}}, {{0, 1, 0}, {0, .8, .6}}}
)

// The results of upstream's own _vote_select (DataFlex 1.1.0, on these rows).
func TestICONSVotes(t *testing.T) {
	s := &icons{influence: &influence{mode: algo.Upstream, run: bare(6)}}
	e := s.elect(influencesOf(sixRows, twoTasks), nil, algo.Request{N: 3})
	if !slices.Equal(e.votes, []float64{1, 1, 2, 1, 1, 0}) || !slices.Equal(e.indices, []int{2, 1, 4}) {
		t.Errorf("votes %v, picked %v", e.votes, e.indices)
	}
	compare(t, "threshold", e.thresholds, []float64{.3, .63}, 1e-6)
	// Faithful: of the rows with one vote those that the tasks rank higher come first, 0 and 3
	// equally, then the lower row.
	s = &icons{influence: &influence{mode: algo.Faithful, run: &algo.Run{Updates: 1}}}
	if e := s.elect(influencesOf(sixRows, twoTasks), nil, algo.Request{N: 3}); !slices.Equal(e.indices, []int{2, 1, 0}) {
		t.Errorf("faithful picked %v, scores %v", e.indices, e.score)
	}
}

// Regression 25: which rows are picked does not depend on how they are stored; a single task
// picks the same set as LESS's mean; the threshold is that of the whole run.
func TestRegression25ICONS(t *testing.T) {
	run := whole(t, rows(40, 4, 1), rows(6, 3, 2))
	picked := func(params ...string) algo.Selection {
		s := mustBuild(t, run, "icons", "faithful", append(params, "cache_dir: "+t.TempDir())...)
		return selected(t, s, algo.Request{Step: 4, Update: 1, N: 10})
	}
	three := picked("task_sizes: [1, 2, 3]")
	var names []int
	for _, i := range three.Indices {
		names = append(names, run.Train[i].Row)
	}
	slices.Sort(names)
	slices.Reverse(run.Train)
	var reversed []int
	for _, i := range picked("task_sizes: [1, 2, 3]").Indices {
		reversed = append(reversed, run.Train[i].Row)
	}
	slices.Sort(reversed)
	if !slices.Equal(names, reversed) {
		t.Errorf("rows %v, stored in another order %v", names, reversed)
	}
	slices.Reverse(run.Train)

	less := selected(t, mustBuild(t, run, "less", "faithful", "gradient_type: sgd", "subtask_by: none", "cache_dir: "+t.TempDir()), algo.Request{Step: 4, Update: 1, N: 10})
	if one := picked(); !slices.Equal(one.Indices, less.Indices) {
		t.Errorf("one task picks %v, LESS %v", one.Indices, less.Indices)
	}
	// 4 selections of 10 are all of the pool: every row has every vote.
	if share := three.Facts["vote_share"]; share != 1.0 || slices.Min(three.Metric["icons_votes"]) != 3 {
		t.Errorf("share %v, votes %v", share, three.Metric["icons_votes"])
	}
	if few := picked("task_sizes: [1, 2, 3]", "vote_percent: 20"); few.Facts["vote_share"] != .2 || few.Facts["num_tasks"] != 3 {
		t.Errorf("facts %v", few.Facts)
	}
}

// Influences by their definition: tasks by data set, and the largest of a task's
// subtasks.
func TestICONSTasks(t *testing.T) {
	run := whole(t, rows(20, 4, 1), rows(6, 3, 2))
	for i := range run.Eval {
		run.Eval[i].Dataset = []string{"a", "a", "a", "a", "b", "b"}[i]
	}
	train, eval := gradients(t, run, run.Train), gradients(t, run, run.Eval)
	want := func(groups ...[]int) []float64 {
		out := make([]float64, len(train))
		for i := range out {
			out[i] = math.Inf(-1)
		}
		for _, g := range groups {
			for i, x := range meanCosines(train, eval, g) {
				out[i] = max(out[i], x)
			}
		}
		return out
	}
	influences := func(params ...string) [][]float64 {
		s := mustBuild(t, run, "icons", "faithful", append(params, "cache_dir: "+t.TempDir())...).(*icons)
		c := &scan{influence: s.influence, pool: s.run.Train}
		cosines, err := c.cosines(t.Context(), strings.Repeat("0123456789abcdef", 4), s.moments, 1, s.evalMean)
		if err := c.end(err); err != nil {
			t.Fatal(err)
		}
		return s.influences(cosines)
	}
	both := influences()
	compare(t, "influence on a", both[0], want([]int{0, 1, 2, 3}), 2e-4)
	compare(t, "influence on b", both[1], want([]int{4, 5}), 2e-4)
	run.Subtasks = []string{"x", "y", "x", "y", "x", "x"}
	both = influences()
	compare(t, "influence on a's subtasks", both[0], want([]int{0, 2}, []int{1, 3}), 2e-4)
	compare(t, "influence on b", both[1], want([]int{4, 5}), 2e-4)
	columns := influences("tasks: column")
	compare(t, "influence on x", columns[0], want([]int{0, 2, 4, 5}), 2e-4)
	compare(t, "influence on y", columns[1], want([]int{1, 3}), 2e-4)
	sizes := influences("task_boundaries: [5, 1]", "subtask_by: none")
	compare(t, "influence on the first five", sizes[0], want([]int{0, 1, 2, 3, 4}), 2e-4)
	compare(t, "influence on the last", sizes[1], want([]int{5}), 2e-4)

	for _, c := range []struct{ param, want string }{
		{"task_sizes: [1, 2]", "3 evaluation rows in total, and there are 6"},
		{"task_sizes: [6, 0]", "at least one evaluation row"},
		{"tasks: sizes", "needs task_sizes"},
		{"tasks: families", "auto, sizes or column"},
		{"vote_percent: 120", "at most 100"},
		{"task_size: [6]", "did you mean task_sizes?"},
	} {
		if _, err := build(t, run, "icons", "faithful", c.param); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.param, err)
		}
	}
}

// A row without labelled tokens has no vote.
func TestICONSUnlabelled(t *testing.T) {
	pool := rows(12, 3, 1)
	for i := range pool[5].Labels {
		pool[5].Labels[i] = -100
	}
	run := whole(t, pool, rows(3, 1, 2))
	for _, mode := range []string{"faithful", "upstream"} {
		s := mustBuild(t, run, "icons", mode, "proj_dim: 64", "cache_dir: "+t.TempDir())
		sel := selected(t, s, algo.Request{Step: 4, Update: 1, N: 12})
		if !math.IsNaN(sel.Score[5]) || slices.Contains(sel.Indices, 5) || len(sel.Indices) != 12 {
			t.Errorf("%s: row 5 has score %v; picked %v", mode, sel.Score[5], sel.Indices)
		}
	}
}
