package attention_test

import (
	"fmt"
	"math"
	"testing"

	"dataflex.dev/dataflex/kernels/attention"
	"dataflex.dev/dataflex/kernels/optest"
)

// problemsHopper are problems that the sm_90a kernels support: segments of one token and of
// several blocks of 128, shared heads, windows.
func problemsHopper() []problem {
	r := optest.Rand(70)
	ps := []problem{
		newBF16(71, attention.Params{Segments: []int32{0, 1, 130}, Heads: 2, KVHeads: 1, HeadDim: 64}, 0.5),
		newBF16(72, attention.Params{Segments: []int32{0, 128, 128, 270}, Heads: 1, KVHeads: 1, HeadDim: 128}, 0.5),
		newBF16(73, attention.Params{Segments: []int32{0, 7, 280}, Heads: 1, KVHeads: 1, HeadDim: 64, Window: 100}, 0.5),
		// Scores of several hundred: nothing may overflow.
		newBF16(74, attention.Params{Segments: []int32{0, 100}, Heads: 1, KVHeads: 1, HeadDim: 64}, 6),
	}
	for i := range uint64(4) {
		kv := 1 + r.IntN(2)
		p := attention.Params{Segments: optest.Segments(r, 2+r.IntN(3), 60), KVHeads: kv, Heads: kv * (1 + r.IntN(2)), HeadDim: 64}
		if i == 1 {
			p.Window = 1 + r.IntN(50)
		}
		ps = append(ps, newBF16(75+i, p, 0.5))
	}
	return ps
}

func TestHopper(t *testing.T) {
	dev := optest.Device(t, 90)
	for _, x := range problemsHopper() {
		withinBF16(t, dev, x, runBF16(t, dev, x))
	}
}

// TestHopperCapped: a variant without an sm_90a kernel uses the sm_80 one.
func TestHopperCapped(t *testing.T) {
	x := newBF16(85, attention.Params{Segments: []int32{0, 70}, Heads: 1, KVHeads: 1, HeadDim: 64, SoftCap: 4}, 1)
	same(t, "capped", runBF16(t, optest.Device(t, 90), x), runBF16(t, optest.Device(t, 80), x))
}

func TestHopperOneKey(t *testing.T) { oneKey(t, optest.Device(t, 90)) }

// TestHopperSegmentAlone: a segment's bits are the same in any batch, even beside one that
// contains only infinities and NaNs: boxes reach into the next segment.
func TestHopperSegmentAlone(t *testing.T) {
	dev := optest.Device(t, 90)
	x := newBF16(86, attention.Params{Segments: []int32{0, 37, 180, 260}, Heads: 2, KVHeads: 1, HeadDim: 64}, 1)
	alone(t, dev, x)
	for i, s := range [][]float32{x.q, x.k, x.v, x.do} {
		w := len(s) / 260
		for j := range s {
			if at := j / w; at < 37 || at >= 180 {
				s[j] = []float32{float32(math.Inf(1)), float32(math.NaN()), float32(math.Inf(-1)), 3e38}[(i+j)%4]
			}
		}
	}
	alone(t, dev, x)
}

// TestHopperTraffic: tiles are read once per block that uses them, in full sectors, without
// bank conflicts.
func TestHopperTraffic(t *testing.T) {
	dev := optest.Hopper(t)
	const tokens, heads, depth, blocks, units = 256, 2, 64, 2, 16
	runBF16(t, dev, newBF16(87, attention.Params{Segments: []int32{0, tokens}, Heads: heads, KVHeads: heads, HeadDim: depth}, 1))
	const half, full, tile = 2 * heads * depth * tokens, 4 * heads * depth * tokens, 2 * heads * depth * 64
	const terms = 8 * heads * tokens
	optest.Frugal(t, dev, "attention_hopper_forward_64", half+(1+2)*4*tile+full+terms/2+blocks*heads*units)
	optest.Frugal(t, dev, "attention_hopper_terms_64", half+full+terms+terms/2+blocks*heads*units)
	optest.Frugal(t, dev, "attention_hopper_backward_q_64", 2*half+(1+2)*4*tile+full+terms+blocks*heads*units)
	optest.Frugal(t, dev, "attention_hopper_backward_kv_64", 2*half+(2+4)*(2*tile+8*heads*64)+2*full+blocks*heads*units)
}

// TestHopperAnyOrder: for any order of the warps there is no fault, and the bits are the
// same.
func TestHopperAnyOrder(t *testing.T) {
	x := newBF16(88, attention.Params{Segments: []int32{0, 3, 275}, Heads: 2, KVHeads: 1, HeadDim: 64, Window: 270}, 1)
	var want result
	for seed := range uint64(3) {
		got := runBF16(t, anyOrder(t, 90, 1+seed), x)
		if seed == 0 {
			want = got
		}
		same(t, fmt.Sprintf("seed %d", 1+seed), got, want)
	}
}
