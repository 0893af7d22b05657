package decoder

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/shortconv"
	"dataflex.dev/dataflex/kernels/swiglu"
	"dataflex.dev/dataflex/model/autograd"
)

// shortConv is lfm2's token mixer: out(c · conv(b · x)), with b, c and x from one projection
// of h and a depthwise causal convolution (LFM2, arXiv:2511.23404).
type shortConv struct {
	in, out autograd.Linear // in: b, c and x, concatenated
	conv    convolution
}

// convolution is a depthwise causal convolution, weights [channels, 1, width].
type convolution struct {
	weights autograd.ChannelWeights
	width   int
	silu    bool
}

// shortConv builds the mixer.
func (b *builder) shortConv(path string) *shortConv {
	c := &b.c
	s := &shortConv{conv: b.convolution(path+"conv", c.Hidden, false, c.ConvBias)}
	b.linear(&s.in, path+"in_proj", c.Hidden, 3*c.Hidden, c.ConvBias)
	b.linear(&s.out, path+"out_proj", c.Hidden, c.Hidden, c.ConvBias)
	return s
}

func (b *builder) convolution(path string, channels int, silu, bias bool) convolution {
	c := convolution{width: b.c.ConvWidth, silu: silu}
	c.weights.W = b.param(path, channels, 1, c.width)
	if bias {
		c.weights.Bias = b.bias(path, channels)
	}
	return c
}

// mix implements tokenMixer.
func (s *shortConv) mix(m *Model, i int, h *autograd.Value, b *Batch, cache *Cache) *autograd.Value {
	t, n := m.tape, m.config.Hidden
	all := t.Linear(h, &s.in)
	gate, after, x := t.Columns(all, 0, n), t.Columns(all, n, n), t.Columns(all, 2*n, n)
	t.Drop(all)
	gated := t.SwiGLU(swiglu.Linear, gate, x)
	t.Drop(gate, x)
	y := cache.convolve(t, i, 0, s.conv, 0, gated, b)
	t.Drop(gated)
	z := t.SwiGLUFor(&s.out, swiglu.Linear, after, y)
	t.Drop(after, y)
	out := t.Linear(z, &s.out)
	t.Drop(z)
	return out
}

// keeps implements tokenMixer: the rows that the next token's convolution reads.
func (s *shortConv) keeps(int) []int { return []int{(s.conv.width - 1) * s.in.In} }

func (s *shortConv) pairs() float64           { return 0 }
func (s *shortConv) steps() float64           { return float64(s.in.In * s.conv.width) }
func (s *shortConv) narrows(driver.Kind) bool { return true }

// convolve records the convolution of x by the channels from from on, which keeps its last
// rows in the layer's store of that number.
func (c *Cache) convolve(t *autograd.Tape, layer, store int, conv convolution, from int, x *autograd.Value, b *Batch) *autograd.Value {
	by := conv.weights
	by.From = from
	k := shortconv.Conv{Segments: b.Segments, Width: conv.width, SiLU: conv.silu}
	if c == nil || t.Err() != nil {
		return t.ShortConv(k, x, by)
	}
	tails := c.stores[layer][store]
	if c.step != nil {
		return t.ShortConvStep(k, x, by, c.slots, tails)
	}
	t.KeepConv(k, x, c.slots, tails)
	return t.ShortConv(k, x, by)
}

// storage is a layer's buffer in the cache; a convolution of width 1 has none.
func (c *Cache) storage(floats int) (driver.F32, error) {
	if floats == 0 {
		return driver.F32{}, nil
	}
	mem, err := c.m.dev.Alloc(4 * floats)
	if err != nil {
		return driver.F32{}, err
	}
	c.memory = append(c.memory, mem)
	return driver.View[float32](mem), nil
}
