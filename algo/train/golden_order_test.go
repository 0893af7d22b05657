package train_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/report"
)

// compareOrder compares the sequence of rows of a dynamic_reorder run with upstream's. In a
// static one upstream has reordered the rows before it numbers them: the losses are compared
// elsewhere, here only that every row occurs.
func compareOrder(t *testing.T, ours, theirs string) {
	t.Helper()
	name := filepath.Base(theirs)
	if !strings.HasPrefix(name, "reorder_") {
		return
	}
	raw, err := os.ReadFile(filepath.Join(ours, report.PicksName))
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	for line := range strings.Lines(string(raw)) {
		var pick struct{ Index int }
		if err := json.Unmarshal([]byte(line), &pick); err != nil {
			t.Fatal(err)
		}
		got = append(got, pick.Index)
	}
	var trace struct {
		Micros []struct {
			Step int
			Rows []int
		} `json:"micro_batches"`
	}
	readJSON(t, filepath.Join(theirs, "trace.json"), &trace)
	var want []int
	for _, m := range trace.Micros {
		if name != "reorder_dyn_saw" || m.Step >= 2 { // the warm-up is not ordered
			want = append(want, m.Rows...)
		}
	}
	if name != "reorder_dyn_saw" {
		if len(got) != len(want) || !slices.Equal(slices.Sorted(slices.Values(got)), want) {
			t.Errorf("%s: rows %v, recorded %v", name, got, want)
		}
		return
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: rows %v, recorded %v", name, got, want)
	}
}
