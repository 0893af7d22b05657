package selector

import (
	"bytes"
	"context"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/driver"
)

// subtasked is a run with three subtasks, and its rows' scores by their definition.
func subtasked(t *testing.T) (run *algo.Run, want []float64) {
	t.Helper()
	run = whole(t, rows(24, 4, 1), rows(6, 3, 2))
	run.Subtasks = []string{"a", "b", "c", "a", "b", "c"}
	train, eval := adamDirections(run, gradients(t, run, run.Train)), gradients(t, run, run.Eval)
	for k := range 3 {
		for i, x := range meanCosines(train, eval, []int{k, k + 3}) {
			if k == 0 {
				want = append(want, x)
			}
			want[i] = max(want[i], x)
		}
	}
	return run, want
}

// listening gives a run a log that can be read.
func listening(run *algo.Run) *bytes.Buffer {
	var b bytes.Buffer
	run.Log = slog.New(slog.NewTextHandler(&b, nil))
	return &b
}

// By default gradients are compared unprojected, and the log says that proj_dim is not used.
func TestExactIsTheDefault(t *testing.T) {
	run, want := subtasked(t)
	for _, params := range [][]string{nil, {"proj_dim: 64"}} {
		log := listening(run)
		s := mustBuild(t, run, "less", "faithful", append(params, "cache_dir: "+t.TempDir())...)
		sel := selected(t, s, algo.Request{Step: 4, Update: 1, N: 8})
		compare(t, "score", sel.Score, want, 2e-4)
		if said := strings.Count(log.String(), "proj_dim is not used"); said != len(params) {
			t.Errorf("%v: it is said %d times that proj_dim is not used", params, said)
		}
		if spread, ok := sel.Facts["score_spread"].(float64); !ok || math.Abs(spread-deviation(want)) > 1e-4 || len(sel.Facts) != 1 {
			t.Errorf("facts %v", sel.Facts)
		}
	}
	for _, name := range []string{"cluster_less", "nice"} {
		run := talking(t, 2)
		s := mustBuild(t, run, name, "faithful", append([]string{"cache_dir: " + t.TempDir()}, map[string][]string{"nice": {"reward: contains"}}[name]...)...)
		exact := map[string]func() bool{"cluster_less": func() bool { return s.(*clusterLESS).exact() }, "nice": func() bool { return s.(*nice).exact() }}[name]
		if !exact() {
			t.Errorf("%s projects", name)
		}
	}
	if mustBuild(t, run, "less", "upstream").(*less).exact() {
		t.Error("mode upstream does not project")
	}
}

// Subtasks whose means do not fit into memory together are compared in groups, with identical
// bits.
func TestSubtasksInGroups(t *testing.T) {
	run, _ := subtasked(t)
	for name, params := range map[string][]string{"less": nil, "cluster_less": {"num_clusters: 6"}} {
		at := func(atOnce int) algo.Selection {
			s := mustBuild(t, run, name, "faithful", append(params, "cache_dir: "+t.TempDir())...)
			base(s).atOnce = atOnce
			return selected(t, s, algo.Request{Step: 4, Update: 1, N: 8})
		}
		together := at(3)
		for atOnce := 1; atOnce < 3; atOnce++ {
			apart := at(atOnce)
			if !slices.Equal(apart.Score, together.Score) || !slices.Equal(apart.Indices, together.Indices) {
				t.Errorf("%s: in groups of %d scores are %v, together %v", name, atOnce, apart.Score, together.Score)
			}
			if apart.Scored <= together.Scored {
				t.Errorf("%s: %d rows were scored in groups, %d together", name, apart.Scored, together.Scored)
			}
		}
	}
}

func base(s algo.Selector) *influence {
	if c, ok := s.(*clusterLESS); ok {
		return c.influence
	}
	return s.(*less).influence
}

// cramped is a device that reports little memory.
type cramped struct {
	driver.Device
	bytes uint64
}

func (d cramped) Attributes() driver.Attributes {
	a := d.Device.Attributes()
	a.MemoryBytes = d.Used() + d.bytes
	return a
}

// The number of means held follows from the free memory, and its cost is logged and planned.
func TestMeansFollowTheMemory(t *testing.T) {
	run, _ := subtasked(t)
	total := 0
	for _, p := range run.Model.Trainable() {
		total += p.Size()
	}
	mean, dev := uint64(4*total), run.Device
	for _, c := range []struct {
		bytes          uint64
		atOnce, passes int
	}{
		{1 << 40, 3, 1}, {12 * mean, 3, 1}, {12*mean - 1, 2, 2}, {8*mean - 1, 1, 3}, {1, 1, 3},
	} {
		log := listening(run)
		run.Device = cramped{dev, c.bytes}
		s := mustBuild(t, run, "less", "faithful", "cache_dir: "+t.TempDir()).(*less)
		run.Device = dev
		if s.atOnce != c.atOnce || s.groups() != c.passes {
			t.Errorf("%d bytes: %d means at once in %d passes, want %d in %d", c.bytes, s.atOnce, s.groups(), c.atOnce, c.passes)
		}
		if said := strings.Contains(log.String(), "passes over the pool"); said != (c.passes > 1) {
			t.Errorf("%d bytes: the cost is said: %v: %s", c.bytes, said, log)
		}
		// The means, six rows' gradients and a float64 mean; Adam's moments.
		if want := mean*uint64(c.atOnce+6+2) + 2*mean; s.MemoryBytes() != want {
			t.Errorf("%d bytes are planned, want %d", s.MemoryBytes(), want)
		}
	}
}

// dying is a context that ends after it has been checked so often.
type dying struct {
	context.Context
	looks int
}

func (c *dying) Err() error {
	if c.looks--; c.looks < 0 {
		return context.Canceled
	}
	return nil
}

// A pass that was killed at any point is continued, with the bits of an uninterrupted one; with
// several checkpoints and groups the finished ones are not repeated.
func TestKilledPassGoesOn(t *testing.T) {
	run, _ := subtasked(t)
	run.Train = rows(80, 4, 1)
	for i := range run.Train { // five batches
		run.Train[i].InputIDs = slices.Repeat(run.Train[i].InputIDs, 8)[:60]
		run.Train[i].Labels = slices.Clone(run.Train[i].InputIDs)
	}
	dirs := []string{t.TempDir(), t.TempDir()}
	for c, dir := range dirs {
		saveCheckpoint(t, run, dir, c)
	}
	for name, params := range map[string][]string{
		"less":         {"checkpoints: [" + strings.Join(dirs, ", ") + "]"},
		"cluster_less": {"num_clusters: 6"},
	} {
		start := func(cache string) algo.Selector {
			s := mustBuild(t, run, name, "faithful", append(params, "cache_dir: "+cache)...)
			base(s).atOnce = 2
			return s
		}
		want := selected(t, start(t.TempDir()), algo.Request{Step: 4, Update: 1, N: 8})
		r := algo.Request{Step: 4, Update: 1, N: 8, Key: strings.Repeat("0123456789abcdef", 4)}
		looks := func(cache string, least int) int {
			c := &dying{t.Context(), least}
			s := start(cache)
			sel, err := s.Select(c, r)
			switch {
			case err == nil && (!slices.Equal(sel.Score, want.Score) || !slices.Equal(sel.Indices, want.Indices)):
				t.Errorf("%s, killed and begun again: scores %v, uninterrupted %v", name, sel.Score, want.Score)
			case err == nil:
				if left, _ := filepath.Glob(filepath.Join(cache, "features", "*")); len(left) > 0 {
					t.Errorf("%s left %v", name, left)
				}
			}
			return least - c.looks
		}
		whole := looks(t.TempDir(), 1000)
		for at := 1; at < whole; at += 7 {
			cache := t.TempDir()
			looks(cache, at)
			if again := looks(cache, 1000); name == "less" && at > whole/2 && again > whole*3/4 {
				t.Errorf("killed after %d of %d looks, the second run looked %d times", at, whole, again)
			}
		}
	}
}

// A projection reports its error, and warns where it affects the choice.
func TestProjectionIsJudged(t *testing.T) {
	run, want := subtasked(t)
	for _, c := range []struct {
		dim   string
		warns bool
	}{{"16", true}, {"65536", false}} {
		log := listening(run)
		s := mustBuild(t, run, "less", "faithful", "projection: rademacher", "proj_dim: "+c.dim, "cache_dir: "+t.TempDir())
		sel := selected(t, s, algo.Request{Step: 4, Update: 1, N: 8})
		if warned := strings.Contains(log.String(), "exceeds half of the spread"); warned != c.warns {
			t.Errorf("%s dimensions: it warns: %v, facts %v", c.dim, warned, sel.Facts)
		}
		var square float64
		for i, x := range sel.Score {
			square += (x - want[i]) * (x - want[i]) / float64(len(want))
		}
		said, _ := sel.Facts["projection_error"].(float64)
		if actual := math.Sqrt(square); said < actual/2 || said > 4*actual {
			t.Errorf("%s dimensions: the error is %v, expected were %v", c.dim, actual, said)
		}
		if spread := sel.Facts["score_spread"].(float64); math.Abs(spread-deviation(sel.Score)) > 1e-15 || sel.Facts["projection"] != "rademacher" {
			t.Errorf("facts %v", sel.Facts)
		}
	}
	// Mode upstream's step files have only upstream's entries.
	up := mustBuild(t, run, "less", "upstream", "proj_dim: 128", "cache_dir: "+t.TempDir())
	if sel := selected(t, up, algo.Request{Step: 4, Update: 1, N: 8}); sel.Facts != nil {
		t.Errorf("facts %v", sel.Facts)
	}
}
