package selector_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/selector"
	"dataflex.dev/dataflex/data"
)

// shortest is a user-defined selector: it picks the shortest rows of at least min_tokens
// tokens.
type shortest struct {
	pool []data.Example
	min  int
}

// newShortest reads its parameters from components.yaml; one that it does not read is an error
// with its position.
func newShortest(run *algo.Run, _ algo.Mode, p *config.Params) (algo.Selector, error) {
	s := &shortest{pool: run.Train, min: p.Int("min_tokens", 1)}
	if s.min < 1 {
		return nil, p.Wrap("min_tokens", fmt.Errorf("at least 1, not %d", s.min))
	}
	return s, p.Err()
}

// Select returns positions in the pool.
func (s *shortest) Select(_ context.Context, r algo.Request) (algo.Selection, error) {
	var rows []int
	for i, ex := range s.pool {
		if len(ex.InputIDs) >= s.min {
			rows = append(rows, i)
		}
	}
	if len(rows) < r.N {
		return algo.Selection{}, fmt.Errorf("%d rows of %d tokens or more for a window of %d", len(rows), s.min, r.N)
	}
	slices.SortStableFunc(rows, func(a, b int) int { return len(s.pool[a].InputIDs) - len(s.pool[b].InputIDs) })
	return algo.Selection{Indices: rows[:r.N]}, nil
}

func TestMain(m *testing.M) {
	// A user's program does this in an init function.
	algo.RegisterSelector("shortest", newShortest)
	os.Exit(m.Run())
}

func TestSelectorOfOnesOwn(t *testing.T) {
	var pool []data.Example
	for _, n := range []int{9, 2, 5, 7, 4} {
		pool = append(pool, data.Example{InputIDs: make([]int32, n)})
	}
	run := &algo.Run{Train: pool, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	s, err := load(t, run, "shortest", "selectors: {shortest: {params: {min_tokens: 3}}}")
	if err != nil {
		t.Fatal(err)
	}
	sel, err := s.Select(context.Background(), algo.Request{N: 3})
	if err != nil || !slices.Equal(sel.Indices, []int{4, 2, 3}) {
		t.Errorf("picked %v, %v", sel.Indices, err)
	}
	if _, err := load(t, run, "shortest", "selectors: {shortest: {params: {min_token: 3}}}"); err == nil || !strings.Contains(err.Error(), "did you mean min_tokens?") {
		t.Errorf("a parameter with a typing error: %v", err)
	}
	if _, err := load(t, run, "longest", "selectors: {longest: {params: {}}}"); err == nil || !strings.Contains(err.Error(), "shortest") {
		t.Errorf("an unknown selector: %v", err)
	}
}

func load(t *testing.T, run *algo.Run, name, text string) (algo.Selector, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "components.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := config.LoadComponent(path, "selectors", name)
	if err != nil {
		t.Fatal(err)
	}
	return algo.BuildSelector(run, c)
}

// Every selector that upstream ships is accepted with every parameter it ships
// with: testdata/components.yaml has upstream's keys and values.
func TestUpstreamsParameters(t *testing.T) {
	for _, name := range []string{"less", "cluster_less", "loss", "delta_loss", "tsds", "near", "random", "custom"} {
		c, err := config.LoadComponent("testdata/components.yaml", "selectors", name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := algo.BuildSelector(selector.RunForTest(t), c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
