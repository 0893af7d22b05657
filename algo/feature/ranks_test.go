package feature

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/lanes"
	"dataflex.dev/dataflex/kernels/gradproj"
)

// TestPassesOnRanks: every pass gives every rank the same bits in the same order as a single
// process, and a table that was begun by any number of ranks can be continued by another
// number.
func TestPassesOnRanks(t *testing.T) {
	rows := examples(37)
	rows[5].Labels = rows[5].Labels[:0:0]
	for range rows[5].InputIDs {
		rows[5].Labels = append(rows[5].Labels, -100)
	}
	want := onRanks(t, 1, t.TempDir(), func(p Pass, dir string) (string, error) { return everything(p, dir, rows, 0) })[0]
	for _, n := range []int{2, 3} {
		dir := t.TempDir()
		onRanks(t, n, dir, func(p Pass, dir string) (string, error) { return everything(p, dir, rows, 4) })
		for rank, got := range onRanks(t, 5-n, dir, func(p Pass, dir string) (string, error) { return everything(p, dir, rows, 0) }) {
			if got != want {
				t.Errorf("rank %d of %d: another result than one process has", rank, 5-n)
			}
		}
	}
}

// TestLeast: ranks on devices of different sizes compute the batches of the smallest.
func TestLeast(t *testing.T) {
	own := map[int]int{0: 8192, 1: 2048, 2: 4096}
	for rank, got := range onRanks(t, len(own), t.TempDir(), func(p Pass, _ string) (string, error) {
		n, err := least(t.Context(), p.Ranks, "the length of batches", own[p.Ranks.Rank()])
		return fmt.Sprint(n), err
	}) {
		if got != "2048" {
			t.Errorf("rank %d computes batches of %s tokens, want 2048", rank, got)
		}
	}
}

// onRanks runs a pass on that many ranks, each with a device and a model of its own, and
// returns each rank's result.
func onRanks(t *testing.T, n int, dir string, do func(p Pass, dir string) (string, error)) []string {
	t.Helper()
	out := make([]string, n)
	passes := make([]Pass, n)
	for r := range passes {
		dev, m := model(t)
		passes[r] = pass(dev, m, 40)
	}
	dev := cpu.New(1)
	defer dev.Close()
	var wg sync.WaitGroup
	for r, c := range lanes.Job(n, dev) {
		wg.Go(func() {
			_, j := ranks.New(t.Context(), c, time.Minute)
			passes[r].Ranks = j
			got, err := do(passes[r], dir)
			if err := j.Close(err); err != nil {
				t.Errorf("rank %d of %d: %v", r, n, err)
			}
			out[r] = got
		})
	}
	wg.Wait()
	return out
}

// everything is the results of all passes, bit for bit; if early is not 0, the pass with a
// store ends after that many batches.
func everything(p Pass, dir string, rows []data.Example, early int) (string, error) {
	var b strings.Builder
	ctx := context.Background()
	loss, err := Losses(ctx, p, rows)
	if err != nil {
		return "", err
	}
	for _, x := range loss {
		fmt.Fprintf(&b, "%x ", math.Float64bits(x))
	}
	v, err := Vectors(ctx, VectorPass{Pass: p, Layer: -1, Pooling: Mean}, rows)
	if err != nil {
		return "", err
	}
	blocks, err := Blocks(ctx, BlockPass{Pass: p, Layers: []int{0, 2}}, rows)
	if err != nil {
		return "", err
	}
	for _, x := range slices.Concat(v.Data, blocks.Data) {
		fmt.Fprintf(&b, "%x ", math.Float32bits(x))
	}
	kept, err := keptGradients(ctx, p, dir, rows, early)
	return b.String() + kept, err
}

func keptGradients(ctx context.Context, p Pass, dir string, rows []data.Example, early int) (string, error) {
	total := 0
	for _, q := range p.Model.Trainable() {
		total += q.Size()
	}
	projection, err := gradproj.New(gradproj.Rademacher, 32, 1, total, gradproj.Options{})
	if err != nil {
		return "", err
	}
	var b strings.Builder
	whole := GradientPass{Pass: p, Projection: projection, Rows: 3}
	if err := Gradients(ctx, whole, rows, 0, func(at []int, z []float32, norm []float64) error {
		fmt.Fprintf(&b, "%v %x %x\n", at, z, norm)
		return nil
	}); err != nil {
		return "", err
	}
	store, err := OpenStore(ctx, p.Ranks, filepath.Join(dir, "features"), strings.Repeat("k", 64), len(rows), 2)
	if err != nil {
		return "", err
	}
	small := GradientPass{Pass: p, Projection: projection, Keep: func(z []float32, norm []float64) (kept []float32) {
		for i, n := range norm {
			kept = append(kept, z[i*32], float32(n))
		}
		return kept
	}}
	batches := 0
	ended := fmt.Errorf("enough")
	err = Gradients(ctx, small, rows, store.Rows(), func(at []int, kept []float32, _ []float64) error {
		if batches++; early > 0 && batches > early {
			return ended
		}
		return store.Put(at, kept)
	})
	if early > 0 {
		if err == nil || !strings.Contains(err.Error(), ended.Error()) {
			return "", fmt.Errorf("the pass was not cut short: %w", err)
		}
		return "", store.Close()
	}
	if err != nil {
		return "", err
	}
	row := make([]float32, 2)
	for i := range rows {
		if err := store.Row(i, row); err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%x ", row)
	}
	return b.String(), store.Close()
}
