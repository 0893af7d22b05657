// Package chart draws every picture of the project: curves and bars, as PNG or, where
// the file's name ends in .svg, as SVG.
package chart

import (
	"bytes"
	"errors"
	"fmt"
	"image/color"
	"io"
	"math"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"dataflex.dev/dataflex/data/storage"
)

// Axes describes a picture's axes and texts.
type Axes struct {
	Title          string
	Name           string // replaces Title where the font lacks some of its letters
	X, Y           string
	Note           string    // below the picture: how to read it
	Log            bool      // both axes are logarithmic
	XTicks, YTicks []float64 // positions of ticks; nil = at round numbers
	Floor, Top     *float64  // the range of Y shown; nil = that of the data
}

// Line is a curve.
type Line struct {
	Name   string
	X, Y   []float64
	Dashed bool // a law or a limit: without markers
	Faint  bool // the raw values behind the next curve, in its colour: thin, without markers
	Plain  bool // without markers, because there are too many points
}

// Series is one bar in every group, with an optional whisker from Low to High.
type Series struct {
	Name         string
	Y, Low, High []float64
}

// colors are Okabe and Ito's palette, which readers with any of the common colour blindnesses
// can distinguish (Color Universal Design, 2008), except for the yellow, which is hard to see
// on white.
var colors = []color.NRGBA{
	{0, 114, 178, 255}, {213, 94, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255}, {230, 159, 0, 255}, {86, 180, 233, 255}, {0, 0, 0, 255},
}

// Markers and dashes differ as well, for print without colour and for more curves than colours.
var (
	shapes = []draw.GlyphDrawer{draw.CircleGlyph{}, draw.BoxGlyph{}, draw.PyramidGlyph{}, draw.RingGlyph{}, draw.SquareGlyph{}, draw.TriangleGlyph{}, draw.CrossGlyph{}}
	dash   = []vg.Length{vg.Points(4), vg.Points(3)}
)

// Picture is a drawing that has not been saved.
type Picture struct {
	axes   Axes
	plot   *plot.Plot
	legend plot.Legend
}

// Lines draws curves into a file.
func Lines(path string, a Axes, lines []Line) error {
	p, err := NewLines(a, lines)
	if err != nil {
		return fmt.Errorf("plot %s: %w", path, err)
	}
	return Save(path, p)
}

// NewLines draws curves. Points that are NaN or Inf are left out.
func NewLines(a Axes, lines []Line) (*Picture, error) {
	p, legend := a.plot(), a.legend()
	p.Add(plotter.NewGrid())
	which := 0
	for i, l := range lines {
		points := l.points(a.Log)
		if len(points) == 0 {
			continue
		}
		line, marks, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, err
		}
		c := colors[which%len(colors)]
		line.Color, line.Width = c, vg.Points(1.4)
		marks.Color, marks.Shape, marks.Radius = c, shapes[which%len(shapes)], vg.Points(2.2)
		name := entry(l.Name, fmt.Sprintf("curve %d", i+1))
		switch {
		case l.Faint:
			c.A = 90
			line.Color, line.Width = c, vg.Points(1)
			p.Add(line)
			legend.Add(name, line)
			continue // the next curve has the same colour
		case l.Dashed:
			line.Dashes = dash
			p.Add(line)
			legend.Add(name, line)
		case l.Plain && len(points) > 1:
			p.Add(line)
			legend.Add(name, line)
		default:
			p.Add(line, marks)
			legend.Add(name, line, marks)
		}
		which++
	}
	return &Picture{a, p, legend}, nil
}

func (l Line) points(logarithmic bool) (out plotter.XYs) {
	for j := range l.X {
		bad := math.IsNaN(l.X[j]+l.Y[j]) || math.IsInf(l.X[j], 0) || math.IsInf(l.Y[j], 0) || logarithmic && min(l.X[j], l.Y[j]) <= 0
		if !bad {
			out = append(out, plotter.XY{X: l.X[j], Y: l.Y[j]})
		}
	}
	return out
}

// errWhiskers is a programmer's error: a whisker can be a range, a deviation or an interval,
// and readers cannot guess which.
var errWhiskers = errors.New("whiskers without a note that explains them")

// Bars draws bars into a file.
func Bars(path string, a Axes, groups []string, series []Series, limits map[string]float64) error {
	p, err := NewBars(a, groups, series, limits)
	if err != nil {
		return fmt.Errorf("plot %s: %w", path, err)
	}
	return Save(path, p)
}

// NewBars draws a group of bars for every name, and limits as dashed horizontal lines.
func NewBars(a Axes, groups []string, series []Series, limits map[string]float64) (*Picture, error) {
	const room = 0.8 // share of the distance between groups that bars take
	p, legend := a.plot(), a.legend()
	width := (picture - 5*vg.Centimeter) / vg.Length(len(groups)+1) * room / vg.Length(len(series))
	for i, s := range series {
		bars, err := plotter.NewBarChart(plotter.Values(s.Y), width)
		if err != nil {
			return nil, err
		}
		offset := float64(i) - float64(len(series)-1)/2
		c := colors[i%len(colors)]
		c.A = 200
		bars.Color, bars.LineStyle.Width, bars.Offset = c, 0, width*vg.Length(offset)
		p.Add(bars)
		if s.Name != "" {
			legend.Add(entry(s.Name, fmt.Sprintf("bar %d", i+1)), bars)
		}
		if s.Low != nil {
			if a.Note == "" {
				return nil, errWhiskers
			}
			whiskers, err := s.whiskers(offset * room / float64(len(series)))
			if err != nil {
				return nil, err
			}
			p.Add(whiskers)
		}
	}
	for name, y := range limits {
		line := plotter.NewFunction(func(float64) float64 { return y })
		line.Dashes = dash
		p.Add(line)
		legend.Add(entry(name, "limit"), line)
		p.Y.Max = math.Max(p.Y.Max, y)
	}
	names := make([]string, len(groups))
	for i, g := range groups {
		names[i] = readable(g, fmt.Sprintf("group %d", i+1))
	}
	p.NominalX(names...)
	p.X.Min, p.X.Max = -0.6, float64(len(groups))-0.4
	p.Y.Max += 0.04 * math.Abs(p.Y.Max) // space above the highest whisker
	if a.Floor != nil {
		p.Y.Min = *a.Floor
	}
	if a.Top != nil {
		p.Y.Max = *a.Top
	}
	return &Picture{a, p, legend}, nil
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

// The size of a picture: 865 x 480 pixels.
const (
	picture = 18 * vg.Centimeter
	height  = 10 * vg.Centimeter
	dots    = 122 // per inch
)

// canvas is a picture's file format.
type canvas interface {
	vg.CanvasSizer
	io.WriterTo
}

// Save writes pictures, one below the other, to a file.
func Save(path string, pictures ...*Picture) error {
	all := height * vg.Length(len(pictures))
	var c canvas
	if filepath.Ext(path) == ".svg" {
		c = vgsvg.NewWith(vgsvg.UseWH(picture, all), vgsvg.EmbedFonts(false))
	} else {
		c = vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(picture, all), vgimg.UseDPI(dots))}
	}
	whole := draw.New(c)
	for i, p := range pictures {
		below := height * vg.Length(len(pictures)-1-i)
		p.axes.layout(p.plot, p.legend, draw.Crop(whole, 0, 0, below, below+height-all))
	}
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return fmt.Errorf("plot %s: %w", path, err)
	}
	// Few machines have the font; the others shall not take one with serifs. (Quotes in texts are escaped.)
	out := bytes.ReplaceAll(b.Bytes(), []byte(`style="font-family:Go;`), []byte(`style="font-family:Go,Arial,sans-serif;`))
	return storage.WriteFile(path, out)
}
