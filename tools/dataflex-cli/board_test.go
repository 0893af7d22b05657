//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dataflex.dev/dataflex/algo/report/board"
	"dataflex.dev/dataflex/algo/report/chromium"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/task"
	"dataflex.dev/dataflex/tools/command"
)

// trains in the environment makes this test binary the program that the board starts.
const trains = "DATAFLEX_TEST_TRAINS"

func TestMain(m *testing.M) {
	if os.Getenv(trains) != "" {
		command.Main(func(ctx context.Context) error { return run(ctx, os.Args[1:]) })
	}
	os.Exit(m.Run())
}

// openBoard serves the runs of saves in a clone of the examples.
func openBoard(t *testing.T, home string) (b *board.Board, stop func()) {
	t.Helper()
	clone(t)
	t.Setenv(trains, "yes")
	if err := os.MkdirAll("saves", 0o755); err != nil {
		t.Fatal(err)
	}
	return served(t, home)
}

func served(t *testing.T, home string) (b *board.Board, stop func()) {
	t.Helper()
	b, err := board.Open(board.Options{Dir: "saves", Home: home, Program: []string{os.Args[0], "train"}, Check: checkFile, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var g task.Group
	g.Go(func() {
		if err := b.Serve(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = func() { cancel(); g.Wait() }
	t.Cleanup(func() { stop(); endRuns(t, home) })
	return b, stop
}

// endRuns ends what a test that failed left running: runs outlive their board.
func endRuns(t *testing.T, home string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(home, "*", "jobs", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var job struct{ Process storage.Owner }
		if err := json.Unmarshal(raw, &job); err != nil {
			t.Fatal(err)
		}
		if job.Process.Running() {
			_ = syscall.Kill(job.Process.PID, syscall.SIGKILL)
			_, _ = syscall.Wait4(job.Process.PID, nil, 0, nil) // or the board has waited for it
		}
	}
}

// example is a training command of data/examples with other keys.
func example(t *testing.T, name, out string, keys ...string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("data/examples", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	keys = append(keys, "output_dir: saves/"+out, "logging_steps: 1", "overwrite_output_dir: false")
	var kept []string
	for _, line := range strings.Split(string(raw), "\n") {
		key, _, _ := strings.Cut(line, ":")
		other := false
		for _, k := range keys {
			other = other || strings.HasPrefix(k, key+":")
		}
		if !other {
			kept = append(kept, line)
		}
	}
	return strings.Join(append(kept, keys...), "\n") + "\n"
}

// typeIn enters a configuration in the form and waits for the result of the check.
func typeIn(b *chromium.Browser, yaml string) {
	b.Eval(`document.querySelector("[name=new]").click()`, nil)
	b.Until(`document.querySelector("[data-panel=form] .faults li")`)
	b.Eval(`document.querySelector(".faults").replaceChildren()`, nil)
	b.Set("[name=yaml]", "input", yaml)
	b.Until(`document.querySelector("[data-panel=form] .faults li")`)
}

const row = `[...document.querySelectorAll(".runrow")].find(r => r.querySelector("[name=run]").value === %q)`

func rowOf(name string) string { return fmt.Sprintf(row, name) }

// TestBoardInChromium: a run is configured, refused, started, followed and stopped on the page;
// another one is killed; both are compared.
func TestBoardInChromium(t *testing.T) {
	home := t.TempDir()
	b, stop := openBoard(t, home)
	page := chromium.Start(t)
	page.Open(b.Address, 1400, "light")
	page.Until(`document.getElementById("made").textContent === "live"`)

	typeIn(page, example(t, "less", "first", "learning_rat: 1", "lora_rank: many"))
	if got := page.Text("[data-panel=form] .faults"); !strings.Contains(got, "learning_rat") || !strings.Contains(got, "lora_rank") {
		t.Errorf("the faults: %s", got)
	}
	if got := page.Text("#field-lora_rank-fault"); !strings.Contains(got, "many") {
		t.Errorf("the fault at its field: %q", got)
	}
	page.Eval(`document.querySelector("[name=start]").click()`, nil)
	page.Until(`!document.querySelector("[name=start]").disabled`)
	if storage.Exists("saves/first") || storage.Exists("saves/first.yaml") {
		t.Error("a faulty configuration was started")
	}
	page.Screenshot("board-form-light")
	page.Eval(`document.querySelector("[name=close]").click()`, nil)

	steps := []string{"max_steps: 100000", "save_steps: 4", "warmup_step: 4", "update_step: 4", "update_times: 20000", "save_total_limit: 2"}
	for _, name := range []string{"first", "second"} {
		typeIn(page, example(t, map[string]string{"first": "less", "second": "random"}[name], name, steps...))
		if got := page.Text("[data-panel=form] .faults"); !strings.HasPrefix(got, "No fault") {
			t.Fatalf("faults of %s: %s", name, got)
		}
		page.Eval(`document.querySelector("[name=start]").click()`, nil)
		page.Until(`!document.querySelector("[data-panel=form]")`)
		page.Until(rowOf(name) + ` && ` + rowOf(name) + `.innerText.includes("running as process")`)
	}
	for _, name := range []string{"first", "second"} { // both are ticked when they are started
		page.Until(`document.querySelector("[data-panel=runs]") && document.querySelector("[data-panel=runs]").innerText.includes("` + name + `")`)
	}
	page.Until(`document.querySelectorAll("[data-panel=selections]").length === 2`)
	page.Until(`document.querySelector("[data-panel=overlap]")`)
	page.Until(`document.querySelector(".news").innerText.includes("rows chosen")`)
	page.Screenshot("board-two-light")

	// A second start into the folder fails at the run's lock, and its message is shown.
	typeIn(page, example(t, "less", "first", append(steps, "seed: 7")...))
	page.Eval(`document.querySelector("[name=start]").click()`, nil)
	page.Until(rowOf("first") + `.innerText.includes("another run writes into")`)
	if got := page.Text(".said"); !strings.Contains(got, "wait for its end, or name another output_dir") {
		t.Errorf("the refusal: %s", got)
	}

	// The board ends, the runs continue, and the next board finds them.
	page.Clean()
	stop()
	page.Until(`document.getElementById("made").textContent.includes("does not respond")`)
	b, _ = served(t, home)
	page.Open(b.Address+"?run=first&run=second", 1400, "light")
	page.Until(rowOf("first") + ` && ` + rowOf("first") + `.querySelector("[name=stop]")`)

	// The second is killed: no process of it remains to report that.
	owner, err := storage.LockOwner("saves/second/.lock")
	if err != nil || !owner.Running() {
		t.Fatalf("the lock of a run: %+v, %v", owner, err)
	}
	page.Until(rowOf("second") + `.innerText.match(/step (\d+) of/)[1] > 8`)
	if err := syscall.Kill(owner.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	page.Until(rowOf("second") + `.innerText.includes("ended; the newest checkpoint is checkpoint-")`)

	page.Eval(rowOf("first")+`.querySelector("[name=stop]").click()`, nil)
	page.Until(rowOf("first") + `.innerText.includes("stopped; the newest checkpoint is checkpoint-")`)
	page.Until(`document.querySelector("[data-panel=runs]").innerText.includes("ended, at step")`)
	page.Until(`document.querySelector("[data-panel=runs]").innerText.includes("stopped, at step")`)
	for _, theme := range []string{"light", "dark"} {
		page.Open(b.Address+"?run=first&run=second", 1400, theme)
		page.Until(`document.querySelectorAll("[data-panel=selections]").length === 2`)
		page.Screenshot("board-compared-" + theme)
		page.Open(b.Address+"?run=first", 390, theme)
		page.Until(`document.querySelectorAll("[data-panel=selections]").length === 1`)
		var wide int
		if page.Eval("document.documentElement.scrollWidth", &wide); wide > 390 {
			t.Errorf("%d pixels wide on a phone of 390", wide)
		}
		page.Screenshot("board-phone-" + theme)
	}
	page.Clean()
}
