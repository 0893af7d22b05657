package report

import (
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"dataflex.dev/dataflex/data/pyjson"
)

func TestSmoothIsTheFormula(t *testing.T) {
	const w = 0.06737372161874929 // 1.8*(1/(1+math.exp(-.15))-.5) in Python, for three points
	want := []float64{4, 4*w + 2*(1-w), (4*w+2*(1-w))*w + 1*(1-w)}
	for i, got := range Smooth([]float64{4, 2, 1}) {
		if math.Abs(got-want[i]) > 1e-15 {
			t.Errorf("point %d: %v, not %v", i, got, want[i])
		}
	}
	if got := Smooth(nil); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

func TestPlotsOfARecordedRun(t *testing.T) {
	history, err := ReadHistory("testdata/recorded")
	if err != nil {
		t.Fatal(err)
	}
	history = append(history, pyjson.Object{{Key: "loss", Value: math.NaN()}, {Key: "step", Value: 21}}, pyjson.Object{{Key: "loss", Value: math.Inf(1)}, {Key: "step", Value: 22}})
	keys := LossKeys(history)
	if !slices.Equal(keys, []string{"loss", "eval_eval_zh8_loss", "eval_eval_en8_loss"}) {
		t.Fatalf("losses: %v", keys)
	}
	dir := t.TempDir()
	for _, key := range keys {
		path, ok, err := PlotLoss(dir, key, history)
		if err != nil || !ok || path != filepath.Join(dir, "training_"+key+".png") {
			t.Fatalf("%s: %s, %t, %v", key, path, ok, err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		picture, err := png.Decode(f)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err != nil || picture.Bounds().Dx() != 865 || picture.Bounds().Dy() != 480 {
			t.Fatalf("%s: %v, %v", path, picture, err)
		}
		blue := 0 // of the smoothed line
		for x := range 865 {
			for y := range 480 {
				if r, g, b, _ := picture.At(x, y).RGBA(); r>>8 < 60 && g>>8 > 90 && g>>8 < 140 && b>>8 > 150 {
					blue++
				}
			}
		}
		if blue < 200 {
			t.Errorf("%s: %d points of the line's colour", path, blue)
		}
	}
	if _, ok, err := PlotLoss(dir, "eval_loss", history); ok || err != nil {
		t.Errorf("a plot of nothing: %t, %v", ok, err)
	}
	if _, ok, err := PlotLoss(dir, "loss", history[len(history)-2:]); ok || err != nil {
		t.Errorf("a plot of NaN alone: %t, %v", ok, err)
	}
	if _, ok, err := PlotLoss(dir, "a/b", []pyjson.Object{{{Key: "a/b", Value: 1.0}, {Key: "step", Value: 1}}}); !ok || err != nil {
		t.Errorf("a plot of one point: %t, %v", ok, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "training_a_b.png")); err != nil {
		t.Error(err)
	}
}
