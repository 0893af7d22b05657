package dataset

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/rng"
)

// numbered makes a dataset of n rows.
func numbered(name string, n int) Named {
	s := Named{Name: name}
	for i := range n {
		s.Samples = append(s.Samples, data.Sample{ID: data.ID{Dataset: name, Row: i}})
	}
	return s
}

func ids(samples []data.Sample) string {
	var out []string
	for _, s := range samples {
		out = append(out, fmt.Sprintf("%s%d", s.Dataset, s.Row))
	}
	return strings.Join(out, " ")
}

// The draws are NumPy 1.26.4's: default_rng(7).choice(3, size=1000, p=[.5, .3, .2])
// starts 1 2 1 0 0 2 0 2 1 0 0 0 0 0 1 1 2.
func TestMerge(t *testing.T) {
	sets := []Named{numbered("a", 4), numbered("b", 2), numbered("c", 3)}
	probs := []float64{.5, .3, .2}
	for _, c := range []struct {
		mix   Mix
		probs []float64
		want  string
	}{
		{"", nil, "a0 a1 a2 a3 b0 b1 c0 c1 c2"},
		{Concat, nil, "a0 a1 a2 a3 b0 b1 c0 c1 c2"},
		{InterleaveUnder, nil, "a0 b0 c0 a1 b1 c1"},
		{InterleaveOver, nil, "a0 b0 c0 a1 b1 c1 a2 b0 c2 a3 b1 c0"},
		{InterleaveOnce, nil, "a0 b0 c0 a1 b1 c1 a2 c2 a3"},
		{InterleaveUnder, probs, "b0 c0 b1"},
		{InterleaveOver, probs, "b0 c0 b1 a0 a1 c1 a2 c2 b0 a3"},
		{InterleaveOnce, probs, "b0 c0 b1 a0 a1 c1 a2 c2 a3"}, // as datasets 5.2 interleaves
	} {
		got, err := Merge(sets, c.mix, c.probs, 7)
		if err != nil || ids(got) != c.want {
			t.Errorf("%s %v: %s, %v; want %s", c.mix, c.probs, ids(got), err, c.want)
		}
	}
	for want, c := range map[string]struct {
		mix   Mix
		probs []float64
	}{
		"only valid for interleaved": {Concat, probs},
		"should be identical":        {InterleaveUnder, probs[:2]},
		"sum to 0.9":                 {InterleaveUnder, []float64{.5, .3, .1}},
		"between 0 and 1":            {InterleaveUnder, []float64{1.5, -.3, -.2}},
		"did you mean interleave":    {"interleave_overr", nil},
		"over, which ends":           {InterleaveOver, []float64{.5, 0, .5}},
		"once, which ends":           {InterleaveOnce, []float64{.5, 0, .5}},
	} {
		if _, err := Merge(sets, c.mix, c.probs, 7); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s %v: %v, want %q", c.mix, c.probs, err, want)
		}
	}
}

// Permutations are NumPy's; 5 6 0 7 3 2 4 9 1 8 is default_rng(42).permutation(10).
func TestSplit(t *testing.T) {
	samples := numbered("a", 10).Samples
	for _, c := range []struct {
		size        float64
		train, eval string
	}{
		{0, "a0 a1 a2 a3 a4 a5 a6 a7 a8 a9", ""},
		{.21, "a7 a3 a2 a4 a9 a1 a8", "a5 a6 a0"},
		{1, "a6 a0 a7 a3 a2 a4 a9 a1 a8", "a5"},
		{3, "a7 a3 a2 a4 a9 a1 a8", "a5 a6 a0"},
	} {
		train, eval, err := Split(samples, c.size, 42)
		if err != nil || ids(train) != c.train || ids(eval) != c.eval {
			t.Errorf("%v: %s | %s, %v", c.size, ids(train), ids(eval), err)
		}
	}
	for _, size := range []float64{.95, 10, 11} {
		if _, _, err := Split(samples, size, 42); err == nil || !strings.Contains(err.Error(), "val_size") {
			t.Errorf("%v: %v", size, err)
		}
	}
}

// The draws are NumPy 1.26.4's: seed(42); permutation(6); ...
func TestNumSamples(t *testing.T) {
	random := rng.NewRandomState(42)
	if got := ids(draw(numbered("a", 6).Samples, 4, random)); got != "a0 a1 a5 a2" {
		t.Errorf("4 of 6: %s", got)
	}
	if got := ids(draw(numbered("b", 5).Samples, 9, random)); got != "b3 b1 b2 b0 b4 b2 b2 b2 b4" {
		t.Errorf("9 of 5: %s", got)
	}
	if got := ids(draw(numbered("c", 6).Samples, 2, random)); got != "c4 c5" {
		t.Errorf("2 of 6: %s", got)
	}
	dir := folder(t, map[string]string{
		InfoFile: `{"a":{"file_name":"6.txt","num_samples":4,"columns":{"prompt":"text"}},"b":{"file_name":"5.txt","num_samples":9,"columns":{"prompt":"text"}}}`,
		"6.txt":  "0\n1\n2\n3\n4\n5\n", "5.txt": "0\n1\n2\n3\n4\n",
	})
	set, err := Load(context.Background(), Options{Dir: dir, Names: []string{"a", "b"}, Seed: 42, MaxSamples: 3})
	if err != nil || ids(set.Samples) != "a0 a1 a5 b3 b1 b2" {
		t.Errorf("num_samples then max_samples: %v, %v", set, err)
	}
}

// A large file is read in order with any number of threads, max_samples reads only as far as
// necessary, and a cancelled context ends the reading.
func TestThreadsAndCancel(t *testing.T) {
	var b strings.Builder
	const n = 3000
	for i := range n {
		fmt.Fprintf(&b, "{\"instruction\":\"%d\",\"input\":null,\"output\":\"\"}\n", i)
	}
	dir := folder(t, map[string]string{InfoFile: `{"x":{"file_name":"d"}}`, "d/1.jsonl": b.String(), "d/2.jsonl": b.String() + "{"})
	options := Options{Dir: dir, Names: []string{"x"}, Threads: 3, MaxSamples: 2 * n}
	set, err := Load(context.Background(), options)
	if err != nil || len(set.Samples) != 2*n {
		t.Fatal(err)
	}
	for i, s := range set.Samples {
		if s.Row != i || s.Prompt[0].Content != fmt.Sprint(i%n) {
			t.Fatalf("sample %d is row %d: %q", i, s.Row, s.Prompt[0].Content)
		}
	}
	options.MaxSamples = 0
	if _, err = Load(context.Background(), options); err == nil || !strings.Contains(err.Error(), "2.jsonl, row 3000, line 3001") {
		t.Errorf("fault in the second file: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err = Load(ctx, options); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// Of several bad rows the first is reported, whichever worker finds one first.
func TestFirstFault(t *testing.T) {
	var b strings.Builder
	for i := range 4000 {
		if i >= 700 {
			b.WriteString("{\"instruction\":1,\"input\":null,\"output\":\"\"}\n")
		} else {
			b.WriteString("{\"instruction\":\"\",\"input\":null,\"output\":\"\"}\n")
		}
	}
	dir := folder(t, map[string]string{InfoFile: `{"x":{"file_name":"d"}}`, "d/1.jsonl": "{\"instruction\":\"\",\"input\":null,\"output\":\"\"}", "d/2.jsonl": b.String()})
	for range 5 {
		_, err := Load(context.Background(), Options{Dir: dir, Names: []string{"x"}, Threads: 4})
		if err == nil || !strings.Contains(err.Error(), "row 700 (line 701) of") || !strings.Contains(err.Error(), "(row 701 of the dataset)") {
			t.Fatal(err)
		}
	}
}

// FuzzReader: any bytes under any extension give rows or an error that names the file; a row
// that was read converts or fails without a panic.
func FuzzReader(f *testing.F) {
	for _, s := range []string{
		`[{"instruction":"a","input":"","output":"b"}]`, "{\"conversations\":[{\"from\":\"human\",\"value\":\"\\ud800\"}]}\n{}",
		"instruction,input,output\n\"a\",b\n", "a\r\n\n\xff", "", "\xef\xbb\xbf[", `[{"instruction":"a","instruction":1e999}]`,
		`{"conversations":[{"from":"system","value":"s","tool_calls":[{"function":-0.0}]}],"tools":{"":[1E5]}}`,
	} {
		for kind := range 3 {
			f.Add(kind, 0, []byte(s))
			f.Add(kind, 2, []byte(s))
		}
	}
	formats := []string{`"alpaca"`, `"sharegpt","columns":{"messages":"conversations","tools":"tools"}`, `"openai","columns":{"messages":"conversations"}`}
	f.Fuzz(func(t *testing.T, kind, format int, text []byte) {
		name := "x." + []string{"json", "csv", "txt"}[uint(kind)%3]
		dir := t.TempDir()
		info := `{"x":{"file_name":"` + name + `","formatting":` + formats[uint(format)%3] + `}}`
		if err := errors.Join(os.WriteFile(filepath.Join(dir, InfoFile), []byte(info), 0o644), os.WriteFile(filepath.Join(dir, name), text, 0o644)); err != nil {
			t.Fatal(err)
		}
		set, err := Load(context.Background(), Options{Dir: dir, Names: []string{"x"}, Threads: 1})
		if err != nil {
			if !strings.Contains(err.Error(), "dataset x") || !strings.Contains(err.Error(), name) {
				t.Errorf("%q names neither dataset nor file", err)
			}
			return
		}
		if i := slices.IndexFunc(set.Samples, func(s data.Sample) bool { return s.Dataset != "x" }); i >= 0 {
			t.Errorf("sample %d has no dataset", i)
		}
		if v := jsontext.Value(text); v.IsValid() && !jsontext.Value(pythonJSON(v)).IsValid() && !strings.Contains(pythonJSON(v), "Infinity") {
			t.Errorf("json.dumps of %q is no JSON: %q", text, pythonJSON(v))
		}
	})
}

func BenchmarkLoad(b *testing.B) {
	var text strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&text, "{\"instruction\":\"Write a sentence about number %d.\",\"input\":\"\",\"output\":\"%s\"}\n", i, strings.Repeat("Numbers are everywhere. ", 30))
	}
	dir := folder(b, map[string]string{InfoFile: `{"x":{"file_name":"x.jsonl"}}`, "x.jsonl": text.String()})
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		load(b, dir, "x")
	}
}

// What datasets 4.0.0's concatenate_datasets(...).shuffle(buffer_size=4, seed) yields of three streams of
// three rows.
func TestStreamedSources(t *testing.T) {
	for seed, want := range map[uint64][]int{
		42: {200, 100, 202, 201, 1, 2, 101, 102, 0}, 7: {200, 2, 202, 201, 100, 102, 1, 101, 0},
		1: {1, 2, 100, 200, 0, 101, 202, 102, 201}, 3: {100, 200, 102, 0, 1, 202, 2, 101, 201},
	} {
		sets := []Group[int]{{"a", []int{0, 1, 2}}, {"b", []int{100, 101, 102}}, {"c", []int{200, 201, 202}}}
		rows, err := Merge(StreamedSources(sets, "", seed), "", nil, seed)
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, i := range StreamOrder(len(rows), 4, seed) {
			got = append(got, rows[i])
		}
		if !slices.Equal(got, want) {
			t.Errorf("seed %d: %v, want %v", seed, got, want)
		}
		if alternating := StreamedSources(sets, InterleaveUnder, seed); alternating[0].Name != "a" || alternating[2].Name != "c" {
			t.Errorf("seed %d: interleaved sources were moved: %v", seed, alternating)
		}
	}
}

// The orders are those of datasets' BufferShuffledExamplesIterable on NumPy 1.26.4.
func TestStreamOrder(t *testing.T) {
	if got := StreamOrder(12, 4, 42); !slices.Equal(got, []int{0, 3, 2, 1, 7, 5, 4, 6, 8, 10, 9, 11}) {
		t.Error(got)
	}
	if got := StreamOrder(6, 100, 42); !slices.Equal(got, []int{3, 2, 5, 4, 1, 0}) {
		t.Error(got)
	}
	got := StreamOrder(5000, 300, 7)
	sample := []int{got[0], got[1], got[2], got[2500], got[2501], got[2502], got[4997], got[4998], got[4999]}
	if !slices.Equal(sample, []int{283, 187, 205, 2769, 2456, 2794, 4987, 4384, 3901}) {
		t.Error(sample)
	}
}
