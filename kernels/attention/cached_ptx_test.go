package attention_test

import (
	"fmt"
	"math"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/attention"
	"dataflex.dev/dataflex/kernels/optest"
)

// generation is a step of generation: a cache of random keys and values, and a token for
// some of its sequences.
type generation struct {
	c       attention.Cached
	q, k, v []float32
}

func newGeneration(seed uint64, c attention.Cached, std float64) generation {
	r := optest.Rand(seed)
	slots := 0
	for _, s := range c.Slot {
		slots = max(slots, int(s)+1)
	}
	c.Scale = 0.25
	m := slots * c.Capacity * c.KVHeads * c.HeadDim
	return generation{c, optest.Normal(r, len(c.Slot)*c.Heads*c.HeadDim, std), optest.Normal(r, m, std), optest.Normal(r, m, 1)}
}

// plainCached is one new token's attention to a cache, written out.
func plainCached[F optest.Float](g generation) []F {
	c := g.c
	out := make([]F, len(g.q))
	for i, slot := range c.Slot {
		for h := range c.Heads {
			first := 0
			if c.Window > 0 {
				first = max(0, int(c.Length[i])-c.Window)
			}
			q, o := g.q[(i*c.Heads+h)*c.HeadDim:], out[(i*c.Heads+h)*c.HeadDim:]
			row := func(j int) int {
				return ((int(slot)*c.Capacity+j)*c.KVHeads + h/(c.Heads/c.KVHeads)) * c.HeadDim
			}
			var s []F
			top := F(math.Inf(-1))
			for j := first; j < int(c.Length[i]); j++ {
				var dot F
				for d := range c.HeadDim {
					dot += F(q[d]) * F(g.k[row(j)+d])
				}
				dot *= F(c.Scale)
				if c.SoftCap > 0 {
					dot = F(c.SoftCap) * F(math.Tanh(float64(dot/F(c.SoftCap))))
				}
				s, top = append(s, dot), max(top, dot)
			}
			var sum F
			for j := range s {
				s[j] = F(math.Exp(float64(s[j] - top)))
				sum += s[j]
			}
			for j, p := range s {
				for d := range c.HeadDim {
					o[d] += p / sum * F(g.v[row(first+j)+d])
				}
			}
		}
	}
	return out
}

// run stores the caches row by row, in random order, and attends to them.
func (g generation) run(t *testing.T, dev driver.Launcher, shift int) []float32 {
	t.Helper()
	width := g.c.KVHeads * g.c.HeadDim
	rows := make([]int32, len(g.k)/width)
	for i := range rows {
		rows[i] = int32(len(rows) - 1 - i)
	}
	cache := func(x []float32) driver.F32 {
		turned := make([]float32, 0, len(x))
		for _, r := range rows {
			turned = append(turned, x[int(r)*width:(int(r)+1)*width]...)
		}
		to := optest.In(t, dev, garbage(len(x)), shift)
		attention.Store(dev, optest.In(t, dev, turned, shift), rows, to, width)
		return to
	}
	o := optest.In(t, dev, garbage(len(g.q)), shift)
	g.c.Forward(dev, optest.In(t, dev, g.q, shift), cache(g.k), cache(g.v), o)
	return optest.Out(t, dev, o)
}

func TestCachedPTX(t *testing.T) {
	dev := optest.Device(t, 80)
	p := func(heads, kvHeads, headDim, window int, softCap float32) attention.Params {
		return attention.Params{Heads: heads, KVHeads: kvHeads, HeadDim: headDim, Window: window, SoftCap: softCap}
	}
	for i, c := range []attention.Cached{
		{Params: p(4, 2, 20, 0, 0), Capacity: 40, Slot: []int32{3, 0, 2}, Length: []int32{1, 17, 39}},
		{Params: p(14, 2, 64, 0, 0), Capacity: 300, Slot: []int32{1, 0}, Length: []int32{300, 128}},
		{Params: p(9, 1, 128, 0, 4), Capacity: 140, Slot: []int32{0}, Length: []int32{129}},
		{Params: p(2, 2, 33, 130, 0), Capacity: 200, Slot: []int32{0, 1}, Length: []int32{190, 5}},
		{Params: p(1, 1, 256, 7, 0), Capacity: 20, Slot: []int32{0}, Length: []int32{20}},
	} {
		g := newGeneration(uint64(80+i), c, 1.5)
		got := g.run(t, dev, 0)
		optest.Within(t, fmt.Sprintf("%+v", c), got, plainCached[float32](g), plainCached[float64](g))
		optest.Same(t, "unaligned", g.run(t, dev, 1), got)
		// A batch of one sequence gets the same bits.
		one, last, n := g, len(c.Slot)-1, c.Heads*c.HeadDim
		one.c.Slot, one.c.Length, one.q = c.Slot[last:], c.Length[last:], g.q[last*n:]
		optest.Same(t, "alone", one.run(t, dev, 0), got[last*n:])
	}
}

// TestCachedTraffic: keys and values are read once for the heads that share them.
func TestCachedTraffic(t *testing.T) {
	const heads, kvHeads, d, length = 8, 2, 64, 384
	dev := optest.Sim(t)
	g := newGeneration(90, attention.Cached{
		Params:   attention.Params{Heads: heads, KVHeads: kvHeads, HeadDim: d},
		Capacity: length, Slot: []int32{0}, Length: []int32{length},
	}, 1)
	g.run(t, dev, 0)
	const chunks = length / 128
	partials := 4 * heads * chunks * (d + 2)
	optest.Frugal(t, dev, "cached_forward", uint64(4*(2*length*kvHeads*d+chunks*heads*d)+partials))
	optest.Frugal(t, dev, "cached_store", uint64(2*(8*length*kvHeads*d+4*length)))
}

// TestPTXCachedSinks: the host's outputs, with windows, caps and more keys than threads in a
// block.
func TestPTXCachedSinks(t *testing.T) {
	dev, host, r, f := optest.Device(t, 80), optest.CPU(t, 1), optest.Rand(61), optest.Dev
	for _, p := range []attention.Params{{}, {Window: 7}, {SoftCap: 3}} {
		p.Heads, p.KVHeads, p.HeadDim, p.Scale = 4, 2, 20, 0.25
		c := attention.Cached{Params: p, Capacity: 200, Slot: []int32{1, 0, 2}, Length: []int32{1, 150, 9}}
		q, k, v, sinks := optest.Normal(r, 3*80, 2), optest.Normal(r, 3*200*40, 1), optest.Normal(r, 3*200*40, 1), optest.Normal(r, 4, 3)
		want := make([]float32, len(q))
		c.Sinks = f(sinks)
		c.Forward(host, f(q), f(k), f(v), f(want))
		in := func(x []float32) driver.F32 { return optest.In(t, dev, x, 0) }
		o := in(garbage(len(q)))
		if c.Sinks = in(sinks); p.SoftCap > 0 {
			optest.Panics(t, "attention: no kernel for sinks with SoftCap or long heads, or for values of another width than keys", func() { c.Forward(dev, in(q), in(k), in(v), o) })
			continue
		}
		c.Forward(dev, in(q), in(k), in(v), o)
		optest.Near(t, "o", optest.Out(t, dev, o), want, 2e-6)
	}
}
