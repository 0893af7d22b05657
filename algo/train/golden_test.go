package train_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	_ "dataflex.dev/dataflex/algo/mixer"
	"dataflex.dev/dataflex/algo/train"
	_ "dataflex.dev/dataflex/algo/weighter"
)

// golden has upstream's own recorded runs, on machines where it exists.
const golden = "../../../shared/golden"

// recordedHere changes the working directory to a copy of the files with which upstream's
// runs were recorded.
func recordedHere(t *testing.T) {
	t.Helper()
	work := t.TempDir()
	if err := os.CopyFS(work, os.DirFS(golden)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DATAFLEX_CACHE", filepath.Join(work, "tokenised"))
	t.Setenv("OMP_NUM_THREADS", "1") // the runs are parallel: little is gained from threads within a run
	t.Chdir(work)
}

// TestGoldenRuns replays every run that was recorded from LLaMA-Factory and DataFlex, with
// their files unchanged except for mode: upstream.
func TestGoldenRuns(t *testing.T) {
	runs, err := os.ReadDir(filepath.Join(golden, "runs"))
	if err != nil {
		t.Skip("no recorded runs here: ", err)
	}
	if testing.Short() {
		t.Skip("whole runs take half a minute")
	}
	recordedHere(t)
	for _, r := range runs {
		// transformers 4.52's label smoothing grows with gradient_accumulation_steps; our
		// static runs do not (TestSmoothingAccumulates).
		if r.Name() == "static_sft_smoothing" {
			continue
		}
		t.Run(r.Name(), func(t *testing.T) {
			t.Parallel()
			replay(t, r.Name())
		})
	}
}

func replay(t *testing.T, name string) {
	out := filepath.Join("out", name)
	file := filepath.Join("runs", name, "config.yaml")
	overrides := []string{"output_dir=" + out}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if m := regexp.MustCompile(`components_cfg_file: (\S+)`).FindSubmatch(raw); m != nil {
		overrides = append(overrides, "components_cfg_file="+components(t, string(m[1]), name))
	}
	c, err := config.Load(file, overrides)
	if err != nil {
		t.Fatal(err)
	}
	if err := train.Run(context.Background(), c, train.Options{Out: os.Stderr, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	compareLog(t, out, filepath.Join("runs", name), strings.HasSuffix(name, "bf16"))
	compareOrder(t, out, filepath.Join("runs", name))
	compareSelections(t, filepath.Join("caches", name), filepath.Join("runs", name))
	for _, weights := range []string{"odm_weights.jsonl", "doremi_weights.jsonl"} {
		compareDomainWeights(t, filepath.Join(out, weights), filepath.Join("runs", name, weights))
	}
}

// components writes the run's components file with mode upstream, a cache folder of its own,
// and without projection if the recorded run had none.
func components(t *testing.T, file, run string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := regexp.MustCompile(`(\n    name: \w+\n    params:\n)`).ReplaceAllString(string(raw), "${1}      mode: upstream\n")
	s = regexp.MustCompile(`cache_dir: \S+`).ReplaceAllString(s, "cache_dir: caches/"+run)
	if strings.HasSuffix(run, "exact") {
		s = regexp.MustCompile(`(proj_dim: \d+)`).ReplaceAllString(s, "${1}\n      projection: none")
	}
	path := "components_" + run + ".yaml"
	if err := os.WriteFile(path, []byte(s), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// compareLog compares the logged numbers with upstream's: losses to a unit of their last
// decimal, norms to 2e-4, rates exactly, evaluations to 1e-5. A bf16 run is compared with
// bf16's precision, because here it is computed in float32.
func compareLog(t *testing.T, ours, theirs string, bf16 bool) {
	t.Helper()
	read := func(path, key string) []map[string]any {
		var s map[string]json.RawMessage
		readJSON(t, path, &s)
		var h []map[string]any
		if err := json.Unmarshal(s[key], &h); err != nil {
			t.Fatal(err)
		}
		return h
	}
	got, want := read(filepath.Join(ours, "trainer_state.json"), "log_history"), read(filepath.Join(theirs, "trace.json"), "log_history")
	got = slices.DeleteFunc(got, func(e map[string]any) bool { return e["selection_runtime"] != nil })
	if len(got) != len(want) {
		t.Fatalf("%d lines of history, recorded %d", len(got), len(want))
	}
	tolerance := map[string]float64{"loss": 1.1e-4, "grad_norm": 2e-4, "learning_rate": 1e-12}
	if bf16 {
		tolerance = map[string]float64{"loss": 1e-2, "grad_norm": 2e-2, "learning_rate": 1e-12}
	}
	for i, w := range want {
		for k, v := range w {
			tol, ok := tolerance[k]
			switch {
			case strings.HasPrefix(k, "eval") && (strings.HasSuffix(k, "_loss") || strings.HasSuffix(k, "_accuracy")):
				tol, ok = 1e-5, true
			case k == "loss" && v.(float64) > 1:
				tol *= 1 + 1e-5*v.(float64)
			case k == "grad_norm":
				tol *= v.(float64)
			}
			g, there := got[i][k].(float64)
			if ok && (!there || math.Abs(g-v.(float64)) > tol) {
				t.Errorf("step %v: %s %v, recorded %v", w["step"], k, got[i][k], v)
			}
		}
	}
}

// compareSelections compares the chosen rows with upstream's, including their order, and
// LESS's similarities to 2e-4.
func compareSelections(t *testing.T, cache, theirs string) {
	t.Helper()
	var trace struct {
		Selections []struct {
			Step       int       `json:"step_id"`
			Indices    []int     `json:"indices"`
			Similarity []float64 `json:"similarity_mean"`
		} `json:"selections"`
	}
	readJSON(t, filepath.Join(theirs, "trace.json"), &trace)
	for _, w := range trace.Selections {
		if w.Indices == nil { // the proportions of a mixer
			continue
		}
		var got struct {
			Indices []int `json:"indices"`
			Metric  map[string]json.RawMessage
		}
		readJSON(t, filepath.Join(cache, fmt.Sprintf("step_%d.json", w.Step)), &got)
		if !slices.Equal(got.Indices, w.Indices) {
			t.Errorf("step %d: chosen %v, recorded %v", w.Step, got.Indices, w.Indices)
			continue
		}
		var similarity []float64
		if w.Similarity == nil || json.Unmarshal(got.Metric["train_eval_similarity"], &similarity) != nil {
			continue
		}
		for i, row := range got.Indices {
			if d := math.Abs(similarity[i] - w.Similarity[row]); !(d < 2e-4) {
				t.Errorf("step %d row %d: similarity off by %.1e", w.Step, row, d)
			}
		}
	}
}

func compareDomainWeights(t *testing.T, ours, theirs string) {
	t.Helper()
	want, err := os.ReadFile(theirs)
	if err != nil {
		return // the run has no such file
	}
	got, err := os.ReadFile(ours)
	if err != nil {
		t.Error(err)
		return
	}
	type line struct {
		Weights []float64 `json:"domain_weights"`
	}
	parse := func(raw []byte) (out []line) {
		for l := range strings.Lines(string(raw)) {
			var x line
			if err := json.Unmarshal([]byte(l), &x); err != nil {
				t.Fatal(err)
			}
			out = append(out, x)
		}
		return out
	}
	g, w := parse(got), parse(want)
	if len(g) != len(w) {
		t.Errorf("%s: %d lines, recorded %d", ours, len(g), len(w))
		return
	}
	for i := range w {
		for j := range w[i].Weights {
			if math.Abs(g[i].Weights[j]-w[i].Weights[j]) > 1e-6 {
				t.Errorf("%s line %d: %v, recorded %v", ours, i+1, g[i].Weights, w[i].Weights)
			}
		}
	}
}
