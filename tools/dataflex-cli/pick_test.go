package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"dataflex.dev/dataflex/data/dataset"
	"dataflex.dev/dataflex/data/pyjson"
)

// pickFolder is a dataset_dir with the data sets a (JSON lines), b (CSV) and p (parquet),
// and scores of a and b.
func pickFolder(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"data/dataset_info.json": `{"a": {"file_name": "a.jsonl"}, "b": {"file_name": "b.csv"}, "p": {"file_name": "p.parquet"},
 "c": {"file_name": "a.jsonl", "formatting": "sharegpt", "columns": {"messages": "m"}}}`,
		"data/a.jsonl": `{"instruction":"eins","output":"1","n":1.0,"big":123456789012345678901234567890}
{"instruction": "zwei é é", "output": "2", "n": 1e5, "x": {"k": [1, null]}}

{"instruction":"drei","output":"3"}
{"instruction":"vier","output":"4", "x": {"k": []}}
`,
		"data/b.csv": "instruction,output\nfünf,5\nsechs,NA\n",
		"scores.jsonl": `{"index": 0, "dataset": "a", "row": 3, "score": 0.5}
{"index": 1, "dataset": "b", "row": 0, "score": 0.25}
{"index": 2, "dataset": "a", "row": 0, "score": 0.5}
{"index": 3, "dataset": "a", "row": 1, "score": 2}
{"index": 4, "dataset": "b", "row": 1, "score": 1.5}
{"index": 5, "dataset": "a", "row": 2, "score": null}
`,
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func options(change func(*pickOptions)) pickOptions {
	o := pickOptions{out: "out/d.jsonl", dir: "data", quantile: math.NaN(), minScore: math.NaN()}
	if change != nil {
		change(&o)
	}
	return o
}

// TestPickChooses: the rows chosen by each flag, of six rows with two equal scores, one
// without, in two data sets. The quantiles are numpy's: of .25 .5 .5 1.5 2 the .75-th is 1.5,
// of a's .5 .5 2 the .5-th .5.
func TestPickChooses(t *testing.T) {
	pickFolder(t)
	path, rows, err := readScores("scores.jsonl")
	if err != nil || path != "scores.jsonl" || len(rows) != 6 {
		t.Fatal(path, rows, err)
	}
	for _, c := range []struct {
		change func(*pickOptions)
		want   string
	}{
		{func(o *pickOptions) { o.top = 1 }, "a1/0"},
		{func(o *pickOptions) { o.top = 3 }, "a1/0 a3/2 b1/1"},
		{func(o *pickOptions) { o.top = 99 }, "a0/3 a1/0 a3/2 b0/4 b1/1"},
		{func(o *pickOptions) { o.quantile = 0.75 }, "a1/0 b1/1"},
		{func(o *pickOptions) { o.quantile = 0.76 }, "a1/0"},
		{func(o *pickOptions) { o.minScore = 0.5 }, "a0/3 a1/0 a3/2 b1/1"},
		{func(o *pickOptions) { o.minScore, o.top = 0.5, 2 }, "a1/0 b1/1"},
		{func(o *pickOptions) { o.minScore, o.quantile = 1.6, 0.5 }, "a1/0"},
		{func(o *pickOptions) { o.top, o.perDataset = 1, true }, "a1/0 b1/1"},
		{func(o *pickOptions) { o.quantile, o.perDataset = 0.5, true }, "a0/3 a1/0 a3/2 b1/1"},
		{func(o *pickOptions) { o.minScore = 3 }, ""},
	} {
		o := options(c.change)
		picked, unscored := o.choose(slices.Clone(rows))
		var got []string
		for _, r := range picked {
			got = append(got, fmt.Sprintf("%s%d/%d", r.Dataset, r.Row, r.Rank))
		}
		if strings.Join(got, " ") != c.want || unscored != 1 {
			t.Errorf("%+v: %v, want %s", o, got, c.want)
		}
	}
}

// TestPickLines: the rows' own bytes with our columns appended, and the entry.
func TestPickLines(t *testing.T) {
	pickFolder(t)
	if err := pick(t.Context(), "scores.jsonl", options(func(o *pickOptions) { o.minScore = 0.3 }), io.Discard); err != nil {
		t.Fatal(err)
	}
	want := `{"instruction":"eins","output":"1","n":1.0,"big":123456789012345678901234567890, "dataflex_score": 0.5, "dataflex_rank": 3, "dataflex_dataset": "a", "dataflex_row": 0}
{"instruction": "zwei é é", "output": "2", "n": 1e5, "x": {"k": [1, null]}, "dataflex_score": 2.0, "dataflex_rank": 0, "dataflex_dataset": "a", "dataflex_row": 1}
{"instruction":"vier","output":"4", "x": {"k": []}, "dataflex_score": 0.5, "dataflex_rank": 2, "dataflex_dataset": "a", "dataflex_row": 3}
{"instruction": "sechs", "output": null, "dataflex_score": 1.5, "dataflex_rank": 1, "dataflex_dataset": "b", "dataflex_row": 1}
`
	if got, err := os.ReadFile("out/d.jsonl"); err != nil || string(got) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
	info := "{\n  \"d\": {\n    \"file_name\": \"d.jsonl\"\n  }\n}\n"
	if got, err := os.ReadFile("out/dataset_info.json"); err != nil || string(got) != info {
		t.Errorf("%v\n%s", err, got)
	}
}

// TestPickRun: the rows that a run chose, each once with its best score, from its folder.
func TestPickRun(t *testing.T) {
	pickFolder(t)
	if err := os.MkdirAll("run", 0o755); err != nil {
		t.Fatal(err)
	}
	text := `{"step": 2, "update": 1, "rank": 0, "index": 1, "dataset": "a", "row": 1, "loss": 0.5}
{"step": 2, "update": 1, "rank": 1, "index": 0, "dataset": "a", "row": 0}
{"step": 4, "update": 2, "rank": 0, "index": 1, "dataset": "a", "row": 1, "loss": 0.75}
`
	if err := os.WriteFile("run/selected_rows.jsonl", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := pick(t.Context(), "run", options(func(o *pickOptions) { o.top = 5 }), io.Discard); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("out/d.jsonl")
	if err != nil || strings.Count(string(got), "\n") != 1 || !strings.Contains(string(got), `"dataflex_score": 0.75, "dataflex_rank": 0, "dataflex_dataset": "a", "dataflex_row": 1, "dataflex_times": 2}`) {
		t.Errorf("%v\n%s", err, got)
	}
}

// TestPickRefuses: no data is lost, and no partial file remains.
func TestPickRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*pickOptions)
		scores string
		want   string
	}{
		"no file":         {func(o *pickOptions) { o.out, o.top = "", 1 }, "", "--out is missing"},
		"another kind":    {func(o *pickOptions) { o.out, o.top = "d.csv", 1 }, "", ".jsonl and .parquet are written"},
		"nothing said":    {nil, "", "--top, --quantile or --min-score"},
		"the input":       {func(o *pickOptions) { o.out, o.top, o.overwrite = "data/a.jsonl", 1, true }, "", "data/a.jsonl is a file of data set a"},
		"the scores":      {func(o *pickOptions) { o.out, o.top, o.overwrite = "scores.jsonl", 1, true }, "", "is the file of the scores"},
		"is there":        {func(o *pickOptions) { o.out, o.top = "there.jsonl", 1 }, "", "there.jsonl exists: --overwrite"},
		"has an entry":    {func(o *pickOptions) { o.out, o.name, o.top = "data/d.jsonl", "b", 1 }, "", "has an entry b: --name"},
		"a missing row":   {func(o *pickOptions) { o.top = 1 }, `{"dataset": "a", "row": 4, "score": 1}`, "no row 4: its files hold 4 rows"},
		"no data set":     {func(o *pickOptions) { o.top = 1 }, `{"dataset": "z", "row": 4, "score": 1}`, "Undefined dataset z"},
		"two kinds":       {func(o *pickOptions) { o.top = 2 }, `{"dataset": "a", "row": 0, "score": 1}` + "\n" + `{"dataset": "c", "row": 0, "score": 1}`, "one by one with --dataset"},
		"no scores":       {func(o *pickOptions) { o.top = 1 }, `{"dataset": "a", "row": 0, "score": null}`, "none of 1 rows is picked"},
		"a word":          {func(o *pickOptions) { o.top = 1 }, `{"dataset": "a", "row": 0, "score": "x"}`, "s.jsonl, line 1: score is not a number"},
		"a mixed column":  {func(o *pickOptions) { o.top, o.out = 2, "d.parquet" }, `{"dataset": "m", "row": 0, "score": 1}` + "\n" + `{"dataset": "m", "row": 1, "score": 1}`, "dataset m, row 1: column k is a list here and text in an earlier row"},
		"picked already":  {func(o *pickOptions) { o.top = 1 }, `{"dataset": "m", "row": 2, "score": 1}`, "already has a column dataflex_row"},
		"a large integer": {func(o *pickOptions) { o.top, o.out = 1, "d.parquet" }, `{"dataset": "a", "row": 0, "score": 1}`, "column big holds 123456789012345678901234567890"},
	} {
		t.Run(name, func(t *testing.T) {
			pickFolder(t)
			files := map[string]string{
				"there.jsonl": "x", "data/m.jsonl": "{\"k\": \"\"}\n{\"k\": []}\n{\"dataflex_row\": 1}\n",
				"data/dataset_info.json": `{"a": {"file_name": "a.jsonl"}, "b": {"file_name": "b.csv"}, "m": {"file_name": "m.jsonl"}, "c": {"file_name": "a.jsonl", "columns": {"prompt": "m"}}}`,
			}
			scores := "scores.jsonl"
			if c.scores != "" {
				scores = "s.jsonl"
				files[scores] = c.scores + "\n"
			}
			for name, text := range files {
				if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			before, _ := os.ReadFile("data/a.jsonl")
			o := options(c.change)
			if err := pick(t.Context(), scores, o, io.Discard); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want %s", err, c.want)
			}
			if after, _ := os.ReadFile("data/a.jsonl"); string(after) != string(before) {
				t.Error("the input has changed")
			}
			if _, err := os.Stat(o.out); err == nil && o.out != "there.jsonl" && o.out != "data/a.jsonl" && o.out != "scores.jsonl" {
				t.Errorf("%s is there", o.out)
			}
		})
	}
}

// TestPickParquet: JSON becomes columns and reads back the same, including nested lists and
// nulls, with the data sets' own parquet reader.
func TestPickParquet(t *testing.T) {
	pickFolder(t)
	rows := []string{
		`{"t": "ä", "n": 1, "f": 0.1, "b": true, "m": [{"from": "human", "value": "x"}, {"from": "gpt", "value": null}], "l": [[1, 2], [], null, [null]], "z": null}`,
		`{"t": null, "n": null, "f": 3.5, "b": null, "m": [], "l": [], "z": null}`,
		`{"t": "", "n": -5, "f": null, "b": false, "m": null, "l": null, "z": null}`,
	}
	if err := os.WriteFile("data/a.jsonl", []byte(strings.Join(rows, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("s.jsonl", []byte(`{"dataset": "a", "row": 2, "score": 1}
{"dataset": "a", "row": 0, "score": 2}
{"dataset": "a", "row": 1, "score": 3}
`), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := pick(t.Context(), "s.jsonl", options(func(o *pickOptions) { o.top, o.out, o.name = 3, "data/q.parquet", "q" }), io.Discard); err != nil {
		t.Fatal(err)
	}
	for i, got := range objects(t, "q", 3) {
		want, err := pyjson.DecodeObject([]byte(rows[i]))
		if err != nil {
			t.Fatal(err)
		}
		have, err := pyjson.DecodeObject([]byte(got))
		if err != nil {
			t.Fatal(err)
		}
		if a, b := pyjson.Encode(have[:len(want)], 0), pyjson.Encode(want, 0); a != b {
			t.Errorf("row %d\n%s\n%s", i, a, b)
		}
		if rank := have.Get(columnRank); rank != []int{1, 0, 2}[i] || have.Get(columnRow) != i || have.Get(columnDataset) != "a" {
			t.Errorf("row %d: %v", i, have)
		}
	}
}

// TestPickParquetNative: from parquet to parquet every column keeps its type: a date and
// an int32 would be int64 by way of JSON.
func TestPickParquetNative(t *testing.T) {
	pickFolder(t)
	type item struct {
		Instruction string   `parquet:"instruction"`
		Output      string   `parquet:"output,optional"`
		Day         int32    `parquet:"day,date"`
		N           int32    `parquet:"n"`
		Tags        []string `parquet:"tags,list"`
		Bytes       []byte   `parquet:"bytes"`
	}
	all := []item{{"a", "1", 100, 7, nil, []byte{0xff}}, {"b", "", 200, 8, []string{"x", "y"}, nil}, {"c", "3", 300, 9, []string{}, []byte{0}}}
	if err := parquet.WriteFile("data/p.parquet", all); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("s.jsonl", []byte(`{"dataset": "p", "row": 1, "score": 1}
{"dataset": "p", "row": 2, "score": 2}
`), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := pick(context.Background(), "s.jsonl", options(func(o *pickOptions) { o.top, o.out = 2, "out/d.parquet" }), io.Discard); err != nil {
		t.Fatal(err)
	}
	type wide struct {
		item
		Score   *float64 `parquet:"dataflex_score"`
		Rank    *int64   `parquet:"dataflex_rank"`
		Dataset *string  `parquet:"dataflex_dataset"`
		Row     *int64   `parquet:"dataflex_row"`
	}
	got, err := parquet.ReadFile[wide]("out/d.parquet")
	if err != nil || len(got) != 2 {
		t.Fatal(got, err)
	}
	for i, r := range got {
		if fmt.Sprint(r.item) != fmt.Sprint(all[1+i]) || *r.Rank != int64(1-i) || *r.Row != int64(1+i) || *r.Dataset != "p" || *r.Score != float64(1+i) {
			t.Errorf("%d: %+v", i, r)
		}
	}
	f, err := openParquet("out/d.parquet")
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	before, err := openParquet("data/p.parquet")
	if err != nil {
		t.Fatal(err)
	}
	defer before.close()
	for i, c := range before.Schema().Fields() {
		got := f.Schema().Fields()[i]
		if a, b := strings.TrimPrefix(got.String(), "rows."), strings.TrimPrefix(c.String(), "item."); got.Name() != c.Name() || a != b {
			t.Errorf("column %d is %s %s, was %s %s", i, got.Name(), got, c.Name(), c)
		}
	}
}

// objects are the first n rows of a data set in data as stored.
func objects(t *testing.T, name string, n int) (out []string) {
	t.Helper()
	c, err := dataset.OpenCatalog("data", nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Source(name)
	if err != nil {
		t.Fatal(err)
	}
	numbers := make([]int, n)
	for i := range numbers {
		numbers[i] = i
	}
	if err := s.Rows(t.Context(), numbers, func(_ int, object []byte) error {
		out = append(out, string(object))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}
