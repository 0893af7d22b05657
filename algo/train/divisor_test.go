package train

import (
	"math"
	"testing"

	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/curriculum"
	"dataflex.dev/dataflex/data"
)

// TestSmoothingDivisor: with label smoothing a loss is divided by the labels after the shift,
// without by those before it, which include a pre-training row's first token. LLaMA-Factory
// 0.9.4's first losses with label_smoothing_factor 0.3, in stage pt, and what dividing by the
// labels before the shift gave for the same rows.
func TestSmoothingDivisor(t *testing.T) {
	t.Parallel()
	for _, recorded := range []struct {
		rows, length  int
		loss, unshift float64
	}{
		{5, 128, 9.2745, 9.2020}, // tiny-llama, full, cutoff_len 128
		{2, 63, 8.6275, 8.4906},  // tiny-qwen2, LoRA, cutoff_len 64
	} {
		ids := make([]int32, recorded.length)
		examples, rows := make([]data.Example, recorded.rows), make([]int, recorded.rows)
		for i := range rows {
			examples[i], rows[i] = data.Example{InputIDs: ids, Labels: ids}, i
		}
		s := &curriculum.Step{Micros: []batch.Micro{batch.Pack(examples, rows)}, Ranks: []int{0}}
		mean := func(smooths bool) (sum float64) {
			for _, w := range tokenWeights(curriculum.Weights{}, s, divisor(s, smooths, 1, false), 1)[0] {
				sum += float64(w)
			}
			return sum
		}
		if got := mean(true); math.Abs(got-1) > 1e-5 {
			t.Errorf("smoothed, the weights of %d tokens add up to %v", recorded.length, got)
		}
		want := recorded.unshift / recorded.loss // both with four decimals
		if got := mean(false); math.Abs(got-want) > 2e-5 {
			t.Errorf("not smoothed, the weights of %d tokens add up to %v, recorded %v", recorded.length, got, want)
		}
	}
}
