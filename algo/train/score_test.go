package train_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/train"
)

// TestRegression09Shards: LESS scores of several machines equal those of one: three merged
// shards equal the whole, byte for byte.
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
		if err := train.MergeScores(filepath.Join(f.dir, "parts"), train.Merging{Shares: 3}); err == nil {
			t.Errorf("merged with %d of 3 shards", i-1)
		}
		score("parts", train.Shard{Index: i, Count: 3})
	}
	if err := train.MergeScores(filepath.Join(f.dir, "parts"), train.Merging{Shares: 3}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"scores.npy", "scores.jsonl"} {
		if !sameFile(t, filepath.Join(f.dir, "whole", name), filepath.Join(f.dir, "parts", name)) {
			t.Errorf("%s of the shards is not that of the whole", name)
		}
	}
}

// score scores a shard with a selector.
func (f *fixture) score(dir string, s train.Shard, args ...string) {
	f.t.Helper()
	c, err := config.Load(filepath.Join(f.dir, "run.yaml"), append([]string{"train_type=dynamic_select", "component_name=it"}, args...))
	if err != nil {
		f.t.Fatal(err)
	}
	if err := train.Score(context.Background(), c, train.Options{Out: os.Stderr, Log: slog.New(slog.DiscardHandler)}, filepath.Join(f.dir, dir), s); err != nil {
		f.t.Fatal(err)
	}
}

// TestSharesOfOneModel: shards that were scored with different merged adapters, alphas or
// parameters cannot be merged; an existing shard is not computed again, unless it belongs to
// another model or is damaged.
func TestSharesOfOneModel(t *testing.T) {
	t.Parallel()
	f := small(t)
	f.write("components.yaml", "selectors:\n  it: {name: loss, params: {cache_dir: "+f.dir+"/cache}}\n")
	for _, seed := range []string{"1", "2"} {
		f.must("output_dir="+f.dir+"/adapter"+seed, "max_steps=2", "seed="+seed)
	}
	merged := func(n string) []string {
		return []string{"adapter_name_or_path=" + f.dir + "/adapter" + n, "create_new_adapter=true"}
	}
	shares := filepath.Join(f.dir, "shares")
	stat := func() os.FileInfo {
		info, err := os.Stat(filepath.Join(shares, "scores-1-of-2.npy"))
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	for _, other := range [][]string{merged("2"), append(merged("1"), "lora_alpha=3"), append(merged("1"), "rope_scaling=linear", "cutoff_len=200")} {
		f.score("shares", train.Shard{Index: 1, Count: 2}, merged("1")...)
		f.score("shares", train.Shard{Index: 2, Count: 2}, other...)
		if err := train.MergeScores(shares, train.Merging{Shares: 2}); err == nil || !strings.Contains(err.Error(), "share 2 of 2") || !strings.Contains(err.Error(), "another model") {
			t.Errorf("%v: merged: %v", other, err)
		}
	}
	first := stat()
	f.score("shares", train.Shard{Index: 1, Count: 2}, merged("1")...)
	if !os.SameFile(first, stat()) {
		t.Error("a finished share was computed again")
	}
	f.score("shares", train.Shard{Index: 1, Count: 2}, merged("2")...)
	if os.SameFile(first, stat()) {
		t.Error("another model's share was taken")
	}
	f.score("shares", train.Shard{Index: 2, Count: 2}, merged("2")...)
	if err := train.MergeScores(shares, train.Merging{Shares: 2}); err != nil {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(shares, "scores-2-of-2.json")); err != nil {
		t.Fatal(err)
	}
	if err := train.MergeScores(shares, train.Merging{Shares: 2}); err == nil || !strings.Contains(err.Error(), "the file with its conditions is missing") {
		t.Errorf("a share of nobody knows what: %v", err)
	}
}

// TestDamagedShares: a share of which a byte has changed, in either file, is named rather
// than merged, and scored again; there are no more shares than rows.
func TestDamagedShares(t *testing.T) {
	t.Parallel()
	f := small(t)
	f.write("components.yaml", "selectors:\n  it: {name: loss, params: {cache_dir: "+f.dir+"/cache}}\n")
	shares := filepath.Join(f.dir, "shares")
	second := train.Shard{Index: 2, Count: 2}
	f.score("shares", train.Shard{Index: 1, Count: 2})
	f.score("shares", second)
	for _, name := range []string{"scores-2-of-2.npy", "scores-2-of-2.jsonl"} {
		path := filepath.Join(shares, name)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		damaged := slices.Clone(whole)
		damaged[len(damaged)-3] ^= 1
		f.write("shares/"+name, string(damaged))
		if err := train.MergeScores(shares, train.Merging{Shares: 2}); err == nil || !strings.Contains(err.Error(), name+" has changed") {
			t.Errorf("%s damaged: %v", name, err)
		}
		f.score("shares", second)
		if again, err := os.ReadFile(path); err != nil || !slices.Equal(again, whole) {
			t.Errorf("%s is not made again: %v", name, err)
		}
	}
	if err := train.MergeScores(shares, train.Merging{Shares: 2}); err != nil {
		t.Error(err)
	}
	c, err := config.Load(filepath.Join(f.dir, "run.yaml"), []string{"train_type=dynamic_select", "component_name=it"})
	if err != nil {
		t.Fatal(err)
	}
	err = train.Score(context.Background(), c, train.Options{Out: os.Stderr, Log: slog.New(slog.DiscardHandler)}, shares, train.Shard{Index: 1, Count: 49})
	if err == nil || !strings.Contains(err.Error(), "at most 48 shares") {
		t.Errorf("more shares than rows: %v", err)
	}
}

// TestShardsOfWholePool: clusters are formed from the whole pool, for any shard.
func TestShardsOfWholePool(t *testing.T) {
	t.Parallel()
	f := small(t)
	f.write("components.yaml", "selectors:\n  it: {name: cluster_less, params: {cache_dir: "+f.dir+"/cache, projection: sjlt, proj_dim: 32, cluster_size: 4}}\n")
	f.score("whole", train.Shard{Index: 1, Count: 1})
	for i := 1; i <= 3; i++ {
		f.score("parts", train.Shard{Index: i, Count: 3})
	}
	if err := train.MergeScores(filepath.Join(f.dir, "parts"), train.Merging{Shares: 3}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"scores.npy", "scores.jsonl"} {
		if !sameFile(t, filepath.Join(f.dir, "whole", name), filepath.Join(f.dir, "parts", name)) {
			t.Errorf("%s of the shards is not that of the whole", name)
		}
	}
}

// TestSweepSharesACache: runs that differ in something on which a selection depends keep
// separate selections in one cache_dir, and of two equal runs at the same time one waits for
// the other.
func TestSweepSharesACache(t *testing.T) {
	t.Parallel()
	f := small(t)
	f.write("components.yaml", "selectors:\n  it: {name: less, params: {cache_dir: "+f.dir+"/cache, projection: sjlt, proj_dim: 32}}\n")
	args := func(rate, out string) []string {
		return []string{"train_type=dynamic_select", "component_name=it", "max_steps=4", "learning_rate=" + rate, "output_dir=" + filepath.Join(f.dir, out)}
	}
	var wg sync.WaitGroup
	errs := make([]error, 3)
	for i, out := range []string{"a", "b", "c"} {
		wg.Go(func() { errs[i] = f.run(args([]string{"1e-3", "1e-3", "2e-3"}[i], out)...) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	kept, err := filepath.Glob(filepath.Join(f.dir, "cache/selection_*"))
	if err != nil || len(kept) != 2 {
		t.Fatalf("one selection for each of two rates is kept: %v %v", kept, err)
	}
	var step [2][]byte
	for i, rate := range []string{"1e-3", "2e-3"} {
		log, err := f.said(train.Options{}, args(rate, "again"+rate)...)
		if err != nil || !strings.Contains(log, "read from disk") {
			t.Errorf("%s: %v\n%s", rate, err, log)
		}
		if step[i], err = os.ReadFile(filepath.Join(f.dir, "cache/step_2.json")); err != nil {
			t.Fatal(err)
		}
	}
	if string(step[0]) == string(step[1]) {
		t.Error("both rates took one selection")
	}
}

// TestMergedTop: the best rows of shares are those of the whole, best first, the first of equal
// ones; those without a score are none.
func TestMergedTop(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.write("components.yaml", "selectors:\n  it: {name: loss, params: {cache_dir: "+f.dir+"/cache}}\n")
	for i := 1; i <= 3; i++ {
		f.score("parts", train.Shard{Index: i, Count: 3}, "dataset=pool,eval")
	}
	parts := filepath.Join(f.dir, "parts")
	type row struct {
		Index   int
		Dataset string
		Score   *float64
	}
	read := func(name string) (rows []row) {
		raw, err := os.ReadFile(filepath.Join(parts, name))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			var r row
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			rows = append(rows, r)
		}
		return rows
	}
	for _, per := range []bool{false, true} {
		if err := train.MergeScores(parts, train.Merging{Shares: 3, Top: 3, PerDataset: per}); err != nil {
			t.Fatal(err)
		}
		all := read("scores.jsonl")
		slices.SortStableFunc(all, func(a, b row) int { return cmp.Compare(*b.Score, *a.Score) })
		taken := map[string]int{}
		var want []row
		for _, r := range all {
			group := ""
			if per {
				group = r.Dataset
			}
			if taken[group]++; taken[group] <= 3 {
				want = append(want, r)
			}
		}
		got := read(train.TopName)
		if len(got) != len(want) || per != (len(got) == 6) {
			t.Fatalf("per data set %v: %d rows, want %d", per, len(got), len(want))
		}
		for i := range want {
			if got[i].Index != want[i].Index {
				t.Errorf("per data set %v, place %d: row %d, want %d", per, i, got[i].Index, want[i].Index)
			}
		}
	}
}
