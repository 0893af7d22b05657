package train_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/data/npy"
)

// TestSubtaskColumn: with a subtask column in the evaluation file, LESS uses the subtask for
// which a row scores highest. A row's score for each subtask is computed by runs with only
// that subtask's rows.
func TestSubtaskColumn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.write("components.yaml", "selectors:\n  less:\n    name: less\n    params: {cache_dir: "+f.dir+"/cache/less, projection: none}\n")
	add := map[string]any{"instruction": "Add 3 and 4", "input": "", "output": "7", "subtask": "sums"}
	capitals := map[string]any{"instruction": "Write in capitals: mola", "input": "", "output": "MOLA", "subtask": "letters"}
	again := map[string]any{"instruction": "Write in capitals: molala", "input": "", "output": "MOLALA", "subtask": "letters"}
	without := func(row map[string]any) map[string]any {
		return map[string]any{"instruction": row["instruction"], "input": "", "output": row["output"]}
	}
	args := []string{"train_type=dynamic_select", "component_name=less", "max_steps=3", "save_steps=2"}
	f.json("eval.json", []any{add, capitals, again})
	f.must(args...)
	scores := func(rows ...any) []float64 {
		t.Helper()
		f.json("eval.json", rows)
		c, err := config.Load(filepath.Join(f.dir, "run.yaml"), append(args, "resume_from_checkpoint="+filepath.Join(f.dir, "out/checkpoint-2")))
		if err != nil {
			t.Fatal(err)
		}
		if err := train.Score(context.Background(), c, train.Options{Out: os.Stderr, Log: slog.New(slog.DiscardHandler)}, filepath.Join(f.dir, "scores"), train.Shard{Index: 1, Count: 1}); err != nil {
			t.Fatal(err)
		}
		a, err := npy.Read(filepath.Join(f.dir, "scores/scores.npy"))
		if err != nil {
			t.Fatal(err)
		}
		return a.Float64s()
	}
	sums, letters := scores(without(add)), scores(without(capitals), without(again))
	best := make([]float64, len(sums))
	byMean := make([]float64, len(sums))
	for i := range best {
		best[i], byMean[i] = max(sums[i], letters[i]), (sums[i]+2*letters[i])/3
	}
	if got := scores(add, capitals, again); !slices.Equal(got, best) {
		t.Errorf("scores %v\nwant %v", got, best)
	}
	var got struct{ Indices []int }
	readJSON(t, filepath.Join(f.dir, "cache/less/step_2.json"), &got)
	if want := largest(best, 8); !slices.Equal(got.Indices, want) {
		t.Errorf("selected %v, want %v", got.Indices, want)
	}
	if slices.Equal(largest(best, 8), largest(byMean, 8)) {
		t.Error("the subtasks make no difference here: the test shows nothing")
	}
}

// largest returns the positions of the n largest, the lower one first if equal.
func largest(x []float64, n int) []int {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case x[a] > x[b]:
			return -1
		case x[a] < x[b]:
			return 1
		}
		return 0
	})
	return order[:n]
}
