package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"dataflex.dev/dataflex/algo/report/chart"
)

// curves are the contenders whose losses are followed over the steps.
var curves = []string{"random", "full", "less"}

// every is how many steps lie between two points of a curve.
func every(s scale) int { return max(1, (s.warmup+s.steps)/8) }

// stepsCells repeat select's runs with checkpoints, whose losses on the held-out sets are the
// points of a curve. What the runs of select have chosen is in their caches, and not chosen
// again where it is still there.
func stepsCells(s scale, seed int) []cell {
	var out []cell
	for _, name := range curves {
		out = append(out, cell{fmt.Sprintf("steps/%s/seed-%d", name, seed), func(ctx context.Context, l *lab) (map[string]float64, error) {
			return l.follows(ctx, s, seed, name)
		}})
	}
	return out
}

func (l *lab) follows(ctx context.Context, s scale, seed int, name string) (map[string]float64, error) {
	w := windowsOf(s, name)
	_, over, err := l.selection(s, seed, name, w)
	if err != nil {
		return nil, err
	}
	over["save_strategy"], over["save_steps"], over["save_only_model"] = "steps", every(s), true
	c := contenders[name]
	r, err := l.run(ctx, "run", over, c.component, with(c.params, keys{"cache_dir": filepath.Join(l.options.out, "runs", selectID(name, seed), "run", "cache")}))
	if err != nil {
		return nil, err
	}
	values := map[string]float64{}
	for step := every(s); step <= w.total(); step += every(s) {
		if err := l.held(ctx, filepath.Join(r.dir, fmt.Sprintf("checkpoint-%d", step)), at(step), values); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// at is what follows the name of a value that was measured at a step.
func at(step int) string { return fmt.Sprintf(" at %d", step) }

// drawSteps draws the medians over the seeds, with the range of each as faint curves, into
// steps.png in a folder; nothing where no such cell has run.
func drawSteps(dir string, s *store, cells []cell, size scale) error {
	lines, err := linesOf(s, cells, "steps")
	if err != nil || len(lines) == 0 {
		return err
	}
	var drawn []chart.Line
	for _, l := range lines {
		middle := chart.Line{Name: l.name}
		low, high := chart.Line{Name: l.name + ", lowest", Faint: true}, chart.Line{Name: l.name + ", highest", Faint: true}
		for step := every(size); step <= size.warmup+size.steps; step += every(size) {
			x := l.values(column{value: "target loss" + at(step)})
			if len(x) == 0 {
				continue
			}
			for _, of := range []struct {
				line *chart.Line
				y    float64
			}{{&low, x[0]}, {&high, x[len(x)-1]}, {&middle, median(x)}} {
				of.line.X, of.line.Y = append(of.line.X, float64(step)), append(of.line.Y, of.y)
			}
		}
		drawn = append(drawn, low, high, middle)
	}
	axes := chart.Axes{
		Title: "The target's loss on rows held out", X: "step", Y: "loss",
		Note: fmt.Sprintf("Medians of %d seeds, between the lowest and the highest. Rows are chosen after step %d.", seedsOf(lines), size.warmup),
	}
	return chart.Lines(filepath.Join(dir, "steps.png"), axes, drawn)
}

// seedsOf is the number of seeds of the line that has most.
func seedsOf(lines []*line) (n int) {
	for _, l := range lines {
		n = max(n, len(l.results))
	}
	return n
}

// median is that of sorted numbers.
func median(x []float64) float64 { return (x[(len(x)-1)/2] + x[len(x)/2]) / 2 }

// values are those of a column, one a seed, in ascending order.
func (l *line) values(c column) (x []float64) {
	for _, r := range l.results {
		if v, ok := r.Values[c.value]; ok && (!c.time || r.idle()) {
			x = append(x, v)
		}
	}
	slices.Sort(x)
	return x
}
