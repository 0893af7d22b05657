package train_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/train"
)

// TestRegression09Shards: LESS scores of several machines are those of one: three shards put together are the whole, byte for byte.
func TestRegression09Shards(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	score := func(dir string, s train.Shard) {
		c, err := config.Load(filepath.Join(f.dir, "run.yaml"), []string{"train_type=dynamic_select", "component_name=less"})
		if err != nil {
			t.Fatal(err)
		}
		if err := train.Score(context.Background(), c, train.Options{Out: os.Stderr, Log: slog.New(slog.DiscardHandler)}, filepath.Join(f.dir, dir), s); err != nil {
			t.Fatal(err)
		}
	}
	score("whole", train.Shard{Index: 1, Count: 1})
	for i := 1; i <= 3; i++ {
		if err := train.MergeScores(filepath.Join(f.dir, "parts"), 3); err == nil {
			t.Errorf("merged with %d of 3 shards", i-1)
		}
		score("parts", train.Shard{Index: i, Count: 3})
	}
	if err := train.MergeScores(filepath.Join(f.dir, "parts"), 3); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"scores.npy", "scores.jsonl"} {
		if !sameFile(t, filepath.Join(f.dir, "whole", name), filepath.Join(f.dir, "parts", name)) {
			t.Errorf("%s of the shards is not that of the whole", name)
		}
	}
}
