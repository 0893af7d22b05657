package report

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"dataflex.dev/dataflex/algo/report/chart"
	"dataflex.dev/dataflex/data/pyjson"
)

// LossKeys are the losses in a log history in order of first appearance: loss, and eval_loss
// or, with several evaluation sets, eval_<name>_loss of each.
func LossKeys(history []pyjson.Object) []string {
	var keys []string
	for _, h := range history {
		for _, f := range h {
			isLoss := f.Key == "loss" || strings.HasPrefix(f.Key, "eval_") && strings.HasSuffix(f.Key, "_loss")
			if isLoss && !slices.Contains(keys, f.Key) {
				keys = append(keys, f.Key)
			}
		}
	}
	return keys
}

// Curve is the values of a key of a log history over the steps; NaN and Inf are left out.
func Curve(history []pyjson.Object, key string) (step, value []float64) {
	for _, h := range history {
		v, isNumber := h.Get(key).(float64)
		s, isStep := h.Get("step").(int)
		if isNumber && isStep && !math.IsNaN(v) && !math.IsInf(v, 0) {
			step, value = append(step, float64(s)), append(value, v)
		}
	}
	return step, value
}

// PlotLoss writes training_<key>.png of a log history, as LLaMA-Factory does: the values,
// faint, and their smoothed curve. ok is false where there is nothing to draw.
func PlotLoss(dir, key string, history []pyjson.Object) (path string, ok bool, err error) {
	x, y := Curve(history, key)
	if len(x) == 0 {
		return "", false, nil
	}
	path = filepath.Join(dir, "training_"+strings.ReplaceAll(key, "/", "_")+".png")
	axes := chart.Axes{Title: fmt.Sprintf("training %s of %s", key, dir), Name: "training " + key, X: "step", Y: key}
	err = chart.Lines(path, axes, []chart.Line{{Name: "original", X: x, Y: y, Faint: true}, {Name: "smoothed", X: x, Y: Smooth(y), Plain: true}})
	return path, err == nil, err
}

// Smooth is LLaMA-Factory's smoothing: an exponential average whose weight grows
// with the number of points n, w = 1.8 (σ(0.05 n) − 0.5).
func Smooth(y []float64) []float64 {
	w := 1.8 * (1/(1+math.Exp(-0.05*float64(len(y)))) - 0.5)
	out := make([]float64, len(y))
	if len(y) == 0 {
		return out
	}
	last := y[0]
	for i, v := range y {
		last = last*w + (1-w)*v
		out[i] = last
	}
	return out
}
