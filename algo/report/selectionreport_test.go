package report

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/data"
)

func TestSelectionReportsNumbers(t *testing.T) {
	dir := t.TempDir()
	pool := make([]data.Example, 10) // rows 0 to 5 of a, then 0 to 3 of b
	for i := range pool {
		pool[i].ID = data.ID{Dataset: "a", Row: i}
		if i >= 6 {
			pool[i].ID = data.ID{Dataset: "b", Row: i - 6}
		}
	}
	p, err := OpenPicks(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range []algo.Selection{
		{Indices: []int{0, 1, 6, 7}, Metric: map[string][]float64{"score": {4, 3, 2, 1}}},
		{Indices: []int{1, 2, 2, 8}, Metric: map[string][]float64{"score": {math.NaN(), 0.5, 0.5, -1e-5}}},
		{Indices: []int{0, 2, 3, 9}},
	} {
		if err := p.Write(algo.Request{Step: 4 + 4*i, Update: i + 1}, s, pool); err != nil {
			t.Fatal(err)
		}
	}
	appendTo(t, p.path, `{"step": 16, "upd`)
	path, ok, err := WriteSelectionReport(dir)
	if err != nil || !ok || path != filepath.Join(dir, SelectionReportName) {
		t.Fatalf("%s, %t, %v", path, ok, err)
	}
	const want = `# What was selected

Made from selected_rows.jsonl: 3 selections, from step 4 to step 12; 12 choices of 8 different rows.

| dataset | choices | share | different rows |
|---|---|---|---|
| a | 8 | 66.7 % | 4 |
| b | 4 | 33.3 % | 4 |
| all | 12 | 100.0 % | 8 |

| times chosen | rows |
|---|---|
| 1 | 5 |
| 2 | 2 |
| 3 | 1 |

Chosen most (row: number in its dataset's files, from 0):

| dataset | row | times |
|---|---|---|
| a | 2 | 3 |
| a | 0 | 2 |
| a | 1 | 2 |

## Each selection

rows: choices, where a row drawn twice counts twice. different: different rows; the columns after it count these.
as before: also in the selection just before. again: in any earlier selection. new: in none.

| step | update | rows | different | as before | again | new |
|---|---|---|---|---|---|---|
| 4 | 1 | 4 | 4 | – | 0 (0.0 %) | 4 |
| 8 | 2 | 4 | 3 | 1 (33.3 %) | 1 (33.3 %) | 2 |
| 12 | 3 | 4 | 4 | 1 (25.0 %) | 2 (50.0 %) | 2 |

## Share of each dataset

| step | a | b |
|---|---|---|
| 4 | 2 (50.0 %) | 2 (50.0 %) |
| 8 | 3 (75.0 %) | 1 (25.0 %) |
| 12 | 3 (75.0 %) | 1 (25.0 %) |

## Scores of the selected rows: score

| step | lowest | 25 % | median | 75 % | highest | mean | NaN |
|---|---|---|---|---|---|---|---|
| 4 | 1 | 1.75 | 2.5 | 3.25 | 4 | 2.5 | 0 |
| 8 | -1e-05 | 0.249995 | 0.5 | 0.5 | 0.5 | 0.33333 | 1 |
`
	if got := read(t, path); got != want {
		t.Errorf("got\n%s", got)
	}
	if _, err := OpenPicks(dir, true); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := WriteSelectionReport(dir); ok || err != nil {
		t.Errorf("a report of nothing: %t, %v", ok, err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Error("a new run keeps the old report")
	}
}

func TestSelectionReportNamesADamagedLine(t *testing.T) {
	for _, line := range []string{"rubbish", `{"step": 4}`, `{"step": 4, "index": 1, "dataset": "a", "row": 1.5}`} {
		dir := t.TempDir()
		appendTo(t, filepath.Join(dir, PicksName), "{\"step\": 4, \"index\": 1, \"dataset\": \"a\", \"row\": 1}\n"+line+"\n")
		if _, _, err := WriteSelectionReport(dir); err == nil || !strings.Contains(err.Error(), PicksName+":2:") {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestQuantilesOfFewValues(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		values []float64
		want   string
	}{
		{nil, "{[NaN NaN NaN NaN NaN] NaN 0}"},
		{[]float64{nan}, "{[NaN NaN NaN NaN NaN] NaN 1}"},
		{[]float64{3}, "{[3 3 3 3 3] 3 0}"},
		{[]float64{2, 1}, "{[1 1.25 1.5 1.75 2] 1.5 0}"},
		{[]float64{inf, 1, inf}, "{[1 +Inf +Inf +Inf +Inf] +Inf 0}"},
	} {
		if got := fmt.Sprint(measure(c.values)); got != c.want {
			t.Errorf("%v: %s, not %s", c.values, got, c.want)
		}
	}
}
