package train_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"dataflex.dev/dataflex/model/checkpoint"
)

// TestRecordedRun replays a LESS run of the demo's model in plain PyTorch and PEFT
// (tools/golden/less_run.py): every loss and norm, every row's score, the choices, and the
// weights at the end.
func TestRecordedRun(t *testing.T) {
	t.Parallel()
	var want struct {
		Steps []struct {
			Loss     float64 `json:"loss"`
			GradNorm float64 `json:"grad_norm"`
			LR       float64 `json:"learning_rate"`
		} `json:"steps"`
		Selections []struct {
			Step    int       `json:"step"`
			Indices []int     `json:"indices"`
			Score   []float64 `json:"score"`
		} `json:"selections"`
	}
	readJSON(t, "testdata/less_run/run.json", &want)
	f := newFixture(t)
	f.write("components.yaml", fmt.Sprintf("selectors:\n  less:\n    name: less\n    mode: upstream\n    params: {cache_dir: %s/cache, projection: none, seed: 123}\n", f.dir))
	f.must("train_type=dynamic_select", "component_name=less", "max_steps=-1", "num_train_epochs=1.0", "adapter_name_or_path=testdata/less_run/start")
	loss, norm := losses(t, filepath.Join(f.dir, "out"))
	if len(loss) != len(want.Steps) {
		t.Fatalf("%d steps, recorded %d", len(loss), len(want.Steps))
	}
	for i, w := range want.Steps {
		// The log rounds to four decimals.
		if math.Abs(loss[i]-w.Loss) > 5e-5+1e-6*w.Loss || math.Abs(norm[i]-w.GradNorm) > 1e-5*w.GradNorm {
			t.Errorf("step %d: loss %v norm %v, recorded %v %v", i+1, loss[i], norm[i], w.Loss, w.GradNorm)
		}
	}
	for _, w := range want.Selections {
		var got struct {
			Indices []int `json:"indices"`
			Metric  struct {
				Similarity []float64 `json:"train_eval_similarity"`
			} `json:"metric"`
		}
		readJSON(t, filepath.Join(f.dir, "cache", fmt.Sprintf("step_%d.json", w.Step)), &got)
		if fmt.Sprint(got.Indices) != fmt.Sprint(w.Indices) {
			t.Errorf("step %d: chosen %v, recorded %v", w.Step, got.Indices, w.Indices)
			continue
		}
		for i, row := range got.Indices {
			if d := math.Abs(got.Metric.Similarity[i] - w.Score[row]); d > 1e-5 {
				t.Errorf("step %d row %d: score off by %.1e", w.Step, row, d)
			}
		}
	}
	if c := updateCosine(t, filepath.Join(f.dir, "out"), "testdata/less_run/start", "testdata/less_run/end"); c < 1-1e-6 {
		t.Errorf("the update's cosine with the recorded one is %v", c)
	}
}

// TestWriteFixture writes the fixture to $DATAFLEX_TEST_FIXTURE, for `make golden`.
func TestWriteFixture(t *testing.T) {
	dir := os.Getenv("DATAFLEX_TEST_FIXTURE")
	if dir == "" {
		t.Skip("no folder to write to")
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(newFixture(t).dir)); err != nil {
		t.Fatal(err)
	}
}

// updateCosine compares the change of an adapter in training with its change in a recorded
// run that started from the same weights.
func updateCosine(t *testing.T, ours, start, end string) float64 {
	t.Helper()
	var dot, a2, b2 float64
	var w [3]*checkpoint.Weights
	for i, dir := range []string{ours, start, end} {
		var err error
		if w[i], err = checkpoint.OpenWeights(dir); err != nil {
			t.Fatal(err)
		}
		defer w[i].Close()
	}
	for _, name := range w[2].Names() {
		shape, _ := w[2].Shape(name)
		n := 1
		for _, d := range shape {
			n *= d
		}
		var v [3][]float32
		for i := range w {
			v[i] = make([]float32, n)
			if err := w[i].ReadFloat32(name, v[i]); err != nil {
				t.Fatal(err)
			}
		}
		for i := range n {
			a, b := float64(v[0][i]-v[1][i]), float64(v[2][i]-v[1][i])
			dot, a2, b2 = dot+a*b, a2+a*a, b2+b*b
		}
	}
	return dot / math.Sqrt(a2*b2)
}

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
