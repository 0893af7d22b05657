package main

import (
	"dataflex.dev/dataflex/algo/report/chart"
)

// drawSelection shows what share of the picks is of the evaluation's family.
func drawSelection(path string, trials []*trial) error {
	methods := []string{"random", "less", "near", "tsds", "cluster_less", "zeroth", "zeroth-1"}
	return bars(path, chart.Axes{Title: "Rows of the evaluation's family among the picks", Y: "share"}, methods, trials, map[string]float64{"base rate": base}, part{"", "", " share"})
}

// drawNice shows the same for the two families of NICE's trial.
func drawNice(path string, trials []*trial) error {
	return bars(path, chart.Axes{Title: "Rows of the evaluation's family among the picks, rewards in place of answers", Y: "share"}, []string{"random", "less", "nice"}, trials,
		map[string]float64{"base rate": base}, part{"eval of " + niceTarget, niceTarget + " ", " share"}, part{"eval of " + niceLittle, niceLittle + " ", " share"})
}

func drawMixture(path string, trials []*trial) error {
	groups := append([]string{}, domains...)
	return bars(path, chart.Axes{Title: "Perplexity of every domain after the same number of steps", Y: "perplexity"}, append(groups, "mean", "worst"), trials, nil,
		part{"uniform", "uniform ", ""}, part{"doremi", "doremi ", ""}, part{"odm", "odm ", ""})
}

// drawBands shows how delta_loss's window slides.
func drawBands(path string, trials []*trial) error {
	a := chart.Axes{Title: "delta_loss: from the rows that fell most (0) to those that fell least (1)", X: "selection", Y: "mean place of the picks"}
	y := meanCurve(trials, "delta_loss place")
	return chart.Lines(path, a, []chart.Line{{Name: "picks", X: counting(2, len(y)), Y: y}})
}

func drawExperts(path string, trials []*trial) error {
	a := chart.Axes{Title: "dynamic_moe: weights and gate distances of two like domains and an odd one", X: "update"}
	var lines []chart.Line
	for _, name := range []string{odd, twins[0], twins[1]} {
		weight, distance := meanCurve(trials, "moe "+name), meanCurve(trials, "moe delta "+name)
		lines = append(lines, chart.Line{Name: "weight of " + name, X: counting(1, len(weight)), Y: weight},
			chart.Line{Name: "distance of " + name, X: counting(1, len(distance)), Y: distance, Dashed: true})
	}
	return chart.Lines(path, a, lines)
}

func drawRefusals(path string, trials []*trial) error {
	return bars(path, chart.Axes{Title: "30 % refusals: loss on clean rows", Y: "loss"}, []string{"unweighted", "linupper", "quadratic", "extremes", "adapt", "joint_update_aware"}, trials, nil,
		part{"all families", "refusals ", ""}, part{"the anchors' family", "refusals ", " family"})
}

func drawSwaps(path string, trials []*trial) error {
	return bars(path, chart.Axes{Title: "30 % swapped answers: loss on clean rows", Y: "loss"}, []string{"unweighted", "linupper", "quadratic", "adapt"}, trials, nil,
		part{"all families", "swaps ", ""}, part{"the anchors' family", "swaps ", " family"})
}

// part is one bar of every group; before and after form the key of its value with the group's
// name.
type part struct{ name, before, after string }

// bars draws a bar for every group and part, from the lowest seed to the highest.
func bars(path string, a chart.Axes, groups []string, trials []*trial, limits map[string]float64, parts ...part) error {
	floor := 0.0
	a.Floor, a.Note = &floor, "Bars: mean over the seeds. Whiskers: the lowest and the highest seed."
	var series []chart.Series
	for _, p := range parts {
		s := chart.Series{Name: p.name}
		for _, g := range groups {
			mean, low, high := spread(trials, p.before+g+p.after)
			s.Y, s.Low, s.High = append(s.Y, mean), append(s.Low, low), append(s.High, high)
		}
		series = append(series, s)
	}
	return chart.Bars(path, a, groups, series, limits)
}

func counting(from, n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = float64(from + i)
	}
	return out
}
