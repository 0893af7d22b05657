package report

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/pyjson"
)

func TestClockIsPythonsTimedelta(t *testing.T) {
	for _, c := range readPython(t).Clocks {
		if got := Clock(c[0].(float64)); got != c[1] {
			t.Errorf("%v s: %s, Python writes %s", c[0], got, c[1])
		}
	}
	if got := Clock(59.999); got != "0:00:59" {
		t.Errorf("59.999 s: %s", got)
	}
}

func TestPercentageIsPythons(t *testing.T) {
	for _, s := range readPython(t).Shares {
		line := Event{Step: int(s[0].(float64)), Total: int(s[1].(float64))}.line(0)
		if want := `"percentage": ` + s[2].(string) + ","; !strings.Contains(line, want) {
			t.Errorf("%v of %v: no %s in %s", s[0], s[1], want, line)
		}
	}
	if line := (Event{}).line(time.Second); !strings.Contains(line, `"percentage": 100, "elapsed_time": "0:00:01", "remaining_time": "0:00:00"`) {
		t.Errorf("without steps: %s", line)
	}
}

func TestLogGoesOnAfterAKill(t *testing.T) {
	dir := t.TempDir()
	l, err := OpenLog(dir, true, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []Event{
		{Step: 1, Total: 4, Loss: 2.5, LR: 1e-05},
		{Step: 2, Total: 4, Loss: math.NaN()},
		{Step: 2, Total: 4, EvalLoss: 2.0},
		{Step: 2, Total: 4, Extra: pyjson.Object{{Key: "selection_runtime", Value: 0.5}}},
		{Step: 3, Total: 4, Loss: 1.0},
	} {
		if err := l.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	appendTo(t, l.path, `{"current_steps": 1, "to`)
	if l, err = OpenLog(dir, false, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := l.Truncate(2, false, 9); err != nil {
		t.Fatal(err)
	}
	if err := l.Write(Event{Step: 3, Total: 4, Loss: 1.5}); err != nil {
		t.Fatal(err)
	}
	const want = `{"current_steps": 1, "total_steps": 4, "loss": 2.5, "lr": 1e-05, "epoch": 0.0, "percentage": 25.0, "elapsed_time": "0:00:00", "remaining_time": "0:00:00"}
{"current_steps": 2, "total_steps": 4, "loss": NaN, "epoch": 0.0, "percentage": 50.0, "elapsed_time": "0:00:00", "remaining_time": "0:00:00"}
{"current_steps": 2, "total_steps": 4, "eval_loss": 2.0, "epoch": 0.0, "percentage": 50.0, "elapsed_time": "0:00:00", "remaining_time": "0:00:00"}
{"current_steps": 3, "total_steps": 4, "loss": 1.5, "epoch": 0.0, "percentage": 75.0, "elapsed_time": "1:00:00", "remaining_time": "0:20:00"}
`
	if got := read(t, l.path); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if _, err := OpenLog(dir, true, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(l.path); !os.IsNotExist(err) {
		t.Error("a fresh log kept the old file")
	}
	if err := l.Truncate(1, false, 9); err != nil {
		t.Errorf("a missing log: %v", err)
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestKeepLinesDropsWhatIsNoObject(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.jsonl")
	appendTo(t, path, "{\"step\": 1}\nrubbish\n[]\n{\"other\": 1}\n{\"step\": 2}\n{\"step\": 1}")
	if err := keepLines(path, func(o pyjson.Object) bool { return stepOf(o) <= 1 }); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path); got != "{\"step\": 1}\n" {
		t.Errorf("kept %q", got)
	}
}

func TestPicksSayWhichRowWhenAndWhy(t *testing.T) {
	dir := t.TempDir()
	p, err := OpenPicks(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	pool := []data.Example{{ID: data.ID{Dataset: "甲", Row: 4}}, {ID: data.ID{Dataset: "b", Row: 9}}}
	sel := algo.Selection{Indices: []int{1, 0}, Metric: map[string][]float64{"similarity": {0.5, math.NaN()}, "eval_loss": {1}}}
	for step := 2; step <= 6; step += 2 {
		if err := p.Write(algo.Request{Step: step, Update: step / 2}, sel, pool); err != nil {
			t.Fatal(err)
		}
	}
	appendTo(t, p.path, `{"step": 2, "upd`)
	if err := p.Truncate(4); err != nil {
		t.Fatal(err)
	}
	const want = `{"step": 2, "update": 1, "rank": 0, "index": 1, "dataset": "b", "row": 9, "similarity": 0.5}
{"step": 2, "update": 1, "rank": 1, "index": 0, "dataset": "甲", "row": 4, "similarity": NaN}
`
	if got := read(t, p.path); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestStepFilesAreReadUnderTheirKeyOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	if _, ok, err := ReadStepFile(dir, "k", 8); ok || err != nil {
		t.Errorf("a missing file was found (%v)", err)
	}
	f := StepFile{Indices: []int{7, 3}, Metric: map[string][]float64{"loss": {1.5, math.NaN()}, "a": {1e-05, 2}}, Facts: map[string]any{"count": 2, "share": 1.0, "why": "x", "sets": []string{"p"}}, Key: "k"}
	if err := WriteStepFile(dir, 4, f); err != nil {
		t.Fatal(err)
	}
	if err := f.WriteUpstream(dir, 4); err != nil {
		t.Fatal(err)
	}
	const want = `{
    "indices": [
        7,
        3
    ],
    "metric": {
        "a": [
            1e-05,
            2.0
        ],
        "count": 2,
        "loss": [
            1.5,
            NaN
        ],
        "sets": [
            "p"
        ],
        "share": 1.0,
        "why": "x"
    }
}`
	if got := read(t, dir, "step_4.json"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	back, ok, err := ReadStepFile(dir, "k", 8)
	if !ok || err != nil || !slices.Equal(back.Indices, f.Indices) || !slices.Equal(back.Metric["a"], f.Metric["a"]) || back.Key != "k" {
		t.Errorf("read back %+v, %t, %v", back, ok, err)
	}
	if loss := back.Metric["loss"]; len(loss) != 2 || loss[0] != 1.5 || !math.IsNaN(loss[1]) {
		t.Errorf("loss read back as %v", loss)
	}
	if len(back.Metric) != 2 || len(back.Facts) != 4 || back.Facts["count"] != 2 || back.Facts["share"] != 1.0 || back.Facts["why"] != "x" {
		t.Errorf("facts read back as %v, metrics as %v", back.Facts, back.Metric)
	}
	if _, ok, err := ReadStepFile(dir, "another", 8); ok || err != nil {
		t.Errorf("a file of another key was taken (%v)", err)
	}
	// Another run's selection of the same step has its own file.
	if err := WriteStepFile(dir, 4, StepFile{Indices: []int{1}, Key: "another"}); err != nil {
		t.Fatal(err)
	}
	if again, ok, err := ReadStepFile(dir, "k", 8); !ok || err != nil || !slices.Equal(again.Indices, f.Indices) {
		t.Errorf("read back %+v, %t, %v", again, ok, err)
	}
}

func TestDamagedStepFilesAreMadeAnew(t *testing.T) {
	dir := t.TempDir()
	good := StepFile{Indices: []int{12, 1}, Metric: map[string][]float64{"loss": {0.5}}, Key: "k"}
	if err := WriteStepFile(dir, 1, good); err != nil {
		t.Fatal(err)
	}
	path := keyedPath(dir, "k")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := ReadStepFile(dir, "k", 12); err == nil || !strings.Contains(err.Error(), "no row 12 of 12") {
		t.Errorf("a row that does not exist: %v", err)
	}
	for at := range whole {
		bad := slices.Clone(whole)
		bad[at] ^= 1
		if err := os.WriteFile(path, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		if f, ok, err := ReadStepFile(dir, "k", 20); ok || err == nil || f.Indices != nil {
			t.Errorf("bit flipped in byte %d of %q: %+v, %t, %v", at, whole, f, ok, err)
		}
		if err := os.WriteFile(path, whole[:at], 0o644); err != nil {
			t.Fatal(err)
		}
		if f, ok, err := ReadStepFile(dir, "k", 20); ok || err == nil || f.Indices != nil {
			t.Errorf("cut at byte %d: %+v, %t, %v", at, f, ok, err)
		}
	}
	// Edits to upstream's file have no effect here.
	if err := os.WriteFile(path, whole, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stepPath(dir, 1), []byte(`{"indices": [3, 1], "metric": {}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	f, ok, err := ReadStepFile(dir, "k", 20)
	if !ok || err != nil || !slices.Equal(f.Indices, good.Indices) {
		t.Errorf("read back %+v, %t, %v", f, ok, err)
	}
	if err := f.WriteUpstream(dir, 1); err != nil || !strings.Contains(read(t, dir, "step_1.json"), "12,") {
		t.Errorf("step_1.json: %v, %s", err, read(t, dir, "step_1.json"))
	}
}
