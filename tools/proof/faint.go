package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"

	"dataflex.dev/dataflex/algo/report/chart"
	"dataflex.dev/dataflex/tools/tasks"
)

// faintTarget is a family that the model knows well, so that its rows' gradients are small and
// their cosines differ as little as those of a real model's rows.
const faintTarget = "sort"

// faintTrial uses the pool of selectorTrial and an evaluation set of faintTarget; rows are
// selected by exact cosines and by those of gradients projected to 4096.
func faintTrial(ctx context.Context, l *lab, out *trial) error {
	pool, eval := l.pool(faintTarget, 32)
	if err := l.data(map[string][]tasks.Row{"pool": pool, "eval": eval}); err != nil {
		return err
	}
	l.base = selects
	for _, c := range []contender{
		{"exact", component{"less", keys{}}, nil},
		{"projected", component{"less", keys{"projection": "rademacher", "proj_dim": 4096}}, nil},
	} {
		r, err := l.run(ctx, c.key, c.over, c.component)
		if err != nil {
			return err
		}
		picks, err := r.picks()
		if err != nil {
			return err
		}
		out.set(c.key+" first", familyShare(pool, picks[:16], faintTarget))
		out.set(c.key+" all", familyShare(pool, picks, faintTarget))
		out.set(c.key+" missed", 1-familyShare(pool, picks, faintTarget))
		facts, err := r.facts()
		if err != nil {
			return err
		}
		for name, key := range map[string]string{"score_spread": " spread", "projection_error": " error"} {
			if x, ok := facts[name].(float64); ok {
				out.set(c.key+key, x)
			}
		}
	}
	return nil
}

// facts are the numbers that a selection after the 4 warm-up steps recorded about itself.
func (r result) facts() (map[string]any, error) {
	raw, err := os.ReadFile(filepath.Join(r.dir, "cache", "step_4.json"))
	if err != nil {
		return nil, err
	}
	var file struct{ Metric map[string]any }
	return file.Metric, json.Unmarshal(raw, &file)
}

func drawFaint(path string, trials []*trial) error {
	return bars(path, chart.Axes{Title: "Faint differences: rows of the evaluation's family among the picks", Y: "share"}, []string{"exact", "projected"}, trials,
		map[string]float64{"base rate": base}, part{"first 16 picks", "", " first"}, part{"all 64", "", " all"})
}
