package selector

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/kernels/gradproj"
)

// TestSharedMean: of shares at the same time one computes the mean of the evaluation rows and the
// others wait for it and read it; another scoring's, and a damaged one, is computed again.
func TestSharedMean(t *testing.T) {
	p, err := gradproj.New(gradproj.Rademacher, 3, 1, 10, gradproj.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := &influence{run: &algo.Run{Log: slog.New(slog.DiscardHandler)}, dir: t.TempDir(), projection: p}
	var computed atomic.Int32
	want := []float64{1.5, -2, 1e-300}
	mean := func(context.Context, int) ([]float64, error) {
		computed.Add(1)
		return want, nil
	}
	all := func(key string, task, times int) {
		t.Helper()
		computed.Store(0)
		var shares sync.WaitGroup
		for range 4 {
			shares.Go(func() {
				if got, err := s.sharedMean(key, mean)(t.Context(), task); err != nil || !slices.Equal(got, want) {
					t.Errorf("%v %v", got, err)
				}
			})
		}
		shares.Wait()
		if n := int(computed.Load()); n != times {
			t.Errorf("task %d: computed %d times, want %d", task, n, times)
		}
	}
	a, b := strings.Repeat("a", 64), strings.Repeat("a", 63)+"b" // of one file
	all(a, 0, 1)
	all(a, 0, 0)
	all(a, 1, 1)
	all(b, 0, 1)
	all(a, 0, 1)
	path := filepath.Join(s.dir, "features", a[:16]+"-0.mean")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[70] ^= 1
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	all(a, 0, 1)
	if left, _ := filepath.Glob(filepath.Join(s.dir, "features", "*.lock")); len(left) > 0 {
		t.Errorf("locks are left: %v", left)
	}
}
