// Package chart draws the pictures of the studies in tools: curves and bars, as PNG.
package chart

import (
	"bytes"
	"fmt"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"

	"dataflex.dev/dataflex/model/checkpoint"
)

// Axes is what stands around a picture.
type Axes struct {
	Title, X, Y    string
	Log            bool // both axes are logarithmic
	XTicks, YTicks []plot.Tick
	Floor          *float64 // the lowest Y shown; nil = what the data needs
	Left           bool     // the legend stands at the left
}

// Line is a curve. A dashed one has no markers: a law, or a limit.
type Line struct {
	Name   string
	X, Y   []float64
	Dashed bool
}

// Series is one bar in every group. Low and High, where given, are its whisker.
type Series struct {
	Name         string
	Y, Low, High []float64
}

// Lines draws curves.
func Lines(path string, a Axes, lines []Line) error {
	p := a.plot()
	for i, l := range lines {
		points := make(plotter.XYs, len(l.X))
		for j := range points {
			points[j] = plotter.XY{X: l.X[j], Y: l.Y[j]}
		}
		line, marks, err := plotter.NewLinePoints(points)
		if err != nil {
			return fmt.Errorf("plot %s: %w", path, err)
		}
		line.Color, line.Width = plotutil.Color(i), vg.Points(1.3)
		if l.Dashed {
			line.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
			p.Add(line)
			p.Legend.Add(l.Name, line)
			continue
		}
		marks.Color, marks.Shape, marks.Radius = plotutil.Color(i), draw.CircleGlyph{}, vg.Points(2)
		p.Add(line, marks)
		p.Legend.Add(l.Name, line, marks)
	}
	p.Add(plotter.NewGrid())
	return save(p, path)
}

// Bars draws a group of bars for every name, and limits as dashed lines across.
func Bars(path string, a Axes, groups []string, series []Series, limits map[string]float64) error {
	const (
		room     = 0.8  // of the distance between groups is filled
		headroom = 1.18 // for the legend
	)
	p := a.plot()
	width := picture / font.Length(len(groups)+1) * room / font.Length(len(series))
	for i, s := range series {
		bars, err := plotter.NewBarChart(plotter.Values(s.Y), width)
		if err != nil {
			return fmt.Errorf("plot %s: %w", path, err)
		}
		offset := float64(i) - float64(len(series)-1)/2
		bars.Color, bars.LineStyle.Width, bars.Offset = plotutil.SoftColors[i%len(plotutil.SoftColors)], 0, width*font.Length(offset)
		p.Add(bars)
		if s.Name != "" {
			p.Legend.Add(s.Name, bars)
		}
		if s.Low != nil {
			whiskers, err := s.whiskers(offset * room / float64(len(series)))
			if err != nil {
				return fmt.Errorf("plot %s: %w", path, err)
			}
			p.Add(whiskers)
		}
	}
	for name, y := range limits {
		line := plotter.NewFunction(func(float64) float64 { return y })
		line.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
		p.Add(line)
		p.Legend.Add(name, line)
		p.Y.Max = math.Max(p.Y.Max, y)
	}
	p.Y.Max *= headroom
	p.NominalX(groups...)
	p.X.Min, p.X.Max = -0.6, float64(len(groups))-0.4
	if a.Floor != nil {
		p.Y.Min = *a.Floor
	}
	return save(p, path)
}

func (s Series) whiskers(offset float64) (*plotter.YErrorBars, error) {
	type spread struct {
		plotter.XYs
		plotter.YErrors
	}
	var e spread
	for i, y := range s.Y {
		e.XYs = append(e.XYs, plotter.XY{X: float64(i) + offset, Y: y})
		e.YErrors = append(e.YErrors, struct{ Low, High float64 }{y - s.Low[i], s.High[i] - y})
	}
	return plotter.NewYErrorBars(e)
}

// picture is the width of a picture.
const picture = 16 * vg.Centimeter

func (a Axes) plot() *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = a.Title, a.X, a.Y
	for _, f := range []*font.Font{&p.Title.TextStyle.Font, &p.X.Label.TextStyle.Font, &p.Y.Label.TextStyle.Font, &p.X.Tick.Label.Font, &p.Y.Tick.Label.Font, &p.Legend.TextStyle.Font} {
		f.Variant, f.Size = "Sans", 9
	}
	p.Title.TextStyle.Font.Size, p.Title.Padding = 11, 6
	p.Legend.Top, p.Legend.Left = true, a.Left
	if a.Log {
		p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	}
	if a.XTicks != nil {
		p.X.Tick.Marker = plot.ConstantTicks(a.XTicks)
	}
	if a.YTicks != nil {
		p.Y.Tick.Marker = plot.ConstantTicks(a.YTicks)
	}
	return p
}

func save(p *plot.Plot, path string) error {
	const margin = font.Length(6)
	canvas := vgimg.NewWith(vgimg.UseWH(picture, 10*vg.Centimeter), vgimg.UseDPI(110))
	p.Draw(draw.Crop(draw.New(canvas), margin, -2*margin, margin, -margin))
	var b bytes.Buffer
	if _, err := (vgimg.PngCanvas{Canvas: canvas}).WriteTo(&b); err != nil {
		return fmt.Errorf("plot %s: %w", path, err)
	}
	return checkpoint.WriteFile(path, b.Bytes())
}
