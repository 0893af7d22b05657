package train_test

import (
	"bytes"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/train"
)

// TestWeightColumn: a step's loss is the mean of its rows' losses weighted by their column,
// whatever the scale of the weights; if all are 0 there is no update.
func TestWeightColumn(t *testing.T) {
	t.Parallel()
	trained := func(weights [2]any, answers [2]string) (loss float64, weightsAfter []byte, log string) {
		f := newFixture(t)
		var rows []map[string]any
		for i := range 2 {
			rows = append(rows, map[string]any{"instruction": "Say it", "input": "", "output": answers[i], "w": weights[i]})
		}
		f.json("pool.json", rows)
		f.json("dataset_info.json", map[string]any{
			"pool": map[string]any{"file_name": "pool.json", "columns": map[string]string{"prompt": "instruction", "query": "input", "response": "output", "weight": "w"}},
			"eval": map[string]string{"file_name": "eval.json"},
		})
		var b bytes.Buffer
		err := f.runWith(train.Options{Out: os.Stderr, Log: slog.New(slog.NewTextHandler(&b, nil))}, "max_steps=1", "gradient_accumulation_steps=1", "warmup_ratio=0", "lr_scheduler_type=constant")
		if err != nil {
			t.Fatal(err)
		}
		all, _ := losses(t, filepath.Join(f.dir, "out"))
		return all[0], adapter(t, filepath.Join(f.dir, "out")), b.String()
	}
	// The two answers have equally many tokens.
	a, _, _ := trained([2]any{1, 1}, [2]string{"aaaa", "aaaa"})
	b, _, _ := trained([2]any{nil, nil}, [2]string{"bbbb", "bbbb"})
	for _, c := range []struct {
		weights [2]any
		want    float64
	}{
		{[2]any{nil, nil}, (a + b) / 2}, {[2]any{3, 3}, (a + b) / 2}, {[2]any{2, 0}, a}, {[2]any{0, 0.5}, b}, {[2]any{3, 1}, (3*a + b) / 4}, {[2]any{nil, 3}, (a + 3*b) / 4},
	} {
		got, _, _ := trained(c.weights, [2]string{"aaaa", "bbbb"})
		if math.Abs(got-c.want) > 2e-4 { // logged with four decimals
			t.Errorf("weights %v: loss %v, want %v (of %v and %v)", c.weights, got, c.want, a, b)
		}
	}
	if math.Abs(a-b) < 0.01 {
		t.Fatalf("the two rows have the losses %v and %v: the test shows nothing", a, b)
	}
	_, _, log := trained([2]any{0, 0}, [2]string{"aaaa", "bbbb"})
	if !strings.Contains(log, "every row of this step has the weight 0: the update is skipped") {
		t.Errorf("a step of zeros: %s", log)
	}
}
