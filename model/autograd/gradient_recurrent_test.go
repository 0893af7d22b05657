package autograd

import (
	"dataflex.dev/dataflex/kernels/deltanet"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/shortconv"
	"dataflex.dev/dataflex/kernels/swiglu"
)

// shortConvCases: a convolution whose channels are some of the weights', in two segments.
func shortConvCases() (out []gradientCase) {
	const channels, from, all = 4, 2, 7
	segments := []int32{0, 2, 7}
	for name, v := range map[string]struct {
		silu, bias bool
		width      int
	}{"silu": {true, false, 4}, "bias": {false, true, 3}} {
		width := v.width
		c := gradientCase{op: opShortConv, name: name, inputs: []input{{7, channels, false}, {all, width, true}}}
		if v.bias {
			c.inputs = append(c.inputs, input{1, all, true})
		}
		c.record = func(t *Tape, x operands) *Value {
			p := append(x.params, nil)
			return t.ShortConv(shortconv.Conv{Segments: segments, Width: width, SiLU: v.silu}, x.values[0], ChannelWeights{p[1], p[2], from})
		}
		forward := func(x [][]float64) []float64 {
			w, bias := someChannels(x, from, channels, width)
			y, _ := optest.ShortConv(x[0], w, bias, segments, width, v.silu)
			return y
		}
		out = append(out, c.with(forward, shortConvPlain[float32](segments, from, channels, width, v.silu), shortConvPlain[float64](segments, from, channels, width, v.silu)))
	}
	return out
}

func someChannels[F optest.Float](x [][]F, from, n, width int) (w, bias []F) {
	if len(x) > 2 {
		bias = x[2][from : from+n]
	}
	return x[1][from*width : (from+n)*width], bias
}

func shortConvPlain[F optest.Float](segments []int32, from, n, width int, silu bool) func(g []F, x [][]F) [][]F {
	return func(g []F, x [][]F) [][]F {
		w, bias := someChannels(x, from, n, width)
		dx, dw, db := optest.ShortConvGrad(g, x[0], w, bias, segments, width, silu)
		allW := make([]F, len(x[1]))
		copy(allW[from*width:], dw)
		out := [][]F{dx, allW}
		if bias != nil {
			allB := make([]F, len(x[2]))
			copy(allB[from:], db)
			out = append(out, allB)
		}
		return out
	}
}

func deltaRuleCases() []gradientCase {
	p := deltanet.Params{Segments: []int32{0, 1, 7}, KeyHeads: 2, ValueHeads: 4, KeyDim: 3, ValueDim: 5}
	keys, values := p.KeyHeads*p.KeyDim, p.ValueHeads*p.ValueDim
	c := gradientCase{op: opDeltaRule, name: "two segments", inputs: []input{
		{7, keys, false},
		{7, keys, false},
		{7, values, false},
		{7, p.ValueHeads, false},
		{7, p.ValueHeads, false},
		{1, p.ValueHeads, true},
		{1, p.ValueHeads, true},
	}}
	c.record = func(t *Tape, x operands) *Value {
		v := x.values
		return t.DeltaRule(p, DeltaInputs{Q: v[0], K: v[1], V: v[2], A: v[3], B: v[4], ALog: x.params[5], DtBias: x.params[6]})
	}
	forward := func(x [][]float64) []float64 { return plainRule(p, x).Forward() }
	return []gradientCase{c.with(forward, deltaRulePlain[float32](p), deltaRulePlain[float64](p))}
}

func plainRule[F optest.Float](p deltanet.Params, x [][]F) *optest.DeltaNet[F] {
	return &optest.DeltaNet[F]{
		Segments: p.Segments, KeyHeads: p.KeyHeads, ValueHeads: p.ValueHeads, KeyDim: p.KeyDim, ValueDim: p.ValueDim,
		Q: x[0], K: x[1], V: x[2], A: x[3], B: x[4], ALog: x[5], DtBias: x[6],
	}
}

func deltaRulePlain[F optest.Float](p deltanet.Params) func(g []F, x [][]F) [][]F {
	return func(g []F, x [][]F) [][]F { return plainRule(p, x).Backward(g) }
}

// productCases are the gates that are no activation of an MLP.
func productCases() (out []gradientCase) {
	for name, act := range map[string]swiglu.Activation{"sigmoid": swiglu.Sigmoid, "product": swiglu.Linear} {
		c := gradientCase{op: opSwiGLU, name: name, inputs: []input{{4, 7, false}, {4, 7, false}}}
		c.record = func(t *Tape, x operands) *Value { return t.SwiGLU(act, x.values[0], x.values[1]) }
		forward := func(x [][]float64) []float64 { return optest.Product(x[0], x[1], act == swiglu.Sigmoid) }
		out = append(out, c.with(forward, productPlain[float32](act), productPlain[float64](act)))
	}
	return out
}

func productPlain[F optest.Float](act swiglu.Activation) func(g []F, x [][]F) [][]F {
	return func(g []F, x [][]F) [][]F {
		dgate, dup := optest.ProductGrad(g, x[0], x[1], act == swiglu.Sigmoid)
		return [][]F{dgate, dup}
	}
}
