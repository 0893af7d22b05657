package chart

import (
	"image/color"
	"strings"
	"unicode"

	"golang.org/x/image/font/sfnt"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Font sizes, and the margin of a picture.
const (
	titleSize = font.Length(11)
	textSize  = font.Length(9)
	margin    = font.Length(6)
)

func (a Axes) plot() *plot.Plot {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = readable(a.X, "x"), readable(a.Y, "y")
	for _, f := range []*font.Font{&p.X.Label.TextStyle.Font, &p.Y.Label.TextStyle.Font, &p.X.Tick.Label.Font, &p.Y.Tick.Label.Font} {
		f.Variant, f.Size = "Sans", textSize
	}
	p.X.Tick.Marker, p.Y.Tick.Marker = ticker{at: a.XTicks}, ticker{at: a.YTicks}
	if a.Log {
		p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
		p.X.Tick.Marker, p.Y.Tick.Marker = ticker{at: a.XTicks, log: true}, ticker{at: a.YTicks, log: true}
	}
	return p
}

func (a Axes) legend() plot.Legend {
	l := plot.NewLegend()
	l.Top, l.Left = true, true
	l.Padding, l.ThumbnailWidth = margin/2, vg.Points(22)
	l.TextStyle.Font.Variant, l.TextStyle.Font.Size = "Sans", textSize
	return l
}

// entry is a legend's text, broken into lines so that the plot has enough room.
func entry(s, name string) string {
	const widest = 4.5 * vg.Centimeter
	return wrap(style(textSize), readable(s, name), widest)
}

func style(size font.Length) text.Style {
	s := text.Style{Color: color.Black, Font: font.From(plot.DefaultFont, size), Handler: plot.DefaultTextHandler, XAlign: draw.XLeft}
	s.Font.Variant = "Sans"
	return s
}

// title is the lines of the title: all of it, however long.
func (a Axes) title() string {
	return wrap(style(titleSize), readable(a.Title, readable(a.Name, "training")), picture-2*margin)
}

// layout draws the title across the picture, below it the plot, to its right the legend, so
// that it covers no curve, and the note at the bottom.
func (a Axes) layout(p *plot.Plot, legend plot.Legend, c draw.Canvas) {
	c = draw.Crop(c, margin, -margin, margin, -margin)
	if title := a.title(); title != "" {
		s := style(titleSize)
		s.YAlign = draw.YTop
		c.FillText(s, vg.Point{X: c.Min.X, Y: c.Max.Y}, title)
		c = draw.Crop(c, 0, 0, 0, -s.Height(title)-margin)
	}
	if a.Note != "" {
		s := style(textSize)
		s.YAlign = draw.YBottom
		note := wrap(s, readable(a.Note, ""), c.Max.X-c.Min.X)
		c.FillText(s, c.Min, note)
		c = draw.Crop(c, 0, 0, s.Height(note)+margin, 0)
	}
	r := legend.Rectangle(c)
	if w := min(r.Max.X-r.Min.X, (c.Max.X-c.Min.X)/2); w > 0 {
		legend.Draw(draw.Crop(c, c.Max.X-c.Min.X-w, 0, 0, -margin))
		c = draw.Crop(c, 0, -w-2*margin, 0, 0)
	}
	p.Draw(draw.Crop(c, 0, -margin, 0, 0))
}

// readable is a text, or its name where the font lacks one of its letters (it has those of
// Europe, Greek and Cyrillic included) and would draw a box.
func readable(s, name string) string {
	face := font.DefaultCache.Lookup(style(textSize).Font, textSize).Face
	var b sfnt.Buffer
	for _, r := range s {
		if glyph, err := face.GlyphIndex(&b, r); err != nil || glyph == 0 || !unicode.IsPrint(r) {
			return name
		}
	}
	return s
}

// wrap breaks a text into lines of at most a width, at spaces and slashes, or inside a word
// where there are none: nothing of a title is cut off.
func wrap(style text.Style, s string, width vg.Length) string {
	var lines []string
	line := ""
	for _, word := range words(s) {
		for style.Width(line+strings.TrimRight(word, " ")) > width {
			if line != "" {
				lines, line = append(lines, strings.TrimRight(line, " ")), ""
				continue
			}
			letters := []rune(word)
			fits := len(letters)
			for fits > 1 && style.Width(string(letters[:fits])) > width {
				fits--
			}
			lines, word = append(lines, string(letters[:fits])), string(letters[fits:])
		}
		line += word
	}
	return strings.Join(append(lines, line), "\n")
}

// words splits a text after every space and slash.
func words(s string) (out []string) {
	start := 0
	for i, r := range s {
		if r == ' ' || r == '/' {
			out, start = append(out, s[start:i+1]), i+1
		}
	}
	return append(out, s[start:])
}
