package train_test

import (
	"fmt"
	"math"
	"path/filepath"
	"testing"
)

// TestSmoothingAccumulates: with label smoothing, eight rows have the same loss however many
// micro-batches they are trained in. In mode upstream it is transformers 4.52's sum of the
// micro-batches' means.
func TestSmoothingAccumulates(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.write("components.yaml", `selectors:
  random: {name: random, params: {}}
  theirs: {name: random, mode: upstream, params: {}}
`)
	first := func(micro, accumulate int, more ...string) float64 {
		out := filepath.Join(f.dir, fmt.Sprintf("out%d-%d%v", micro, accumulate, len(more)))
		args := append([]string{
			"output_dir=" + out, "overwrite_output_dir=true", "max_steps=1", "label_smoothing_factor=0.1", "disable_shuffling=true",
			fmt.Sprint("per_device_train_batch_size=", micro), fmt.Sprint("gradient_accumulation_steps=", accumulate),
		}, more...)
		f.must(args...)
		all, _ := losses(t, out)
		return all[0]
	}
	dynamic := func(name string) []string {
		return []string{"train_type=dynamic_select", "component_name=" + name, "warmup_step=1", "update_step=1", "update_times=1"}
	}
	whole := first(8, 1)
	if got := first(2, 4); math.Abs(got-whole) > 2e-4 { // logged with four decimals
		t.Errorf("static: %v in four micro-batches, %v in one", got, whole)
	}
	ours, theirs := first(8, 1, dynamic("random")...), first(8, 1, dynamic("theirs")...)
	if got := first(2, 4, dynamic("random")...); math.Abs(got-ours) > 2e-4 {
		t.Errorf("faithful: %v in four micro-batches, %v in one", got, ours)
	}
	if got := first(2, 4, dynamic("theirs")...); got < 3*theirs || got > 5*theirs {
		t.Errorf("upstream: %v in four micro-batches, %v in one: it grows with them", got, theirs)
	}
}
