package chart

import (
	"image/png"
	"os"
	"path/filepath"
	"testing"
)

// TestPictures: what is drawn is a PNG of the size that is meant, and not blank.
func TestPictures(t *testing.T) {
	dir := t.TempDir()
	floor := 0.0
	x := []float64{1, 10, 100}
	for name, err := range map[string]error{
		"lines.png": Lines(filepath.Join(dir, "lines.png"), Axes{Title: "lines", Log: true}, []Line{{Name: "a", X: x, Y: []float64{3, 2, 1}}, {Name: "law", X: x, Y: []float64{2, 2, 2}, Dashed: true}}),
		"bars.png": Bars(filepath.Join(dir, "bars.png"), Axes{Title: "bars", Floor: &floor}, []string{"p", "q"},
			[]Series{{Name: "a", Y: []float64{1, 2}, Low: []float64{0.5, 1}, High: []float64{2, 2}}, {Name: "b", Y: []float64{2, 1}}}, map[string]float64{"limit": 2.5}),
	} {
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		if b := img.Bounds(); b.Dx() != 693 || b.Dy() != 433 { // 16 x 10 cm at 110 dots per inch
			t.Errorf("%s: %v", name, b)
		}
		seen := map[[3]uint32]bool{}
		for y := range img.Bounds().Dy() {
			for x := range img.Bounds().Dx() {
				r, g, b, _ := img.At(x, y).RGBA()
				seen[[3]uint32{r, g, b}] = true
			}
		}
		if len(seen) < 10 {
			t.Errorf("%s has %d colours", name, len(seen))
		}
	}
}
