package dataset

import (
	"strings"
	"testing"
)

// TestWeight: a weight column is read where the entry names it; null and a missing key are 1,
// an invalid weight is an error that names the row.
func TestWeight(t *testing.T) {
	const info = `{"d":{"file_name":"d.jsonl","columns":{"prompt":"instruction","response":"output","weight":"w"}},"csv":{"file_name":"d.csv","columns":{"prompt":"instruction","response":"output","weight":"w"}},"plain":{"file_name":"d.jsonl"}}`
	rows := func(weights ...string) string {
		var b strings.Builder
		for _, w := range weights {
			b.WriteString(`{"instruction":"a","input":"","output":"b"` + w + "}\n")
		}
		return b.String()
	}
	dir := folder(t, map[string]string{InfoFile: info, "d.jsonl": rows(`,"w":2`, `,"w":null`, ``, `,"w":0`, `,"w":0.5`), "d.csv": "instruction,output,w\na,b,3\na,b,\na,b,1e-1\n"})
	for name, want := range map[string][]float64{"d": {2, 1, 1, 0, 0.5}, "csv": {3, 1, float64(float32(0.1))}, "plain": {1, 1, 1, 1, 1}} {
		set := load(t, dir, name)
		for i, s := range set.Samples {
			if s.Weight() != want[i] {
				t.Errorf("%s, row %d: weight %v, want %v", name, i, s.Weight(), want[i])
			}
		}
	}
	for _, bad := range []string{`-1`, `"NaN"`, `"heavy"`, `true`, `[1]`, `1e999`, `-0.001`} {
		dir := folder(t, map[string]string{InfoFile: info, "d.jsonl": rows(`,"w":1`, `,"w":`+bad)})
		_, err := Load(t.Context(), Options{Dir: dir, Names: []string{"d"}})
		if err == nil || !strings.Contains(err.Error(), "row 1") || !strings.Contains(err.Error(), "column 'w' is") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
