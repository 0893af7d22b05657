package selector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/torchsort"
)

func init() { algo.RegisterSelector("icons", newICONS) }

// ICONS: Influence Consensus for Vision-Language Data Selection (Wu et al., 2024,
// arXiv:2501.00654), for text. The evaluation set consists of several tasks. A row's influence
// on a task is its mean cosine with the task's rows; every task votes for the rows whose
// influence reaches the (1-p)-quantile; the rows with the most votes are picked.
//
// faithful, as the official code: raw gradients (`gradient_type: adam` is possible); in a task
// the largest of its subtasks' means; p is `vote_percent` or, as the method is used once for a
// whole training run, the share of the pool that the run selects. Ties in votes are broken by
// the sum of the tasks' ranks, then by row. Gradients are compared unprojected, unless
// `projection` says otherwise.
// upstream: Adam's direction, TRAK's projection, p the share of the pool in one window; ties as
// torch.topk breaks them.
//
// Tasks (`tasks`): sizes, consecutive evaluation rows counted by task_sizes (upstream's
// task_boundaries); column, those of the data's `subtask` column; auto, task_sizes where given,
// else the data sets of eval_dataset.
type icons struct {
	*influence
	taskOf []int   // the task of every subtask
	count  int     // tasks
	share  float64 // p; 0 = the selected share
}

// Cost is a gradient of every row.
func (s *icons) Cost() algo.Cost {
	return algo.Cost{Gradient: float64(s.groups()), EvalGradient: 1}
}

func newICONS(run *algo.Run, mode algo.Mode, p *config.Params) (algo.Selector, error) {
	d := influenceDefaults{name: "icons", dim: 5120, seed: 0, cacheDir: "cache/icons", gradient: "sgd"}
	if mode == algo.Upstream {
		d.dim, d.seed, d.gradient = 8192, defaultSeed, "adam"
	}
	base, err := newInfluence(run, mode, p, d)
	if err != nil {
		return nil, err
	}
	s := &icons{influence: base}
	by, percent := p.String("tasks", "auto"), p.Float("vote_percent", 0)
	sizes, boundaries := p.Ints("task_sizes", nil), p.Ints("task_boundaries", nil)
	if err := p.Err(); err != nil {
		return nil, err
	}
	key := "task_sizes"
	if sizes == nil {
		key, sizes = "task_boundaries", boundaries
	} else if boundaries != nil {
		return nil, p.Wrap("task_boundaries", errors.New("this is upstream's name of task_sizes, which is set, too: leave one out"))
	}
	if percent < 0 || percent > 100 {
		return nil, p.Wrap("vote_percent", fmt.Errorf("each task votes for more than 0 and at most 100 percent of the pool, not %v", percent))
	}
	s.share = percent / 100
	if by, err = taskSource(by, mode, sizes); err != nil {
		return nil, p.Wrap("tasks", err)
	}
	if run.Outline { // the evaluation rows have not been read
		return s, nil
	}
	if by == "sizes" {
		if err := checkSizes(sizes, len(run.Eval)); err != nil {
			return nil, p.Wrap(key, err)
		}
	}
	s.divide(by, sizes)
	return s, s.fitMeans()
}

// taskSource is the source of the tasks.
func taskSource(by string, mode algo.Mode, sizes []int) (string, error) {
	switch {
	case by != "auto" && by != "sizes" && by != "column":
		return "", fmt.Errorf("tasks is auto, sizes or column, not %q", by)
	case by == "column" && sizes != nil:
		return "", errors.New("task_sizes are set, which only tasks: sizes or auto use")
	case by == "column":
		return by, nil
	case sizes != nil:
		return "sizes", nil
	case by == "sizes":
		return "", errors.New("tasks: sizes needs task_sizes: how many evaluation rows each task has, in order")
	case mode == algo.Upstream:
		return "one", nil
	}
	return "dataset", nil
}

func checkSizes(sizes []int, rows int) error {
	sum := 0
	for _, n := range sizes {
		if n < 1 {
			return fmt.Errorf("a task has at least one evaluation row, not %d", n)
		}
		sum += n
	}
	if sum != rows {
		return fmt.Errorf("the tasks have %d evaluation rows in total, and there are %d (rows that preprocessing drops do not count)", sum, rows)
	}
	return nil
}

// divide groups the evaluation rows by task and, within a task, by subtask.
func (s *icons) divide(by string, sizes []int) {
	task := func(int) any { return nil }
	switch by {
	case "sizes":
		var of []int
		for k, n := range sizes {
			of = append(of, slices.Repeat([]int{k}, n)...)
		}
		task = func(i int) any { return of[i] }
	case "dataset":
		task = func(i int) any { return s.run.Eval[i].Dataset }
	case "column":
		task = func(i int) any {
			if s.run.Subtasks == nil {
				return nil
			}
			return s.run.Subtasks[i]
		}
	}
	var groups [][]int
	taskAt, groupAt := map[any]int{}, map[[2]int]int{}
	s.taskOf = nil
	for sub, rows := range s.tasks { // subtasks as in the other influence methods
		for _, row := range rows {
			t, ok := taskAt[task(row)]
			if !ok {
				t = len(taskAt)
				taskAt[task(row)] = t
			}
			g, ok := groupAt[[2]int{t, sub}]
			if !ok {
				g = len(groups)
				groupAt[[2]int{t, sub}] = g
				groups, s.taskOf = append(groups, nil), append(s.taskOf, t)
			}
			groups[g] = append(groups[g], row)
		}
	}
	s.tasks, s.count = groups, len(taskAt)
}

func (s *icons) Select(ctx context.Context, r algo.Request) (algo.Selection, error) {
	p := poolOf(s.run, r)
	c := &scan{influence: s.influence, pool: p.examples}
	cosines, err := c.cosines(ctx, r.Key, s.moments, 1, s.evalMean)
	var tasks [][]float64
	if err == nil {
		tasks = s.influences(cosines)
		err = scored(s.run.Log, p.examples, tasks[0])
	}
	if err := c.end(err); err != nil {
		return algo.Selection{}, err
	}
	e := s.elect(tasks, byIdentity(p.examples), r)
	facts := c.projectionFacts(tasks[0])
	facts["num_tasks"], facts["vote_share"], facts["thresholds"] = s.count, e.share, e.thresholds
	if s.mode == algo.Upstream {
		facts = nil // upstream's step files have none
	}
	return algo.Selection{
		Indices: p.positions(e.indices), Metric: map[string][]float64{"icons_votes": pick(e.votes, e.indices)}, Score: p.spread(e.score), Facts: facts,
		Scored: len(p.examples)*s.groups() + len(s.run.Eval),
	}, nil
}

// influences is every task's influence of every row: the largest over its subtasks.
func (s *icons) influences(cosines []float32) [][]float64 {
	n := len(s.tasks)
	rows := len(cosines) / n
	out := make([][]float64, s.count)
	for t := range out {
		out[t] = make([]float64, rows)
		for i := range out[t] {
			out[t][i] = math.Inf(-1)
		}
	}
	for i := range rows {
		for g, t := range s.taskOf {
			out[t][i] = max(out[t][i], float64(cosines[i*n+g])) // NaN if any is
		}
	}
	return out
}

// election is the result of the tasks' votes.
type election struct {
	indices      []int
	votes, score []float64 // NaN for a row without a gradient; rows are picked in the order of score
	thresholds   []float64
	share        float64
}

// elect lets every task vote. Rows without a gradient have no influence on any. Rows with equal
// votes and ranks are ordered by place.
func (s *icons) elect(tasks [][]float64, place []float64, r algo.Request) election {
	n := len(tasks[0])
	e := election{votes: make([]float64, n), score: make([]float64, n), share: s.voteShare(n, r)}
	for _, influence := range tasks {
		var valid []float32
		for _, x := range influence {
			if !math.IsNaN(x) {
				valid = append(valid, float32(x))
			}
		}
		threshold := torchsort.Quantile(valid, 1-e.share)
		e.thresholds = append(e.thresholds, float64(threshold))
		rank := ranked(influence)
		for i, x := range influence {
			switch {
			case math.IsNaN(x):
				e.votes[i] = x
			case float32(x) >= threshold:
				e.votes[i]++
			}
			e.score[i] += rank[i] / float64(len(tasks)+1)
		}
	}
	for i := range e.score {
		e.score[i] += e.votes[i]
	}
	if s.mode == algo.Upstream {
		e.score = e.votes
	}
	e.indices = topAmong(s.mode, e.score, place, r.N)
	return e
}

// voteShare is p.
func (s *icons) voteShare(n int, r algo.Request) float64 {
	wanted := r.N
	if s.mode == algo.Faithful {
		if s.share > 0 {
			return s.share
		}
		wanted *= max(1, s.run.Updates)
	}
	return min(1, float64(wanted)/float64(n))
}

// ranked is the share of the other values that each value exceeds; equal values have the same
// rank. NaN has 0.
func ranked(x []float64) []float64 {
	order := make([]int, 0, len(x))
	for i, v := range x {
		if !math.IsNaN(v) {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(x[a], x[b]) })
	out := make([]float64, len(x))
	first := 0
	for k, i := range order {
		if x[i] != x[order[first]] {
			first = k
		}
		out[i] = float64(first) / float64(max(1, len(order)-1))
	}
	return out
}
