package main

import (
	"context"

	"dataflex.dev/dataflex/algo/report/chart"
	"dataflex.dev/dataflex/tools/tasks"
)

// consensusTasks are the families of the evaluation sets that icons has to serve together.
var consensusTasks = []string{tasks.Target, niceTarget}

// common is the family of two thirds of coincide's pool.
const common = "repeat"

// conceptTrial evaluates the methods that cover more than one kind of row: icons with two
// evaluation sets, one family each; coincide on all families of a pool of which two thirds are
// the same.
func conceptTrial(ctx context.Context, l *lab, out *trial) error {
	seed := uint64(l.seed)
	pool := tasks.Make(1000+seed, 120, 0.15, tasks.Families)
	sets := map[string][]tasks.Row{"pool": pool}
	for i, family := range consensusTasks {
		sets[family] = tasks.Only(tasks.Make(2000+10*seed+uint64(i), 16, 0, tasks.Families), family)
	}
	uneven := tasks.Only(tasks.Make(3000+seed, 400, 0, tasks.Families), common)
	for _, f := range tasks.Families {
		if f.Name != common {
			uneven = append(uneven, tasks.Only(tasks.Make(4000+seed, 40, 0, tasks.Families), f.Name)...)
		}
	}
	sets["uneven"] = uneven
	if err := l.data(sets); err != nil {
		return err
	}
	l.base = selects
	for _, c := range []contender{
		{"random", component{"random", keys{}}, keys{"eval_dataset": tasks.Target + "," + niceTarget}},
		{"icons", component{"icons", keys{}}, keys{"eval_dataset": tasks.Target + "," + niceTarget}},
		{"random-uneven", component{"random", keys{}}, keys{"dataset": "uneven", "eval_dataset": tasks.Target}},
		{"coincide", component{"coincide", keys{}}, keys{"dataset": "uneven", "eval_dataset": tasks.Target}},
	} {
		r, err := l.run(ctx, c.key, c.over, c.component)
		if err != nil {
			return err
		}
		picks, err := r.picks()
		if err != nil {
			return err
		}
		rows, wanted := pool, consensusTasks
		if c.over["dataset"] != nil {
			rows, wanted = uneven, []string{common}
		}
		share := familyShare(rows, picks, wanted...)
		out.set(c.key+" share", share)
		out.set(c.key+" others", 1-share)
	}
	return nil
}

func conceptClaims() []claim {
	const what = "rows of the family that two thirds of the pool are"
	transferable := lower("coincide", "the official code's values", what, "coincide share", "random-uneven share", "random",
		"shares go by likeness to other clusters and by variety inside; nothing in them favours rare rows").percentage()
	transferable.open = true
	return []claim{
		lower("icons", "sgd, two evaluation sets of a family each", "rows of neither family", "icons others", "random others", "random", "").percentage(),
		transferable,
	}
}

func drawConcepts(path string, trials []*trial) error {
	return bars(path, chart.Axes{Title: "icons: rows of the two evaluation families; coincide: rows of the commonest family", Y: "share"},
		[]string{"random", "icons", "random-uneven", "coincide"}, trials, nil, part{"", "", " share"})
}
