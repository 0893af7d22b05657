package main

import (
	"fmt"
	"path/filepath"

	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/algo/report/chart"
	"dataflex.dev/dataflex/tools/tasks"
)

// draw draws the demo's picture: the picks of LESS compared with random rows, and the resulting
// losses.
func draw(path, out string, pool []tasks.Row, less []window, base float64) error {
	random, err := windows(filepath.Join(out, "random", "selected_rows.jsonl"))
	if err != nil {
		return err
	}
	var steps []string
	for _, w := range less {
		steps = append(steps, fmt.Sprintf("step %d", w.step))
	}
	top := 1.0
	floor := 0.0
	picks, err := chart.NewBars(chart.Axes{Title: "Rows of the evaluation's family among the picks of every selection", Y: "share", Floor: &floor, Top: &top}, steps,
		[]chart.Series{{Name: "LESS", Y: shares(pool, less)}, {Name: "random", Y: shares(pool, random)}}, map[string]float64{"in all rows": base})
	if err != nil {
		return err
	}
	var curves []chart.Line
	for _, run := range []struct{ name, dir string }{{"LESS", "less"}, {"random", "random"}} {
		history, err := report.ReadHistory(filepath.Join(out, run.dir))
		if err != nil {
			return err
		}
		line := chart.Line{Name: run.name}
		line.X, line.Y = report.Curve(history, "eval_loss")
		curves = append(curves, line)
	}
	losses, err := chart.NewLines(chart.Axes{Title: "Loss on the evaluation set", X: "step", Y: "loss", Note: "Steps 0 to 4 are the warm-up: random rows in both runs."}, curves)
	if err != nil {
		return err
	}
	return chart.Save(path, picks, losses)
}

// shares are the shares of the target family in every selection.
func shares(pool []tasks.Row, all []window) (out []float64) {
	for _, w := range all {
		hits := 0
		for _, i := range w.rows {
			if pool[i].Family == tasks.Target {
				hits++
			}
		}
		out = append(out, float64(hits)/float64(len(w.rows)))
	}
	return out
}
