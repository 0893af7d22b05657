package board

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dataflex.dev/dataflex/data/storage"
)

// listener reads server-sent events.
type listener struct {
	t     *testing.T
	lines *bufio.Scanner
}

func (s *serving) listen(runs string) *listener {
	s.t.Helper()
	answer, err := http.Get(s.base + "events?" + runs)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { answer.Body.Close() })
	if got := answer.Header.Get("Content-Type"); got != "text/event-stream" {
		s.t.Fatal(got)
	}
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 16<<20)
	return &listener{s.t, lines}
}

// next is the next event of a name that fits.
func (l *listener) next(event string, fits func(data json.RawMessage) bool) {
	l.t.Helper()
	stuck := time.AfterFunc(time.Minute, func() { panic("no event " + event) })
	defer stuck.Stop()
	for l.lines.Scan() {
		if l.lines.Text() != "event: "+event {
			continue
		}
		l.lines.Scan()
		if fits(json.RawMessage(strings.TrimPrefix(l.lines.Text(), "data: "))) {
			return
		}
	}
	l.t.Fatalf("the stream ended before %s: %v", event, l.lines.Err())
}

func decoded[T any](t *testing.T, raw json.RawMessage) (v T) {
	t.Helper()
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("%v: %.200s", err, raw)
	}
	return v
}

// runEvent is the part of an event about a run.
type runEvent struct {
	Name  string
	Whole bool
	Set   struct {
		State  string
		Curves []struct {
			Name string
			X, Y []float64
		}
		Choice *struct{ Choices, Distinct int }
		Memory *struct{ Peak uint64 }
		Time   *struct{ Words string }
	}
	Gone []string
}

func (r runEvent) curve(name string) (x, y []float64) {
	for _, c := range r.Set.Curves {
		if c.Name == name {
			return c.X, c.Y
		}
	}
	return nil, nil
}

// before is the part of a recorded run's lines that it had written before it logged a step.
func before(lines []string, step int) (n int) {
	for i, line := range lines {
		var l struct {
			Step          json.RawMessage `json:"step"`
			Current_steps int
			Selection     *struct{ Step int }
		}
		if json.Unmarshal([]byte(line), &l) != nil {
			return i
		}
		at := l.Current_steps
		var number int
		var logged struct{ Step int }
		switch {
		case l.Selection != nil:
			at = l.Selection.Step
		case json.Unmarshal(l.Step, &number) == nil:
			at = number // selected_rows.jsonl
		case json.Unmarshal(l.Step, &logged) == nil:
			at = logged.Step // report_data.jsonl
		}
		if at >= step {
			return i
		}
	}
	return len(lines)
}

// TestEvents: a run is followed as its files grow, with the numbers in the recorded run's other
// files.
func TestEvents(t *testing.T) {
	dir := t.TempDir()
	run := filepath.Join(dir, "a", "select")
	recorded(t, "select", run)
	files := map[string][]string{}
	grow := func(from, to int) {
		for name, lines := range files {
			f, err := os.OpenFile(filepath.Join(run, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range lines[before(lines, from):before(lines, to)] {
				if _, err := f.WriteString(line + "\n"); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range []string{"trainer_log.jsonl", "report_data.jsonl", "selected_rows.jsonl"} {
		raw, err := os.ReadFile(filepath.Join(run, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = strings.Split(strings.TrimSuffix(strings.ReplaceAll(string(raw), "@DIR@", run), "\n"), "\n")
		if err := os.Remove(filepath.Join(run, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(run, "trainer_state.json")); err != nil {
		t.Fatal(err)
	}
	grow(0, 5) // one selection, at step 3
	var want struct {
		Choice struct {
			Selections []struct{ Step, Rows, Distinct, Overlap, New, Dropped int }
			Choices    int
		}
		Curves map[string][][2]float64
	}
	raw, err := os.ReadFile(filepath.Join(run, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	s := serve(t, Options{Dir: dir, Home: t.TempDir()})
	l := s.listen("run=a/select&run=none")
	loss := func(step int) float64 { return want.Curves["loss"][step-1][1] }
	l.next("runs", func(raw json.RawMessage) bool {
		all := decoded[[]Summary](t, raw)
		if len(all) != 1 || all[0].Name != "a/select" || all[0].Step != 4 || all[0].Of != 12 || all[0].Loss == nil || *all[0].Loss != loss(4) || all[0].Memory < 1<<20 || all[0].Running {
			t.Errorf("the runs: %s", raw)
		}
		return true
	})
	l.next("run", func(raw json.RawMessage) bool {
		r := decoded[runEvent](t, raw)
		x, y := r.curve("loss")
		if !r.Whole || r.Name != "a/select" || len(x) != 4 || x[3] != 4 || y[3] != loss(4) || r.Set.Choice.Choices != 12 || r.Set.Memory.Peak == 0 {
			t.Errorf("the run: %+v", r)
		}
		if r.Set.State != "ended, at step 4 of 12; there is no checkpoint" || !strings.HasSuffix(r.Set.Time.Words, " s for 4 of 12 steps") {
			t.Errorf("of a run that nobody works on: %s; %s", r.Set.State, r.Set.Time.Words)
		}
		return true
	})
	grow(5, 8)
	l.next("selection", func(raw json.RawMessage) bool {
		got, w := decoded[struct {
			Run                                         string
			Step, Rows, Distinct, Overlap, New, Dropped int
		}](t, raw), want.Choice.Selections[1]
		if got.Run != "a/select" || fmt.Sprint(got.Step, got.Rows, got.Distinct, got.Overlap, got.New, got.Dropped) != fmt.Sprint(w.Step, w.Rows, w.Distinct, w.Overlap, w.New, w.Dropped) {
			t.Errorf("the second selection: %s, not %+v", raw, w)
		}
		return true
	})
	grow(8, 99)
	choices, steps := 0, 0 // simultaneous changes may arrive in several events
	l.next("run", func(raw json.RawMessage) bool {
		r := decoded[runEvent](t, raw)
		if r.Set.Choice != nil {
			choices = r.Set.Choice.Choices
		}
		if x, y := r.curve("loss"); len(x) == 12 {
			if steps = len(x); r.Whole || y[11] != loss(12) {
				t.Errorf("the run at its end: %.600s", raw)
			}
		}
		return steps == 12 && choices == want.Choice.Choices
	})
}

// TestCompared: for two ticked runs the page has their overlap, and the tables for a paper.
func TestCompared(t *testing.T) {
	dir := t.TempDir()
	recorded(t, "select", filepath.Join(dir, "one"))
	recorded(t, "select", filepath.Join(dir, "two"))
	recorded(t, "static", filepath.Join(dir, "three"))
	s := serve(t, Options{Dir: dir, Home: t.TempDir()})
	l := s.listen("run=one&run=two&run=three")
	l.next("overlaps", func(raw json.RawMessage) bool {
		all := decoded[[]struct {
			A, B    string
			Both    int
			Jaccard float64
		}](t, raw)
		if len(all) != 1 || all[0].A != "one" || all[0].B != "two" || all[0].Jaccard != 1 || all[0].Both != 16 {
			t.Errorf("%s", raw)
		}
		return true
	})
	if status, body := s.get("compare?table=overlap.csv&run=one&run=two"); status != 200 || !strings.Contains(body, "one,two,16,1.0000") {
		t.Errorf("%d %s", status, body)
	}
	if status, body := s.get("compare?table=runs.md&run=one&run=three"); status != 200 || !strings.Contains(body, "| three") || !strings.Contains(body, "static") {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := s.get("compare?table=overlap.csv&run=one&run=three"); status != 404 {
		t.Errorf("an overlap with a run that chose nothing: %d", status)
	}
}

// held is a file system on which opening a path waits until it is released.
type held struct {
	storage.FS
	path     string
	opened   chan struct{} // closed when somebody waits
	released chan struct{}
	once     sync.Once
}

func (h *held) OpenFile(name string, flag int, perm fs.FileMode) (storage.File, error) {
	if name == h.path {
		h.once.Do(func() { close(h.opened) })
		<-h.released
	}
	return h.FS.OpenFile(name, flag, perm)
}

// TestALargeRunHoldsNothingUp: while the files of one run are being read, its page is there and
// says so, the pages and the list of the others are complete, and its events bring the rest.
func TestALargeRunHoldsNothingUp(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"large", "small"} {
		if err := os.CopyFS(filepath.Join(dir, name), os.DirFS("../page/testdata/runs/select")); err != nil {
			t.Fatal(err)
		}
	}
	disk := &held{FS: storage.OS, path: filepath.Join(dir, "large", "report_data.jsonl"), opened: make(chan struct{}), released: make(chan struct{})}
	t.Cleanup(storage.Mount(dir, disk))
	s := serve(t, Options{Dir: dir, Home: t.TempDir()})
	release := sync.OnceFunc(func() { close(disk.released) })
	t.Cleanup(release) // before the board is closed

	const reading, choice = "its files are being read", `"choice":{`
	if _, body := s.get("?run=large"); !strings.Contains(body, reading) || strings.Contains(body, choice) {
		t.Error("the page of the run being read does not say that it is")
	}
	<-disk.opened
	if _, body := s.get("?run=small"); strings.Contains(body, reading) || !strings.Contains(body, choice) {
		t.Error("the page of the other run is not complete")
	}
	if _, body := s.get("?run=large&run=small"); strings.Count(body, reading) != 1 || strings.Count(body, choice) != 1 {
		t.Error("the page of both has not one of them")
	}
	type change struct {
		Name  string
		Whole bool
		Set   map[string]json.RawMessage
	}
	l := s.listen("run=large&run=small")
	l.next("run", func(raw json.RawMessage) bool {
		c := decoded[change](t, raw)
		if c.Name == "large" {
			t.Error("the run being read is sent")
		}
		return c.Whole && c.Set["choice"] != nil
	})
	release()
	l.next("run", func(raw json.RawMessage) bool {
		c := decoded[change](t, raw)
		return c.Name == "large" && c.Whole && c.Set["choice"] != nil
	})
	if _, body := s.get("?run=large"); strings.Contains(body, reading) || !strings.Contains(body, choice) {
		t.Error("the run that has been read is not shown")
	}
}
