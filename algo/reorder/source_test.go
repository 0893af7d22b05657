package reorder

import (
	"slices"
	"testing"

	"dataflex.dev/dataflex/data"
)

// In mode upstream a plain list has a score for every row of all data sets, in their order, as
// DataFlex 1.1.0 reads it (recorded: dynamic and static orders of two data sets); rows that are
// mixed cannot be told apart by it.
func TestListOfSeveralDataSets(t *testing.T) {
	rows := func(sets ...string) (out []data.Example) {
		at := map[string]int{}
		for _, name := range sets {
			out = append(out, data.Example{ID: data.ID{Dataset: name, Row: at[name]}})
			at[name]++
		}
		return out
	}
	list := &table{path: "scores.json", list: []float64{0.4, 0.1, 0.3}}
	one := rows("a", "a", "b")
	if !oneAfterTheOther(one) || oneAfterTheOther(rows("a", "b", "a")) {
		t.Error("which rows follow each other by data set")
	}
	got, err := list.of(one, true)
	if err != nil || !slices.Equal(got, list.list) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := list.of(one, false); err == nil {
		t.Error("a list for several data sets names no row")
	}
}
