package dataset

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A column is read by row, whatever the rows' format otherwise is.
func TestNumbers(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		file, text string
		want       []float64
		fault      string
	}{
		{"x.jsonl", `{"score":1}` + "\n" + `{"score":null}` + "\n" + `{"instruction":"a"}` + "\n" + `{"score":-2.5e3}`, []float64{1, nan, nan, -2500}, ""},
		{"x.json", `[{"score":0.25},{"score":NaN}]`, []float64{.25, nan}, ""},
		{"x.csv", "instruction,score\na,3\nb,\nc,1e-3\n", []float64{3, nan, .001}, ""},
		{"x.jsonl", `{"score":1}` + "\n" + `{"score":"high"}`, nil, `column 'score' is "high"; a number is expected`},
		{"x.jsonl", `{"score":true}`, nil, "a number is expected"},
		{"x.jsonl", `{"points":1,"a":2}`, nil, "column 'score' is missing: no row of"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, c.file), []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		catalog, err := OpenCatalog(dir, []byte(fmt.Sprintf(`{"x":{"file_name":%q}}`, c.file)))
		if err != nil {
			t.Fatal(err)
		}
		s, err := catalog.Source("x")
		if err != nil {
			t.Fatal(err)
		}
		got, err := Numbers(t.Context(), s, "score")
		same := slices.EqualFunc(got, c.want, func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) })
		switch {
		case c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)):
			t.Errorf("%s: %v, want %s", c.text, err, c.fault)
		case c.fault == "" && (err != nil || !same):
			t.Errorf("%s: %v, %v, want %v", c.text, got, err, c.want)
		}
	}
}
