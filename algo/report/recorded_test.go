package report

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
)

// recordedRuns are folders of files as LLaMA-Factory and DataFlex wrote them: one
// copied here, and all of ../shared where it is.
func recordedRuns(t *testing.T) []string {
	t.Helper()
	more, err := filepath.Glob("../../../shared/golden/runs/*")
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{"testdata/recorded"}, more...)
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func seconds(t *testing.T, clock string) float64 {
	t.Helper()
	var h, m, s int
	if _, err := fmt.Sscanf(clock, "%d:%d:%d", &h, &m, &s); err != nil {
		t.Fatalf("%q: %v", clock, err)
	}
	return float64(h*3600 + m*60 + s)
}

// elapsed is a time that is consistent with both clocks in a recorded line; it fails where
// there is none.
func elapsed(t *testing.T, line string, step, total int, passed, remaining float64) time.Duration {
	t.Helper()
	lo, hi := passed, passed+1
	if left := float64(total - step); left > 0 {
		lo, hi = max(lo, remaining*float64(step)/left), min(hi, (remaining+1)*float64(step)/left)
	}
	if hi <= lo {
		t.Fatalf("no time fits the line %s", line)
	}
	return time.Duration((lo + hi) / 2 * float64(time.Second))
}

func TestLogLinesAreTheRecordedOnes(t *testing.T) {
	lines := 0
	for _, dir := range recordedRuns(t) {
		for line := range strings.Lines(read(t, dir, LogName)) {
			var r struct {
				Step      int      `json:"current_steps"`
				Total     int      `json:"total_steps"`
				Loss      *float64 `json:"loss"`
				EvalLoss  *float64 `json:"eval_loss"`
				LR        *float64 `json:"lr"`
				Epoch     float64  `json:"epoch"`
				Passed    string   `json:"elapsed_time"`
				Remaining string   `json:"remaining_time"`
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			e := Event{Step: r.Step, Total: r.Total, Epoch: r.Epoch}
			for from, to := range map[*float64]*any{r.Loss: &e.Loss, r.EvalLoss: &e.EvalLoss, r.LR: &e.LR} {
				if from != nil {
					*to = *from
				}
			}
			at := elapsed(t, line, r.Step, r.Total, seconds(t, r.Passed), seconds(t, r.Remaining))
			if got := e.line(at); got != line {
				t.Errorf("%s\ngot  %swant %s", dir, got, line)
			}
			lines++
		}
	}
	if lines < 29 {
		t.Errorf("only %d lines compared", lines)
	}
}

func TestStateIsTheRecordedOne(t *testing.T) {
	for _, dir := range recordedRuns(t) {
		want := read(t, dir, storage.TrainerStateFile)
		var r struct {
			GlobalStep     int     `json:"global_step"`
			MaxSteps       int     `json:"max_steps"`
			LoggingSteps   int     `json:"logging_steps"`
			EvalSteps      int     `json:"eval_steps"`
			SaveSteps      int     `json:"save_steps"`
			Epoch          float64 `json:"epoch"`
			Epochs         float64 `json:"num_train_epochs"`
			Batch          int     `json:"train_batch_size"`
			Flos           float64 `json:"total_flos"`
			Tokens         int     `json:"num_input_tokens_seen"`
			BestMetric     any     `json:"best_metric"`
			BestStep       *int    `json:"best_global_step"`
			BestCheckpoint any     `json:"best_model_checkpoint"`
		}
		if err := json.Unmarshal([]byte(want), &r); err != nil {
			t.Fatal(err)
		}
		s := State{
			GlobalStep: r.GlobalStep, MaxSteps: r.MaxSteps, LoggingSteps: r.LoggingSteps, EvalSteps: r.EvalSteps, SaveSteps: r.SaveSteps,
			Epoch: r.Epoch, NumTrainEpochs: r.Epochs, TrainBatchSize: r.Batch, TotalFlos: r.Flos, InputTokensSeen: r.Tokens,
			BestMetric: r.BestMetric, BestCheckpoint: r.BestCheckpoint,
		}
		if r.BestStep != nil {
			s.BestStep = *r.BestStep
		}
		var err error
		if s.History, err = ReadHistory(dir); err != nil {
			t.Fatal(err)
		}
		out := t.TempDir()
		if err := s.Write(out, true); err != nil {
			t.Fatal(err)
		}
		if got := read(t, out, storage.TrainerStateFile); got != want {
			t.Errorf("%s: the state differs\ngot %s", dir, got)
		}
	}
}

func TestResultsAreTheRecordedOnes(t *testing.T) {
	for _, dir := range recordedRuns(t) {
		out := t.TempDir()
		for _, split := range []string{"train", "eval"} {
			raw, err := os.ReadFile(filepath.Join(dir, split+"_results.json"))
			if err != nil {
				continue
			}
			metrics, err := pyjson.DecodeObject(raw)
			if err != nil {
				t.Fatal(err)
			}
			last := len(metrics) - 1 // the order given must not matter
			metrics[0], metrics[last] = metrics[last], metrics[0]
			if err := WriteResults(out, split, metrics); err != nil {
				t.Fatal(err)
			}
			if got := read(t, out, split+"_results.json"); got != string(raw) {
				t.Errorf("%s %s:\ngot  %s\nwant %s", dir, split, got, raw)
			}
		}
		if got, want := read(t, out, "all_results.json"), read(t, dir, "all_results.json"); got != want {
			t.Errorf("%s all:\ngot  %s\nwant %s", dir, got, want)
		}
	}
}

func TestStateKeepsEveryValueOfItsHistory(t *testing.T) {
	dir := t.TempDir()
	s := State{NumTrainEpochs: 1.5, History: []pyjson.Object{{{Key: "step", Value: 3}, {Key: "loss", Value: math.NaN()}, {Key: "tokens", Value: 7}, {Key: "eval_数据_loss", Value: 2.0}, {Key: "loads", Value: map[string]any{"a": 1.0}}}}}
	if err := s.Write(dir, false); err != nil {
		t.Fatal(err)
	}
	text := read(t, dir, storage.TrainerStateFile)
	for _, want := range []string{"\"num_train_epochs\": 2,", `"eval_\u6570\u636e_loss": 2.0,`, `"loss": NaN,`, `"should_training_stop": false`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	h, err := ReadHistory(dir)
	if err != nil {
		t.Fatal(err)
	}
	const want = `[{"eval_数据_loss": 2.0, "loads": {"a": 1.0}, "loss": NaN, "step": 3, "tokens": 7}]`
	if got := pyjson.Encode(h, 0); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestDamagedStateAndResultsAreErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadHistory(dir); err == nil {
		t.Error("a missing state was read")
	}
	for _, body := range []string{"{", "[]", "{}", `{"log_history": [1]}`} {
		if err := os.WriteFile(filepath.Join(dir, storage.TrainerStateFile), []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadHistory(dir); err == nil || !strings.Contains(err.Error(), storage.TrainerStateFile) {
			t.Errorf("%s: %v", body, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "all_results.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := WriteResults(dir, "train", pyjson.Object{{Key: "a", Value: 1}}); err == nil {
		t.Error("damaged results were merged into")
	}
}
