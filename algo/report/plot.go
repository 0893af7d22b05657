package report

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"

	"dataflex.dev/dataflex/model/checkpoint"
)

// Series is a curve to draw.
type Series struct {
	Name  string
	X, Y  []float64
	Color color.Color
}

// LossKeys are the losses of a log history in the order they first appear: loss,
// and eval_loss or, with several evaluation sets, eval_<name>_loss of each.
func LossKeys(history []Object) []string {
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

// PlotLoss writes training_<key>.png of a log history, as LLaMA-Factory does: the
// values, light, and their smoothed curve. Values that are no finite number are
// left out. It reports whether there was anything to draw.
func PlotLoss(dir, key string, history []Object) (path string, ok bool, err error) {
	var x, y []float64
	for _, h := range history {
		v, isNumber := h.Get(key).(float64)
		step, isStep := h.Get("step").(int)
		if isNumber && isStep && !math.IsNaN(v) && !math.IsInf(v, 0) {
			x, y = append(x, float64(step)), append(y, v)
		}
	}
	if len(x) == 0 {
		return "", false, nil
	}
	path = filepath.Join(dir, "training_"+strings.ReplaceAll(key, "/", "_")+".png")
	// matplotlib's first colour, at 40 % for the values.
	light, dark := color.NRGBA{R: 31, G: 119, B: 180, A: 102}, color.NRGBA{R: 31, G: 119, B: 180, A: 255}
	err = Plot(path, fmt.Sprintf("training %s of %s", key, dir), "step", key,
		[]Series{{"original", x, y, light}, {"smoothed", x, Smooth(y), dark}})
	return path, err == nil, err
}

// Plot draws lines into a PNG of 640 x 480 pixels, on axes that carry something.
func Plot(path, title, x, y string, series []Series) error {
	p := plot.New()
	const size, margin = font.Length(10), font.Length(4)
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	for _, f := range []*font.Font{&p.Title.TextStyle.Font, &p.X.Label.TextStyle.Font, &p.Y.Label.TextStyle.Font, &p.X.Tick.Label.Font, &p.Y.Tick.Label.Font, &p.Legend.TextStyle.Font} {
		f.Variant, f.Size = "Sans", size
	}
	p.Title.TextStyle.Font.Size = fit(title, 12)
	p.Title.Padding, p.Legend.Padding = 2*margin, margin
	p.Legend.Top, p.Legend.XOffs, p.Legend.YOffs = true, -2*margin, -2*margin
	for _, s := range series {
		xys := make(plotter.XYs, len(s.X))
		for j := range xys {
			xys[j] = plotter.XY{X: s.X[j], Y: s.Y[j]}
		}
		line, err := plotter.NewLine(xys)
		if err != nil {
			return fmt.Errorf("plot %s: %w", path, err)
		}
		line.Color, line.Width = s.Color, vg.Points(1.5)
		p.Add(line)
		p.Legend.Add(s.Name, line)
	}
	canvas := vgimg.NewWith(vgimg.UseWH(6.4*vg.Inch, 4.8*vg.Inch), vgimg.UseDPI(100))
	p.Draw(draw.Crop(draw.New(canvas), 2*margin, -3*margin, 2*margin, -2*margin))
	var b bytes.Buffer
	if _, err := (vgimg.PngCanvas{Canvas: canvas}).WriteTo(&b); err != nil {
		return fmt.Errorf("plot %s: %w", path, err)
	}
	return checkpoint.WriteFile(path, b.Bytes())
}

// fit is a font size at which a title, with half an em a letter, stays on the
// 6.4 inches of the picture: output folders have long names.
func fit(title string, size font.Length) font.Length {
	const width = 6 * vg.Inch
	return min(size, 2*width/font.Length(max(utf8.RuneCountInString(title), 1)))
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
