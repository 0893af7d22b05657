package attention_test

import (
	"testing"

	"dataflex/kernels/attention"
	"dataflex/kernels/optest"
)

// problemsHopper are those the sm_90a kernels take.
func problemsHopper() []problem {
	return []problem{
		newBF16(71, attention.Params{Segments: []int32{0, 1, 130}, Heads: 2, KVHeads: 1, HeadDim: 64}, 0.5),
		newBF16(72, attention.Params{Segments: []int32{0, 128, 128, 390}, Heads: 1, KVHeads: 1, HeadDim: 128}, 0.5),
		newBF16(73, attention.Params{Segments: []int32{0, 7, 310}, Heads: 2, KVHeads: 2, HeadDim: 64, Window: 100}, 0.5),
		newBF16(74, attention.Params{Segments: []int32{0, 140}, Heads: 1, KVHeads: 1, HeadDim: 128, Window: 1}, 0.3),
	}
}

func TestHopper(t *testing.T) {
	dev := optest.Hopper(t)
	for _, x := range problemsHopper() {
		withinBF16(t, x, runBF16(t, dev, x))
	}
}
