package train_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/data/task"
)

// panicking panics like a kernel whose launch fails, at a given place and before step 4,
// while armed is set.
type panicking struct{ place string }

var armed atomic.Bool

func init() {
	algo.RegisterWeighter("test_panics", func(_ *algo.Run, _ algo.Mode, p *config.Params) (algo.Weighter, error) {
		return panicking{p.String("place", "")}, p.Err()
	})
}

func (w panicking) at(place string, step int) {
	if armed.Load() && w.place == place && step == 3 {
		panic(errors.New("launch of test_kernel: out of memory"))
	}
}

func (w panicking) Weigh(_ context.Context, r algo.WeightRequest) ([][]float64, algo.Reduction, error) {
	w.at("weigh", r.Step)
	out := make([][]float64, len(r.Micros))
	for i, m := range r.Micros {
		out[i] = make([]float64, len(m.Rows))
		for k := range out[i] {
			out[i][k] = 1
		}
	}
	return out, algo.TokenMean, nil
}

func (w panicking) Observe(_ context.Context, step int, _ []algo.MicroReport) error {
	w.at("observe", step)
	return nil
}

// TestPanicsEndInACheckpoint: a panic before the weights change ends with a checkpoint of
// the last finished step, from which the same command continues as if nothing had happened;
// one after they began to change saves nothing, because the weights belong to no step.
func TestPanicsEndInACheckpoint(t *testing.T) {
	t.Parallel()
	f := small(t)
	for place, want := range map[string][]int{"weigh": {2, 3}, "observe": {2}} {
		f.t = t
		f.write("components.yaml", "weighters:\n  it: {name: test_panics, params: {place: "+place+"}}\n")
		out := filepath.Join(f.dir, place)
		args := []string{"train_type=dynamic_weight", "component_name=it", "max_steps=5", "save_steps=2", "output_dir=" + out}
		armed.Store(true)
		_, err := f.said(train.Options{}, args...)
		var fault *task.Panic
		if !errors.As(err, &fault) || !strings.Contains(err.Error(), "out of memory") {
			t.Fatalf("%s: %v", place, err)
		}
		if got := checkpoints(t, out); len(got) != len(want) || got[len(got)-1] != want[len(want)-1] {
			t.Errorf("%s: checkpoints of steps %v, want %v", place, got, want)
		}
		armed.Store(false)
		log, err := f.said(train.Options{}, args...)
		if resumed := fmt.Sprintf("checkpoint-%d", want[len(want)-1]); err != nil || !strings.Contains(log, resumed) {
			t.Errorf("%s: it does not go on from %s: %v\n%s", place, resumed, err, log)
		}
		whole := filepath.Join(f.dir, place+"-whole")
		f.must(append(args[:4], "output_dir="+whole)...)
		if string(adapter(t, whole)) != string(adapter(t, out)) {
			t.Errorf("%s: the weights differ from those of an undisturbed run", place)
		}
	}
}
