package train_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/data"
)

// scored is a fixture whose rows have scores: row i of pool (7i mod 48)/48, of other 2+i.
func scored(t *testing.T) *fixture {
	f := small(t)
	for name, score := range map[string]func(i int) any{
		"pool":  func(i int) any { return float64(7*i%48) / 48 },
		"other": func(i int) any { return 2 + i },
	} {
		raw, err := os.ReadFile(filepath.Join(f.dir, name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var rows []map[string]any
		if err := json.Unmarshal(raw, &rows); err != nil {
			t.Fatal(err)
		}
		for i := range rows {
			rows[i]["score"] = score(i)
		}
		f.json(name+".json", rows)
	}
	raw, err := os.ReadFile(filepath.Join(f.dir, "run.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	f.write("run.yaml", strings.NewReplacer("update_times: 2\n", "", "eval_dataset: eval\n", "").Replace(string(raw))) // whole passes
	return f
}

// order writes a component with these parameters, and returns the arguments of a run with
// it.
func (f *fixture) order(params string, more ...string) []string {
	f.write("components.yaml", fmt.Sprintf("reorders:\n  it:\n    params: {%s}\n", params))
	out := []string{"train_type=dynamic_reorder", "component_name=it", "max_steps=-1", "overwrite_output_dir=true", "num_train_epochs=1"}
	return append(out, more...)
}

// served lists the rows of a run in the order of their training.
func (f *fixture) served() (out []data.ID) {
	f.t.Helper()
	raw, err := os.ReadFile(filepath.Join(f.dir, "out", report.PicksName))
	if err != nil {
		f.t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		var id data.ID
		if err := json.Unmarshal([]byte(line), &id); err != nil {
			f.t.Fatal(err)
		}
		out = append(out, id)
	}
	return out
}

// Regression 30: rows keep their scores whatever is done to the data: mixing, a held-out
// part, rows that were tokenised before. A row that has no place in the order is an error.
func TestRegression30RowsKeepTheirScores(t *testing.T) {
	t.Parallel()
	f := scored(t)
	score := func(id data.ID) float64 {
		if id.Dataset == "other" {
			return float64(2 + id.Row)
		}
		return float64(7*id.Row%48) / 48
	}
	var values []string
	for i := range 48 {
		values = append(values, fmt.Sprint(float64(7*i%48)/48))
	}
	f.write("list.json", "["+strings.Join(values, ",")+"]")
	f.write("named.jsonl", `{"dataset":"pool","row":1,"score":1}`+"\n")
	for _, c := range []struct {
		params string
		more   []string
		rows   int
	}{
		{"", nil, 48},
		{"", []string{"val_size=8"}, 40},
		{"", []string{"dataset=pool,other"}, 57},
		{"", []string{"dataset=pool,other", "mix_strategy=interleave_under", "interleave_probs=0.5,0.5"}, -1},
		{"", []string{"dataset=pool,other", "mix_strategy=interleave_over", "interleave_probs=0.5,0.5"}, -1},
		{"", []string{"max_samples=30"}, 30},
		{"score_params: {score_path: " + f.dir + "/list.json}", []string{"val_size=8"}, 40},
	} {
		f.must(f.order(c.params, c.more...)...)
		rows := f.served()
		if c.rows >= 0 && len(rows) != c.rows {
			t.Errorf("%s %v: %d rows, want %d", c.params, c.more, len(rows), c.rows)
		}
		last := math.Inf(-1)
		for i, id := range rows {
			if s := score(id); s < last {
				t.Fatalf("%s %v: place %d has %v with score %v after %v", c.params, c.more, i, id, s, last)
			} else {
				last = s
			}
		}
	}
	f.json("nulls.json", []map[string]any{{"instruction": "a", "input": "", "output": "b", "score": 1}, {"instruction": "c", "input": "", "output": "d", "score": nil}})
	for _, c := range []struct {
		params string
		more   []string
		want   string
	}{
		{"", []string{"dataset=single"}, "column 'score' is missing: no row of"},
		{"", []string{"packing=true"}, "packing: a packed row would hold rows of different scores"},
		{"", []string{"neat_packing=true"}, "packing: a packed row"},
		{"", []string{"group_by_length=true"}, "group_by_length: train_type dynamic_reorder already orders the rows"},
		{"", []string{"warmup_step=1", "update_step=2", "update_times=2"}, "the run has 5 steps, and a pass over the 48 rows takes 12"},
		{"score_params: {score_path: " + f.dir + "/named.jsonl}", nil, "47 of 48 rows have no score: row 0 of pool, row 2 of pool"},
		{"score_params: {score_path: " + f.dir + "/list.json}", []string{"dataset=pool,other"}, "name the rows"},
		{"apply_at: index, score_params: {score_path: " + f.dir + "/list.json}", []string{"val_size=8"}, "48 scores, and with apply_at: index it needs one for each of the 40"},
		{"pattern: saw, pattern_params: {x_pct: 3}", nil, `unknown parameter "x_pct" of component it, pattern_params`},
		{"patern: saw", nil, "did you mean pattern?"},
		{"score_params: {metric_key: loss}", nil, `unknown parameter "metric_key"`},
		{"pattern: wave", nil, "shuffle sorting"},
		{"kind: dynamic, consume_once: false", nil, "rescore: head"},
		{"pattern: saw, pattern_params: {num_sections: 3, folding_ratio: 0.2}", nil, "overlap"},
		{"polarity: up", nil, "higher_later"},
		{"score_source: cached_selection", nil, "cache_path"},
	} {
		err := f.run(f.order(c.params, c.more...)...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %v: %v, want %s", c.params, c.more, err, c.want)
		}
	}
	raw, err := os.ReadFile(filepath.Join(f.dir, "dataset_info.json"))
	if err != nil {
		t.Fatal(err)
	}
	f.write("dataset_info.json", strings.Replace(string(raw), "{", `{"nulls":{"file_name":"nulls.json"},`, 1))
	if err := f.run(f.order("", "dataset=nulls")...); err == nil || !strings.Contains(err.Error(), "1 of 2 rows have no score: row 1 of nulls") {
		t.Errorf("null: %v", err)
	}
}

// A pass of an order has every row once and ends with a short step; the next one has the
// same order again, or one by new scores.
func TestOrderedPasses(t *testing.T) {
	t.Parallel()
	f := scored(t)
	for _, params := range []string{"pattern: folding", "kind: dynamic, pattern: saw, pattern_params: {num_sections: 3, folding_ratio: 0.1}"} {
		f.must(f.order(params, "max_samples=30", "num_train_epochs=2", "warmup_step=0", "update_step=3")...)
		var rows []int
		for _, id := range f.served() {
			rows = append(rows, id.Row)
		}
		want := make([]int, 30)
		for i := range want {
			want[i] = i
		}
		if len(rows) != 60 || !slices.Equal(slices.Sorted(slices.Values(rows[:30])), want) || !slices.Equal(slices.Sorted(slices.Values(rows[30:])), want) {
			t.Errorf("%s: rows %v", params, rows)
		}
		if loss, _ := losses(t, filepath.Join(f.dir, "out")); len(loss) != 16 { // 30 rows are 7 steps of 4 and one of 2
			t.Errorf("%s: %d steps", params, len(loss))
		}
	}
}

// The metric in a step's file orders the rows that it covers; the others need fill_value.
func TestOrderByCachedSelection(t *testing.T) {
	t.Parallel()
	f := scored(t)
	f.write("step_9.json", `{"indices": [3, 1], "metric": {"loss": [0.5, NaN]}}`)
	f.write("step_10.json", `{"indices": [1, 2], "metric": {"loss": [0.25, 0.75], "other": {}}}`)
	params := "score_source: cached_selection, score_params: {cache_path: " + f.dir
	f.must(f.order(params+", fill_value: 1}", "max_samples=6")...)
	var rows []int
	for _, id := range f.served() {
		rows = append(rows, id.Row)
	}
	if !slices.Equal(rows, []int{1, 3, 2, 0, 4, 5}) {
		t.Errorf("rows %v", rows)
	}
	for more, want := range map[string]string{
		"}":                                 "3 of 6 rows have no score: row 0 of pool",
		"/step_10.json}":                    "4 of 6 rows have no score",
		"/step_9.json, metric_key: x}":      `there is no metric "x": there are [loss]`,
		"/step_10.json, metric_key: other}": "metric other is not a list of numbers",
	} {
		if err := f.run(f.order(params+more, "max_samples=6")...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", more, err, want)
		}
	}
}
