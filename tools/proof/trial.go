package main

import (
	"fmt"
	"math"
	"slices"
)

// trial is the measurements under one seed: numbers, and curves for the pictures.
type trial struct {
	Values map[string]float64
	Curves map[string][]float64
}

func newTrial() *trial { return &trial{Values: map[string]float64{}, Curves: map[string][]float64{}} }

func (t *trial) set(key string, v float64) { t.Values[key] = v }

// claim is a line of the table: what a method must achieve, with every seed.
type claim struct {
	method, setting, what string
	key                   string // of the trials' values
	percent               bool   // the value is formatted in percent
	least                 float64
	below                 string // the value must be below this one of the same trial; "" = at least `least`
	rival                 string // the name of `below` in the table
	open                  bool   // no claim is made: the line is for information
	why                   string // of a line that does not win, or that needs an explanation
}

// verdict is a claim with its measurements.
type verdict struct {
	claim
	mean, worst          float64
	rivalMean, rivalBest float64
	won                  bool
}

// judged compares a claim with every trial.
func (c claim) judged(trials []*trial) (verdict, error) {
	v := verdict{claim: c, won: true, worst: math.Inf(1), rivalBest: math.Inf(1)}
	if c.below != "" {
		v.worst = math.Inf(-1)
	}
	for _, t := range trials {
		x, ok := t.Values[c.key]
		if !ok || math.IsNaN(x) {
			return v, fmt.Errorf("%s: %q was not measured", c.method, c.key)
		}
		v.mean += x / float64(len(trials))
		if c.below == "" {
			v.worst = min(v.worst, x)
			v.won = v.won && x >= c.least
			continue
		}
		y, ok := t.Values[c.below]
		if !ok {
			return v, fmt.Errorf("%s: %q was not measured", c.method, c.below)
		}
		v.worst, v.rivalMean, v.rivalBest = max(v.worst, x), v.rivalMean+y/float64(len(trials)), min(v.rivalBest, y)
		v.won = v.won && x < y
	}
	return v, nil
}

// spread is the mean, lowest and highest of a value over the trials.
func spread(trials []*trial, key string) (mean, low, high float64) {
	var x []float64
	for _, t := range trials {
		x = append(x, t.Values[key])
		mean += t.Values[key] / float64(len(trials))
	}
	return mean, slices.Min(x), slices.Max(x)
}

// meanCurve is the mean of a curve over the trials.
func meanCurve(trials []*trial, key string) []float64 {
	var out []float64
	for _, t := range trials {
		for i, y := range t.Curves[key] {
			if i == len(out) {
				out = append(out, 0)
			}
			out[i] += y / float64(len(trials))
		}
	}
	return out
}
