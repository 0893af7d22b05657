package page

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"dataflex.dev/dataflex/algo/report/chromium"
	"dataflex.dev/dataflex/data"
)

// The runs in testdata and the expected content of their panels are made by tools/golden: the
// numbers come from the other files that the runs wrote, none from the page.

// recorded is a copy of a recorded run, with data files as old as when it was recorded.
func recorded(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "runs", name))); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "report_data.jsonl")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(raw), "@DIR@", dir)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`"([^"]*\.json)":"\d+ bytes, ([^"]+)"`).FindAllStringSubmatch(text, -1) {
		at, err := time.Parse(time.RFC3339Nano, m[2])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(m[1], at, at); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func loaded(t *testing.T, dir string) *Run {
	t.Helper()
	runs, err := Load(context.Background(), []string{dir})
	if err != nil {
		t.Fatal(err)
	}
	return runs[0]
}

// expected is testdata's expectations for a run.
type expected struct {
	Curves map[string][][2]float64
	Choice struct {
		Selections        []Selection
		Choices, Distinct int
		Jaccard           [][]float64
		Times             [][2]int
		Shares            map[string]struct{ All, Chosen, Last map[string]int }
		Duplicates        [][][2]any
		Scores            map[int]struct {
			Low, High   float64
			All, Chosen []int
		}
		Passed [][3]any
		Rows   map[string]struct {
			Times          int
			Prompt, Answer string
		}
	}
	Mix struct {
		ODM []struct {
			Step    int
			Weights []float64 `json:"domain_weights"`
		}
		Loss map[int]float64
	}
	Weight map[int]map[string]float64
	Doremi struct {
		Journal []struct {
			Step    int
			Weights []float64 `json:"domain_weights"`
		}
	}
	Order  [][2]float64
	Ledger struct {
		Of, Once, Never int
		More            int `json:"more_than_once"`
		Most            int `json:"most_often"`
	}
	Overlap struct {
		Both                int
		Jaccard, Last, Rank float64
	}
}

func expectedOf(t *testing.T, name string) (e expected) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "runs", name, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(1, math.Abs(b)) }

func TestCurvesOfEveryTrainType(t *testing.T) {
	for _, name := range everyRun {
		r := loaded(t, recorded(t, name))
		for key, want := range expectedOf(t, name).Curves {
			i := slices.IndexFunc(r.Curves, func(c Curve) bool { return c.Name == key })
			if i < 0 || len(r.Curves[i].X) != len(want) {
				t.Errorf("%s, %s: not the %d points there are", name, key, len(want))
				continue
			}
			for k, p := range want {
				if c := r.Curves[i]; c.X[k] != p[0] || c.Y[k] != p[1] {
					t.Errorf("%s, %s, point %d: %v at %v, not %v", name, key, k, c.Y[k], c.X[k], p)
				}
			}
		}
		if !strings.HasPrefix(r.State, "finished: ") || r.Memory.Verdict != "fits" || len(r.Time.Phases) < 3 {
			t.Errorf("%s: %s, %+v, %+v", name, r.State, r.Memory, r.Time)
		}
		if i := slices.IndexFunc(r.Config, func(kv [2]string) bool { return kv[0] == "hf_hub_token" }); i < 0 || r.Config[i][1] == "hf_secret" {
			t.Errorf("%s: the token is shown or its key is missing", name)
		}
	}
}

// TestCurvesOfARunThatGoesOn: there is no trainer_state.json yet, or only an earlier run's.
func TestCurvesOfARunThatGoesOn(t *testing.T) {
	dir := recorded(t, "static")
	want := expectedOf(t, "static").Curves
	for range 2 {
		r := loaded(t, dir)
		for _, key := range []string{"loss", "learning_rate", "eval_loss"} {
			i := slices.IndexFunc(r.Curves, func(c Curve) bool { return c.Name == key })
			if i < 0 || len(r.Curves[i].X) != len(want[key]) || r.Curves[i].Y[1] != want[key][1][1] {
				t.Errorf("%s: %+v, not %v", key, r.Curves, want[key])
			}
		}
		if err := os.Remove(filepath.Join(dir, "trainer_state.json")); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
}

func TestChoiceOfARecordedRun(t *testing.T) {
	r, e := loaded(t, recorded(t, "select")), expectedOf(t, "select").Choice
	c := r.Choice
	if c.Choices != e.Choices || c.Distinct != e.Distinct || c.Of != 48 || fmt.Sprint(c.Times) != fmt.Sprint(e.Times) || c.Metric != "train_eval_similarity" {
		t.Errorf("%d choices of %d rows of %d, %v times; not %+v", c.Choices, c.Distinct, c.Of, c.Times, e)
	}
	for i, want := range e.Selections {
		got := c.Selections[i]
		h := got.Histogram
		want.Update, want.Seconds, want.Histogram = i+1, got.Seconds, h
		if got != want || got.Seconds <= 0 {
			t.Errorf("selection %d: %+v, not %+v", i, got, want)
		}
		if s := e.Scores[want.Step]; !near(h.Low, s.Low) || !near(h.High, s.High) || fmt.Sprint(h.All, h.Chosen) != fmt.Sprint(s.All, s.Chosen) {
			t.Errorf("step %d: scores %+v, not %+v", want.Step, h, s)
		}
		for k := range e.Jaccard {
			if !near(c.Drift.Jaccard[i][k], e.Jaccard[i][k]) {
				t.Errorf("selections %d and %d: %v alike, not %v", i, k, c.Drift.Jaccard[i][k], e.Jaccard[i][k])
			}
		}
	}
	for _, s := range c.Shares {
		want := e.Shares[s.Kind]
		all, chosen, last := map[string]int{}, map[string]int{}, map[string]int{}
		for i, n := range s.Names {
			for m, v := range map[*map[string]int]int{&all: s.All[i], &chosen: s.Chosen[i], &last: s.Last[i]} {
				if v > 0 {
					(*m)[n] = v
				}
			}
		}
		if fmt.Sprint(all, chosen, last) != fmt.Sprint(want.All, want.Chosen, want.Last) {
			t.Errorf("by %s: %v, %v, %v, not %+v", s.Kind, all, chosen, last, want)
		}
	}
	if len(c.Shares) != 3 {
		t.Errorf("%d kinds of shares", len(c.Shares))
	}
	for i, want := range e.Passed {
		if got := c.Passed[i]; got.Dataset != want[0] || float64(got.Row) != want[1] || !near(got.Score, want[2].(float64)) {
			t.Errorf("passed over, place %d: %+v, not %v", i, got, want)
		}
	}
	var groups []string
	for _, g := range r.Duplicates {
		groups = append(groups, fmt.Sprint(g.Rows))
	}
	sort.Strings(groups)
	if fmt.Sprint(groups) != "[[{words 0} {words 1}] [{words 2} {words 3}]]" || len(e.Duplicates) != 2 {
		t.Errorf("duplicates: %v, not %v", groups, e.Duplicates)
	}
}

func TestRowsOfARecordedRun(t *testing.T) {
	dir := recorded(t, "select")
	r, e := loaded(t, dir), expectedOf(t, "select").Choice
	seen := 0
	for _, row := range r.Rows {
		key := fmt.Sprintf("%s %d", row.Dataset, row.Row)
		want, chosen := e.Rows[key]
		if chosen != slices.Contains(row.Kinds, "chosen") || row.Times != want.Times {
			t.Errorf("%s: %+v, not %+v", key, row, want)
		}
		if !chosen {
			continue
		}
		seen++
		if row.Prompt != want.Prompt || row.Answer != want.Answer || row.Cut != 0 || row.File != "file://"+filepath.ToSlash(dir)+"/"+row.Dataset+".json" {
			t.Errorf("%s: %+v, not %+v", key, row, want)
		}
	}
	if seen != len(e.Rows) || len(r.Rows) != 48 {
		t.Errorf("%d chosen rows, not %d; %d rows", seen, len(e.Rows), len(r.Rows))
	}

	// A file that has changed since is no longer the training data.
	if err := os.WriteFile(filepath.Join(dir, "add.json"), []byte(`[]`), 0o644); err != nil {
		t.Fatal(err)
	}
	r = loaded(t, dir)
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "add are not shown: its files have changed") {
		t.Errorf("notes: %v", r.Notes)
	}
	for _, row := range r.Rows {
		if (row.Prompt == "") != (row.Dataset == "add") {
			t.Errorf("%+v", row)
		}
	}
	if err := os.Remove(filepath.Join(dir, "dataset_info.json")); err != nil {
		t.Fatal(err)
	}
	if r = loaded(t, dir); len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "dataset_info.json") || len(r.Rows) != 48 {
		t.Errorf("notes: %v", r.Notes)
	}
}

// TestMixtureOfARecordedRun: the shares are those of ODM's own journal; the domains'
// losses, weighed by their tokens, are the loss that was logged.
func TestMixtureOfARecordedRun(t *testing.T) {
	r, e := loaded(t, recorded(t, "mix")), expectedOf(t, "mix").Mix
	at := func(c Curve, step int) float64 {
		i := slices.Index(c.X, float64(step))
		if i < 0 {
			t.Fatalf("%s: no point at step %d: %v", c.Name, step, c.X)
		}
		return c.Y[i]
	}
	if len(r.Mixture.Shares) != 2 || r.Mixture.Shares[0].Name != "add" || at(r.Mixture.Shares[0], 0) != 0.5 {
		t.Fatalf("%+v", r.Mixture)
	}
	for _, j := range e.ODM {
		for d, want := range j.Weights {
			if got := at(r.Mixture.Shares[d], j.Step); !near(got, want) {
				t.Errorf("step %d, domain %d: %v, not %v", j.Step, d, got, want)
			}
		}
	}
	checked := 0
	for _, l := range r.lines {
		if l.Mixture == nil || l.Mixture.Losses == nil {
			continue
		}
		var sum float64
		tokens := 0
		for d, n := range l.Mixture.Tokens {
			if n > 0 {
				sum += at(r.Mixture.Losses[d], l.Mixture.Step) * float64(n)
				tokens += n
			}
		}
		if want := e.Loss[l.Mixture.Step]; math.Abs(sum/float64(tokens)-want) > 6e-5 {
			t.Errorf("step %d: %v, logged was %v", l.Mixture.Step, sum/float64(tokens), want)
		}
		checked++
	}
	if checked != 10 {
		t.Errorf("%d steps of 10", checked)
	}
}

// TestWeightsOfARecordedRun: the weights are linupper's formula on the rows' losses.
func TestWeightsOfARecordedRun(t *testing.T) {
	r, e := loaded(t, recorded(t, "weight")), expectedOf(t, "weight").Weight
	if r.Weights.Rows != 28 || len(e) != 7 { // 7 weighed steps of 4 rows
		t.Fatalf("%d rows, %d steps to compare", r.Weights.Rows, len(e))
	}
	compared := 0
	for _, w := range slices.Concat(r.Weights.Heavy, r.Weights.Light) {
		want, ok := e[w.Step][fmt.Sprintf("%s %d", w.Dataset, w.Row)]
		if !ok || math.Abs(w.Weight-want) > 1e-6 {
			t.Errorf("%+v: not %v", w, want)
		}
		compared++
	}
	var all []float64
	bins := make([]int, 41)
	for step, rows := range e {
		var of []float64
		for _, w := range rows {
			all, of = append(all, w), append(of, w)
			bins[int(w*10)]++
		}
		slices.Sort(of)
		for q, want := range []float64{of[0], 0.25*of[0] + 0.75*of[1], (of[1] + of[2]) / 2, 0.75*of[2] + 0.25*of[3], of[3]} {
			c := r.Weights.Quantiles[q]
			if got := c.Y[slices.Index(c.X, float64(step))]; math.Abs(got-want) > 1e-6 {
				t.Errorf("step %d, %s: %v, not %v", step, c.Name, got, want)
			}
		}
	}
	if heaviest := slices.Max(all); math.Abs(r.Weights.Heavy[0].Weight-heaviest) > 1e-6 || compared < 20 {
		t.Errorf("heaviest %v, not %v; %d compared", r.Weights.Heavy[0].Weight, heaviest, compared)
	}
	if fmt.Sprint(r.Weights.Bins) != fmt.Sprint(bins) {
		t.Errorf("%v, not %v", r.Weights.Bins, bins)
	}
	if !slices.ContainsFunc(r.Rows, func(x Row) bool { return slices.Contains(x.Kinds, "heavy") && x.Prompt != "" }) {
		t.Error("no heavy row with its text")
	}
}

func TestRunsOfEqualNames(t *testing.T) {
	dir := t.TempDir()
	var dirs []string
	for _, parent := range []string{"a", "b"} {
		d := filepath.Join(dir, parent, "out")
		if err := os.CopyFS(d, os.DirFS("testdata/runs/static")); err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, d)
	}
	runs, err := Load(context.Background(), dirs)
	if err != nil {
		t.Fatal(err)
	}
	if runs[0].Name != "a/out" || runs[1].Name != "b/out" {
		t.Errorf("%s, %s", runs[0].Name, runs[1].Name)
	}
	if _, err := Load(context.Background(), []string{dir}); err == nil || !strings.Contains(err.Error(), "is not the output_dir of a run") {
		t.Errorf("a folder without a run: %v", err)
	}
}

func TestScripts(t *testing.T) {
	for text, want := range map[string]string{"": "none", "12 + 3": "none", "hello 世": "Latin", "世界 a": "Han", "漢字漢字かな": "Japanese", "привет, мир": "Cyrillic", "سلام": "Arabic", "ქართ": "other", "हिन्दी": "Devanagari", "한국어": "Hangul"} {
		if got := script(text); got != want {
			t.Errorf("%q: %s, not %s", text, got, want)
		}
	}
}

func TestWords(t *testing.T) {
	one := []data.Message{{Role: data.User, Content: "hi"}}
	two := append(slices.Clone(one), data.Message{Role: data.Assistant, Content: "ho"})
	for _, c := range []struct{ got, want string }{
		{words("", one), "hi"},
		{words("be brief", one), "system: be brief\nuser: hi"},
		{words("", two), "user: hi\nassistant: ho"},
		{cut("añb", 2), "a"},
		{cut("añb", 3), "añ"},
		{cut("añb", 9), "añb"},
		{span(3.21), "3.2 s"},
		{span(59.7), "1 min 0 s"},
		{span(3700), "1 h 1 min"},
		{span(412 * 86400), "412 days 0 h"},
		{size(1023), "1023 B"},
		{size(3 << 29), "1.5 GiB"},
		{lengthName(0, 10), "up to 32"},
		{lengthName(1, 10), "33 to 64"},
		{lengthName(9, 10), "over 8192"},
	} {
		if c.got != c.want {
			t.Errorf("%q, not %q", c.got, c.want)
		}
	}
}

// TestThin: of a long curve the extremes of every stretch are kept.
func TestThin(t *testing.T) {
	c := Curve{Name: "loss"}
	for i := range 100000 {
		y := float64(i % 7)
		if i == 54321 {
			y = 1e6
		}
		c.X, c.Y = append(c.X, float64(i)), append(c.Y, y)
	}
	got := thin(c)
	if len(got.X) > drawn || got.Of != 100000 || slices.Max(got.Y) != 1e6 || !slices.IsSorted(got.X) {
		t.Errorf("%d points of %d, highest %v", len(got.X), got.Of, slices.Max(got.Y))
	}
}

// TestFoldersThatSayLess: for a run before its first log line, and for one without
// report_data.jsonl, the page shows what there is and says what is missing.
func TestFoldersThatSayLess(t *testing.T) {
	old := recorded(t, "select")
	if err := os.Remove(filepath.Join(old, "report_data.jsonl")); err != nil {
		t.Fatal(err)
	}
	r, e := loaded(t, old), expectedOf(t, "select")
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "has no report_data.jsonl") || r.Choice.Distinct != e.Choice.Distinct || len(r.Curves) < 4 {
		t.Errorf("%+v", r)
	}
	started := recorded(t, "weight")
	raw, err := os.ReadFile(filepath.Join(started, "report_data.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(raw), "\n")
	for name, text := range map[string]string{"report_data.jsonl": first + "\n{\"step\":{\"st", "trainer_log.jsonl": "", "trainer_state.json": ""} {
		path := filepath.Join(started, name)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if text == "" {
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if r := loaded(t, started); r.State != "no step of 8 logged yet" || r.Memory.Verdict != "fits" {
		t.Errorf("%+v", r)
	}
	b := chromium.Start(t)
	for _, dirs := range [][]string{{old}, {started}, {old, started}} {
		b.Open(made(t, dirs...), 1200, "light")
		b.Clean()
	}
	if got := b.Text("[data-panel=overlap]"); got != "(none)" {
		t.Errorf("an overlap of one run: %s", got)
	}
}
