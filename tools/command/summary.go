package command

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/report/record"
	"dataflex.dev/dataflex/data/storage"
)

// summary logs at the end of a run what was trained, the results, what was chosen, where the
// time went, and where the files are. It reads the files that the run wrote.
func summary(log *slog.Logger, c *config.Config) {
	out := c.Training.OutputDir
	did := []any{"model", c.Model.NameOrPath, "tuning", c.Tuning.FinetuningType}
	if c.Dynamic.ComponentName != "" {
		did = append(did, "component", c.Dynamic.ComponentName)
	}
	results := object(filepath.Join(out, "all_results.json"))
	for _, key := range []string{"train_loss", "eval_loss"} {
		if v, ok := results[key]; ok {
			did = append(did, key, v)
		}
	}
	state := object(filepath.Join(out, "trainer_state.json"))
	if best := state["best_metric"]; best != nil {
		did = append(did, "best_metric", best, "best_checkpoint", state["best_model_checkpoint"])
	}
	log.Info("finished", append(did, "folder", out)...)
	last, windows, rows := recorded(filepath.Join(out, record.Name))
	if windows > 0 {
		log.Info("chosen", "windows", windows, "rows", rows)
	}
	if last.Seconds > 0 {
		log.Info("time", spent(last)...)
	}
}

// stepRecord is the part of a run's records that the summary needs.
type stepRecord struct {
	Tokens  int                `json:"tokens"`
	Seconds float64            `json:"seconds"`
	Phases  map[string]float64 `json:"phases"`
	Peak    uint64             `json:"peak"`
}

// spent is the time by phase; training is the remainder.
func spent(last stepRecord) []any {
	duration := func(seconds float64) time.Duration {
		return time.Duration(seconds * float64(time.Second)).Round(10 * time.Millisecond)
	}
	training := last.Seconds
	args := []any{"total", duration(last.Seconds)}
	for _, name := range slices.Sorted(maps.Keys(last.Phases)) {
		args = append(args, name, duration(last.Phases[name]))
		training -= last.Phases[name]
	}
	args = append(args, "training", duration(training), "tokens", last.Tokens)
	if last.Peak > 0 {
		args = append(args, "peak_memory", fmt.Sprintf("%.1f MiB", float64(last.Peak)/(1<<20)))
	}
	return args
}

// object reads a JSON object, nil where there is none.
func object(path string) map[string]any {
	var o map[string]any
	if raw, err := storage.ReadFile(path); err == nil {
		_ = json.Unmarshal(raw, &o) // a file damaged by another program is ignored
	}
	return o
}

// recorded reads the last step's record, and how many windows and rows were chosen.
func recorded(path string) (last stepRecord, windows, rows int) {
	f, err := os.Open(path)
	if err != nil {
		return last, 0, 0
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<30)
	for lines.Scan() {
		var r struct {
			Step      *stepRecord         `json:"step"`
			Selection *struct{ Rows int } `json:"selection"`
		}
		// Most of the file is scores, which are skipped.
		if b := lines.Bytes(); !bytes.HasPrefix(b, []byte(`{"step"`)) && !bytes.HasPrefix(b, []byte(`{"selection"`)) || json.Unmarshal(b, &r) != nil {
			continue
		}
		if r.Step != nil {
			last = *r.Step
		}
		if r.Selection != nil {
			windows++
			rows += r.Selection.Rows
		}
	}
	return last, windows, rows
}
