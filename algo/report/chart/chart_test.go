package chart

import (
	"errors"
	"image"
	"image/color"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"gonum.org/v1/plot"
)

func decode(t *testing.T, path string) image.Image {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// where are the bounds of the points of a colour.
func where(img image.Image, c color.NRGBA) (r image.Rectangle) {
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			if p := color.NRGBAModel.Convert(img.At(x, y)).(color.NRGBA); p == c {
				r = r.Union(image.Rect(x, y, x+1, y+1))
			}
		}
	}
	return r
}

// ink are the bounds of what is not white.
func ink(img image.Image, in image.Rectangle) (r image.Rectangle) {
	for y := in.Min.Y; y < in.Max.Y; y++ {
		for x := in.Min.X; x < in.Max.X; x++ {
			if cr, cg, cb, _ := img.At(x, y).RGBA(); cr+cg+cb < 3*0xc000 {
				r = r.Union(image.Rect(x, y, x+1, y+1))
			}
		}
	}
	return r
}

// TestTickLabelsReadBack: a label reads back as exactly its tick's value, labels are distinct,
// and there are enough of them.
func TestTickLabelsReadBack(t *testing.T) {
	check := func(ticks []plot.Tick, low, high float64) {
		t.Helper()
		seen := map[string]bool{}
		for i, tick := range ticks {
			v, err := strconv.ParseFloat(tick.Label, 64)
			if err != nil || v != tick.Value || seen[tick.Label] || v < low || v > high || i > 0 && v <= ticks[i-1].Value {
				t.Errorf("%v to %v: tick %v is labelled %q", low, high, tick.Value, tick.Label)
			}
			seen[tick.Label] = true
		}
		if len(ticks) < 3 || len(ticks) > 12 {
			t.Errorf("%v to %v: %d ticks", low, high, len(ticks))
		}
	}
	check(ticker{}.Ticks(6.95, 7.05), 6.95, 7.05) // was labelled 7 and 7
	check(ticker{}.Ticks(0.29, 0.31), 0.29, 0.31)
	check(ticker{}.Ticks(-1e-9, 2e-9), -1e-9, 2e-9)
	check(ticker{}.Ticks(1e6, 1e6+3), 1e6, 1e6+3)
	check(ticker{log: true}.Ticks(3, 700), 3, 700)
	check(ticker{log: true}.Ticks(1e-8, 1e-3), 1e-8, 1e-3)
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		low := (r.Float64() - 0.5) * math.Pow10(r.IntN(12)-6)
		high := low + math.Abs(low)*math.Pow10(r.IntN(8)-5)*(0.1+r.Float64())
		check(ticker{}.Ticks(low, high), low, high)
	}
	if got := (ticker{at: []float64{0.125, 512}}).Ticks(0, 1000); got[0].Label != "0.125" || got[1].Label != "512" {
		t.Errorf("given ticks: %v", got)
	}
	if got := (ticker{}).Ticks(2, 2); len(got) != 1 || got[0].Label != "2" {
		t.Errorf("one value: %v", got)
	}
}

// TestTicksOfOneValue: a curve of a single value, which gonum's plot widens by a bit, gets
// ticks, and quickly.
func TestTicksOfOneValue(t *testing.T) {
	for _, low := range []float64{2.66, -1e30, 1e-300} {
		if got := (ticker{}).Ticks(low, math.Nextafter(low, math.Inf(1))); len(got) != 1 || got[0].Value != low {
			t.Errorf("%v: %v", low, got)
		}
	}
}

// TestLegendBesideTheCurves: no part of the plot lies to the right of where the
// legend begins, and the legend is there.
func TestLegendBesideTheCurves(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lines.png")
	left := Line{Name: "far left", X: []float64{0, 1}, Y: []float64{0, 5}}
	for n := range 5 { // curves with ever longer names leave an ever smaller plot
		lines := []Line{left, {Name: strings.Repeat("a long name ", n+1), X: []float64{0, 1}, Y: []float64{5, 5}}}
		if err := Lines(path, Axes{Title: "curves", X: "step", Y: "loss"}, lines); err != nil {
			t.Fatal(err)
		}
		img := decode(t, path)
		second := where(img, colors[1]) // its curve along the top, and its sample in the legend
		curve, sample := 0, 0
		for x := second.Min.X; x < second.Max.X; x++ {
			here := false
			for y := range img.Bounds().Dy() {
				here = here || color.NRGBAModel.Convert(img.At(x, y)) == color.Color(colors[1])
			}
			switch {
			case here && sample == 0 && (curve == 0 || x-curve < 4):
				curve = x
			case here:
				sample = x
			}
		}
		if sample == 0 || sample-curve < 20 {
			t.Errorf("%d: the curve ends at %d, its legend at %d", n, curve, sample)
		}
		if text := ink(img, image.Rect(sample+2, 0, img.Bounds().Dx(), img.Bounds().Dy())); text.Max.X >= img.Bounds().Dx()-2 {
			t.Errorf("%d: the legend's text is cut: %v", n, text)
		}
	}
}

// TestTitles: a long title is broken into lines without loss; one that the font cannot show is
// replaced by its name.
func TestTitles(t *testing.T) {
	dir := t.TempDir()
	one := []Line{{Name: "a", X: []float64{1, 2}, Y: []float64{1, 2}}}
	long := "training loss of /data/users/somebody/" + strings.Repeat("experiment-with-a-long-name/", 6) + strings.Repeat("x", 150)
	got := Axes{Title: long}.title()
	if squeeze := strings.NewReplacer("\n", "", " ", ""); squeeze.Replace(got) != squeeze.Replace(long) {
		t.Errorf("the title became %q", got)
	}
	for line := range strings.SplitSeq(got, "\n") {
		if w := style(titleSize).Width(line); w > picture-2*margin {
			t.Errorf("%q is %v wide", line, w)
		}
	}
	path := filepath.Join(dir, "long.png")
	if err := Lines(path, Axes{Title: long}, one); err != nil {
		t.Fatal(err)
	}
	img := decode(t, path)
	if b := ink(img, img.Bounds()); b.Min.X < 2 || b.Max.X > img.Bounds().Dx()-2 || b.Min.Y < 2 {
		t.Errorf("ink reaches the edge: %v", b)
	}
	for title, want := range map[string]string{"训练损失": "training loss", "loss of ваше": "loss of ваше", "ß × Ω ≤ ∞ – “Ł”": "ß × Ω ≤ ∞ – “Ł”", "ѣ": "training loss", "a\x1b[31mb": "training loss", "é−1": "é−1"} {
		if got := (Axes{Title: title, Name: "training loss"}).title(); got != want {
			t.Errorf("%q: %q, not %q", title, got, want)
		}
	}
}

func TestBars(t *testing.T) {
	dir := t.TempDir()
	floor := 0.0
	series := []Series{{Name: "a", Y: []float64{1, 2}, Low: []float64{0.5, 1}, High: []float64{2, 2}}, {Name: "b", Y: []float64{2, 1}}}
	a := Axes{Title: "bars", Floor: &floor}
	if err := Bars(filepath.Join(dir, "x.png"), a, []string{"p", "q"}, series, nil); !errors.Is(err, errWhiskers) {
		t.Errorf("whiskers that nothing explains: %v", err)
	}
	a.Note = "Whiskers: lowest and highest."
	path := filepath.Join(dir, "bars.png")
	if err := Bars(path, a, []string{"p", "一"}, series, map[string]float64{"limit": 2.5}); err != nil {
		t.Fatal(err)
	}
	img := decode(t, path)
	if b := img.Bounds(); b.Dx() != 865 || b.Dy() != 480 {
		t.Errorf("size %v", b)
	}
	// The note is at the foot of the picture, left.
	if foot := ink(img, image.Rect(0, 462, 400, 480)); foot.Dx() < 100 {
		t.Errorf("no note: %v", foot)
	}
}

// TestSVG: the same picture as text, in which texts cannot become markup.
func TestSVG(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.svg")
	if err := Lines(path, Axes{Title: "<script>&", X: "step", Y: "loss"}, []Line{{Name: "a<b", X: []float64{1, 2}, Y: []float64{3, math.NaN()}}}); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(raw); !strings.Contains(s, "<svg") || !strings.Contains(s, "&lt;script&gt;&amp;") || strings.Contains(s, "<script") || !strings.Contains(s, "a&lt;b") ||
		strings.Count(s, "font-family:") != strings.Count(s, "font-family:Go,Arial,sans-serif;") {
		t.Errorf("%.2000s", s)
	}
}

// TestColoursOfTheColourBlind: seen by a deuteranope or a protanope (Viénot,
// Brettel, Mollon 1999), every two of the first six colours still differ.
func TestColoursOfTheColourBlind(t *testing.T) {
	linear := func(v uint8) float64 {
		x := float64(v) / 255
		if x <= 0.04045 {
			return x / 12.92
		}
		return math.Pow((x+0.055)/1.055, 2.4)
	}
	// Linear RGB to linear RGB, from the paper's LMS reductions.
	protan := [3][3]float64{{0.1124, 0.8876, 0}, {0.1124, 0.8876, 0}, {0.004, -0.004, 1}}
	deutan := [3][3]float64{{0.2928, 0.7072, 0}, {0.2928, 0.7072, 0}, {-0.0223, 0.0223, 1}}
	for name, m := range map[string][3][3]float64{"protan": protan, "deutan": deutan} {
		see := func(c color.NRGBA) (out [3]float64) {
			rgb := [3]float64{linear(c.R), linear(c.G), linear(c.B)}
			for i := range m {
				for j := range rgb {
					out[i] += m[i][j] * rgb[j]
				}
				out[i] = math.Cbrt(max(out[i], 0)) // about as light as it looks
			}
			return out
		}
		for i := range colors[:6] {
			for j := range i {
				a, b := see(colors[i]), see(colors[j])
				if d := math.Sqrt((a[0]-b[0])*(a[0]-b[0]) + (a[1]-b[1])*(a[1]-b[1]) + (a[2]-b[2])*(a[2]-b[2])); d < 0.08 {
					t.Errorf("%s: colours %d and %d are %.3f apart", name, j, i, d)
				}
			}
		}
	}
}
