package attention_test

import (
	"cmp"
	"testing"

	"dataflex.dev/dataflex/kernels/attention"
	"dataflex.dev/dataflex/kernels/optest"
)

// TestCached: the last token of every sequence gets the same as from Forward.
func TestCached(t *testing.T) {
	const heads, kvHeads, d, capacity = 4, 2, 20, 40
	const width = kvHeads * d
	sinks := optest.Dev([]float32{0.3, -2, 1, 4})
	r, f := optest.Rand(5), optest.Dev
	segments := []int32{0, 1, 18, 57}
	slots := []int32{3, 0, 2}
	tokens := int(segments[3])
	q, k, all := optest.Normal(r, tokens*heads*d, 2), optest.Normal(r, tokens*width, 1), optest.Normal(r, tokens*kvHeads*(d+10), 1)
	for _, p := range []attention.Params{
		{}, {Window: 7}, {SoftCap: 3}, {Window: 16, SoftCap: 5}, {Sinks: sinks}, {Window: 7, Sinks: sinks}, {ValueDim: 12}, {ValueDim: 30, Sinks: sinks},
	} {
		dv := cmp.Or(p.ValueDim, d)
		v := all[:tokens*kvHeads*dv]
		p.Segments, p.Heads, p.KVHeads, p.HeadDim, p.Scale = segments, heads, kvHeads, d, 0.25
		dev := optest.CPU(t, 2)
		whole, lse := make([]float32, tokens*heads*dv), make([]float32, heads*tokens)
		attention.Forward(dev, p, attention.Inputs[float32]{Q: f(q), K: f(k), V: f(v)}, f(whole), f(lse))

		kc, vc := make([]float32, 4*capacity*width), make([]float32, 4*capacity*kvHeads*dv)
		var rows, lengths []int32
		var want, last []float32
		for i, s := range slots {
			n := segments[i+1] - segments[i]
			for j := range n {
				rows = append(rows, s*capacity+j)
			}
			lengths = append(lengths, n)
			at := int(segments[i+1]-1) * heads
			want, last = append(want, whole[at*dv:(at+heads)*dv]...), append(last, q[at*d:(at+heads)*d]...)
		}
		attention.Store(dev, f(k), rows, f(kc), width)
		attention.Store(dev, f(v), rows, f(vc), kvHeads*dv)
		c := attention.Cached{Params: p, Capacity: capacity, Slot: slots, Length: lengths}
		for _, threads := range optest.Threads {
			got := make([]float32, len(want))
			c.Forward(optest.CPU(t, threads), f(last), f(kc), f(vc), f(got))
			optest.Near(t, "o", got, want, 2e-6)
		}
		// A batch of one sequence gets the same bits.
		one := attention.Cached{Params: p, Capacity: capacity, Slot: slots[2:], Length: lengths[2:]}
		got, again := make([]float32, len(want)), make([]float32, heads*dv)
		c.Forward(dev, f(last), f(kc), f(vc), f(got))
		one.Forward(dev, f(last[2*heads*d:]), f(kc), f(vc), f(again))
		optest.Same(t, "alone", again, got[2*heads*dv:])
	}
}

func TestCachedPanics(t *testing.T) {
	dev, f := optest.CPU(t, 1), optest.Dev
	q, k := f(make([]float32, 4)), f(make([]float32, 8))
	p := attention.Params{Heads: 1, KVHeads: 1, HeadDim: 4}
	for _, c := range []attention.Cached{
		{Params: p, Capacity: 2, Slot: []int32{1}, Length: []int32{1}},
		{Params: p, Capacity: 2, Slot: []int32{0}, Length: []int32{3}},
	} {
		optest.Panics(t, "attention: a sequence outside the cache", func() { c.Forward(dev, q, k, k, q) })
	}
	optest.Panics(t, "attention: a row outside the cache", func() { attention.Store(dev, q, []int32{2}, k, 4) })
}
