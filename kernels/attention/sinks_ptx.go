package attention

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed sinks.sm80.ptx.br
var sm80Sinks string

var familySinks = ptx.New("attention, sinks", sm80Sinks)

// Parameters of the kernels of sinks.cu.
type (
	drainParameters struct {
		o, lse, sinks        uintptr
		tokens, heads, width int32
	}
	sinkGradient struct {
		dsinks, lse, delta, sinks uintptr
		tokens                    int32
	}
	firstArguments struct {
		q, k, v, lse, do, delta         uintptr
		dq, dk, first                   uintptr
		tokens, heads, kvHeads, headDim int32
		scale                           float32
	}
	cachedSinks struct {
		o, q, k, sinks, rows                      uintptr
		capacity, heads, kvHeads, headDim, window int32
		scale                                     float32
	}
)

var (
	drains        = ptx.Declare[drainParameters](familySinks, "attention_sink_drain")
	sinkGradients = ptx.Declare[sinkGradient](familySinks, "attention_sink_gradient")
	firsts        = ptx.Declare[ptx.One[firstArguments]](familySinks, "attention_sink_first")
	cachedDrains  = ptx.Declare[ptx.One[cachedSinks]](familySinks, "attention_sink_cached")
)

// drainPTX gives the sinks their share of the results of forwardPTX.
func (p Params) drainPTX(dev driver.Launcher, o, lse driver.F32, t int) {
	if p.Sinks.IsNil() || t == 0 {
		return
	}
	drains.Launch(ptx.On(dev), "attention_sink_drain", ptx.Grid(ptx.Blocks(p.Heads*t, 8), 256), &drainParameters{
		o: o.Addr(), lse: lse.Addr(), sinks: p.Sinks.Addr(), tokens: int32(t), heads: int32(p.Heads), width: int32(p.HeadDim),
	})
}

// addSinks adds to the gradients of backwardPTX, whose call this is, those of tokens that
// only attend to themselves, and to the gradients of the sinks.
func (c *call) addSinks(dsinks driver.F32) {
	p, x := c.p, &c.tensors
	if p.Sinks.IsNil() || c.tokens == 0 {
		return
	}
	if first := p.alone(); len(first) > 0 {
		firsts.Launch(c.q, "attention_sink_first", ptx.Grid2(len(first), p.KVHeads, 128), &ptx.One[firstArguments]{P: firstArguments{
			q: x.q, k: x.k, v: x.v, lse: x.lse, do: x.do, delta: x.delta, dq: x.outDQ, dk: x.outDK,
			first: ptx.Upload(c.q, first), tokens: int32(c.tokens), heads: int32(p.Heads), kvHeads: int32(p.KVHeads), headDim: int32(p.HeadDim), scale: p.Scale,
		}})
	}
	if dsinks.IsNil() {
		return
	}
	sinkGradients.Launch(c.q, "attention_sink_gradient", ptx.Grid(p.Heads, 256), &sinkGradient{
		dsinks: dsinks.Addr(), lse: x.lse, delta: x.delta, sinks: p.Sinks.Addr(), tokens: int32(c.tokens),
	})
}

// alone are the tokens that only attend to themselves.
func (p Params) alone() (first []int32) {
	for s, lo := range p.Segments[:len(p.Segments)-1] {
		hi := p.Segments[s+1]
		if p.Window != 1 {
			hi = min(hi, lo+1)
		}
		for t := lo; t < hi; t++ {
			first = append(first, t)
		}
	}
	return first
}

// drainCachedPTX gives the sinks their share of the results of forwardPTX.
func (c Cached) drainCachedPTX(dev driver.Launcher, q, k, o driver.F32) {
	if c.Sinks.IsNil() || len(c.Slot) == 0 {
		return
	}
	on := ptx.On(dev)
	var rows []int32
	for i, s := range c.Slot {
		rows = append(rows, s, c.Length[i])
	}
	cachedDrains.Launch(on, "attention_sink_cached", ptx.Grid2(len(c.Slot), c.Heads, 128), &ptx.One[cachedSinks]{P: cachedSinks{
		o: o.Addr(), q: q.Addr(), k: k.Addr(), sinks: c.Sinks.Addr(), rows: ptx.Upload(on, rows), capacity: int32(c.Capacity), heads: int32(c.Heads),
		kvHeads: int32(c.KVHeads), headDim: int32(c.HeadDim), window: int32(c.Window), scale: c.Scale,
	}})
}
