package report

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"dataflex/model/checkpoint"
)

// Series is a curve to draw.
type Series struct {
	Name string
	X, Y []float64
}

// PlotLoss writes training_<key>.png of a log history, as LLaMA-Factory does: the
// values, light, and their smoothed curve. It reports whether there was anything
// to draw.
func PlotLoss(dir, key string, history []Object) (path string, ok bool, err error) {
	var s Series
	for _, h := range history {
		y, isNumber := h.Get(key).(float64)
		step, isStep := h.Get("step").(int)
		if isNumber && isStep {
			s.X, s.Y = append(s.X, float64(step)), append(s.Y, y)
		}
	}
	if len(s.X) == 0 {
		return "", false, nil
	}
	path = filepath.Join(dir, "training_"+strings.ReplaceAll(key, "/", "_")+".png")
	light, dark := color.RGBA{R: 31, G: 119, B: 180, A: 102}, color.RGBA{R: 31, G: 119, B: 180, A: 255}
	smoothed := Series{Name: "smoothed", X: s.X, Y: Smooth(s.Y)}
	s.Name = "original"
	err = Plot(path, fmt.Sprintf("training %s of %s", key, dir), "step", key, []Series{s, smoothed}, []color.Color{light, dark})
	return path, err == nil, err
}

// Plot draws lines into a PNG of 640 x 480 points.
func Plot(path, title, x, y string, series []Series, colors []color.Color) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Legend.Top = true
	p.Add(plotter.NewGrid())
	for i, s := range series {
		xys := make(plotter.XYs, len(s.X))
		for j := range xys {
			xys[j] = plotter.XY{X: s.X[j], Y: s.Y[j]}
		}
		line, err := plotter.NewLine(xys)
		if err != nil {
			return fmt.Errorf("plot %s: %w", path, err)
		}
		line.Color, line.Width = colors[i%len(colors)], vg.Points(1.5)
		p.Add(line)
		p.Legend.Add(s.Name, line)
	}
	w, err := p.WriterTo(vg.Points(640), vg.Points(480), "png")
	if err != nil {
		return fmt.Errorf("plot %s: %w", path, err)
	}
	var b bytes.Buffer
	if _, err := w.WriteTo(&b); err != nil {
		return fmt.Errorf("plot %s: %w", path, err)
	}
	return checkpoint.WriteFile(path, b.Bytes())
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
