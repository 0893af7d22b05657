package attention_test

import (
	"fmt"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/attention"
	"dataflex.dev/dataflex/kernels/optest"
)

func runPTX(t *testing.T, dev driver.Device, x problem, shift int) result {
	in := func(x []float32) driver.F32 { return optest.In(t, dev, x, shift) }
	out := func(x driver.F32) []float32 { return optest.Out(t, dev, x) }
	tokens := int(x.p.Segments[len(x.p.Segments)-1])
	q, k, v, do := in(x.q), in(x.k), in(x.v), in(x.do)
	o, lse, dq, dk, dv := in(garbage(len(x.q))), in(garbage(x.p.Heads*tokens)), in(garbage(len(x.q))), in(garbage(len(x.k))), in(garbage(len(x.k)))
	g := attention.Gradients{Q: dq, K: dk, V: dv}
	if x.sinks != nil {
		x.p.Sinks, g.Sinks = in(x.sinks), in(make([]float32, len(x.sinks)))
	}
	attention.Forward(dev, x.p, attention.Inputs[float32]{Q: q, K: k, V: v}, o, lse)
	attention.Backward(dev, x.p, attention.Inputs[float32]{Q: q, K: k, V: v}, o, lse, do, g)
	y := result{out(o), out(lse), out(dq), out(dk), out(dv), nil}
	if x.sinks != nil {
		y.dsinks = out(g.Sinks)
	}
	return y
}

func TestPTX(t *testing.T) {
	dev := optest.Device(t, 80)
	cases := append(problems()[:9],
		newProblem(30, attention.Params{Segments: []int32{0, 3, 100}, Heads: 2, KVHeads: 1, HeadDim: 128}, 0.5),
		newProblem(31, attention.Params{Segments: []int32{0, 70}, Heads: 1, KVHeads: 1, HeadDim: 72, Window: 9, SoftCap: 5}, 0.5),
		newProblem(32, attention.Params{Segments: []int32{0, 20}, Heads: 2, KVHeads: 2, HeadDim: 8, Window: 1}, 1),
	)
	for _, x := range withSinks() {
		if x.sinks != nil && x.p.SoftCap == 0 && x.p.HeadDim <= 128 {
			p := x.p
			p.ValueDim = 0
			y := newProblem(35, p, 1)
			y.sinks = x.sinks
			cases = append(cases, y)
		}
	}
	for _, x := range cases {
		within(t, fmt.Sprintf("%+v", x.p), x, runPTX(t, dev, x, 0))
	}
}

// TestPTXSegmentAlone: a segment's bits are the same in any batch and at any alignment.
func TestPTXSegmentAlone(t *testing.T) {
	dev := optest.Device(t, 80)
	p := attention.Params{Segments: []int32{0, 37, 130}, Heads: 2, KVHeads: 1, HeadDim: 16}
	x := newProblem(33, p, 1)
	all := runPTX(t, dev, x, 0)
	same(t, "unaligned", runPTX(t, dev, x, 1), all)
	one := x
	one.p.Segments = []int32{0, 93}
	one.q, one.do = x.q[37*32:], x.do[37*32:]
	one.k, one.v = x.k[37*16:], x.v[37*16:]
	got := runPTX(t, dev, one, 0)
	lse := append(append([]float32(nil), all.lse[37:130]...), all.lse[130+37:]...)
	same(t, "alone", got, result{all.o[37*32:], lse, all.dq[37*32:], all.dk[37*16:], all.dv[37*16:], nil})
}

// TestPTXTraffic: keys and values are read once per block of 64 queries that attends to
// them, in full sectors, without bank conflicts.
func TestPTXTraffic(t *testing.T) {
	dev := optest.Sim(t)
	const tokens, heads, depth = 192, 2, 64
	x := newProblem(34, attention.Params{Segments: []int32{0, tokens}, Heads: heads, KVHeads: heads, HeadDim: depth}, 1)
	runPTX(t, dev, x, 0)
	c := dev.Total("attention_forward_64")
	rows := 64 * (3 + 2*(1+2+3)) // three blocks of q, and 1, 2 and 3 tiles of k and v
	want := uint64(4*heads*depth*(rows+tokens) + 4*heads*tokens + heads*3*128*12)
	if got := c.GlobalBytes(); got != want {
		t.Errorf("%d bytes moved, want %d", got, want)
	}
	for _, name := range []string{"attention_forward_64", "attention_backward_q_64", "attention_backward_kv_64"} {
		c := dev.Total(name)
		if c.Conflicts() != 0 {
			t.Errorf("%s: %d bank conflicts", name, c.Conflicts())
		}
		if c.Global.Units > c.Global.Ideal+c.Global.Ideal/50 {
			t.Errorf("%s: %d sectors, ideal %d", name, c.Global.Units, c.Global.Ideal)
		}
	}
}

// TestHeadLengths: every head length of the families that devices support, with and without
// a soft cap and a window, in float32 and in bf16, on either generation.
func TestHeadLengths(t *testing.T) {
	for _, capability := range []int{80, 90} {
		dev := optest.Device(t, capability)
		for i, length := range []int{64, 72, 80, 96, 128} {
			p := attention.Params{Segments: []int32{0, 3, 24}, Heads: 2, KVHeads: 1, HeadDim: length}
			for j := range 2 {
				p.SoftCap, p.Window = 5*float32(j), 7*j
				if capability == 80 {
					x := newProblem(uint64(300+2*i+j), p, 0.5)
					within(t, fmt.Sprintf("%+v", x.p), x, runPTX(t, dev, x, 0))
				}
				x := newBF16(uint64(320+2*i+j), p, 0.5)
				withinBF16(t, dev, x, runBF16(t, dev, x))
			}
		}
		p := attention.Params{Segments: []int32{0, 3}, Heads: 1, KVHeads: 1, HeadDim: attention.DeviceHeadDim + 8}
		optest.Panics(t, "attention: no kernel for heads of 264", func() { runPTX(t, dev, newProblem(350, p, 1), 0) })
	}
}

// TestWidePTX: heads that are too long for the other kernels.
func TestWidePTX(t *testing.T) {
	dev := optest.Device(t, 80)
	for i, p := range []attention.Params{
		{Segments: []int32{0, 1, 40, 75}, Heads: 4, KVHeads: 2, HeadDim: 256},
		{Segments: []int32{0, 70}, Heads: 1, KVHeads: 1, HeadDim: 129, Window: 9},
		{Segments: []int32{0, 3, 50}, Heads: 2, KVHeads: 1, HeadDim: 192, Window: 40, SoftCap: 5},
	} {
		x := newProblem(uint64(400+i), p, 0.5)
		within(t, fmt.Sprintf("%+v", x.p), x, runPTX(t, dev, x, i))
	}
	p := attention.Params{Segments: []int32{0, 37, 90}, Heads: 2, KVHeads: 1, HeadDim: 136, Window: 20}
	x := newProblem(410, p, 1)
	all, one := runPTX(t, dev, x, 0), x
	one.p.Segments = []int32{0, 53}
	one.q, one.do, one.k, one.v = x.q[37*2*136:], x.do[37*2*136:], x.k[37*136:], x.v[37*136:]
	lse := append(append([]float32(nil), all.lse[37:90]...), all.lse[90+37:]...)
	same(t, "alone", runPTX(t, dev, one, 0), result{all.o[37*2*136:], lse, all.dq[37*2*136:], all.dk[37*136:], all.dv[37*136:], nil})
}
