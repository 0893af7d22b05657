package autograd

import (
	"math"

	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/swiglu"
)

func pointwiseCases() (out []gradientCase) {
	for name, f := range map[string]swiglu.Pointwise{
		"relu2": {}, "clamp": {Function: swiglu.Clamp, Bound: 0.9},
		"gelu": {Function: swiglu.ExactGELU}, "gelu_tanh": {Function: swiglu.ApproximateGELU},
	} {
		c := gradientCase{op: opPointwise, name: name, inputs: []input{{4, 7, false}}}
		c.record = func(t *Tape, x operands) *Value { return t.Pointwise(f, x.values[0]) }
		out = append(out, c.with(func(x [][]float64) []float64 { y, _ := pointwise(f, x[0]); return y }, pointwisePlain[float32](f), pointwisePlain[float64](f)))
	}
	return out
}

// pointwise is f and its slope.
func pointwise[F optest.Float](f swiglu.Pointwise, x []F) (y, slope []F) {
	b := F(f.Bound)
	for _, z := range x {
		v, s := z, F(1)
		switch {
		case f.Function == swiglu.SquaredReLU:
			v, s = max(z, 0)*max(z, 0), 2*max(z, 0)
		case f.Function == swiglu.ExactGELU:
			phi := F(0.5) * (1 + F(math.Erf(float64(z)/math.Sqrt2)))
			v, s = z*phi, phi+z*F(math.Exp(-float64(z*z)/2)/math.Sqrt(2*math.Pi))
		case f.Function == swiglu.ApproximateGELU:
			c := F(math.Sqrt(2 / math.Pi))
			h := F(math.Tanh(float64(c * (z + 0.044715*z*z*z))))
			v, s = 0.5*z*(1+h), 0.5*(1+h)+0.5*z*(1-h*h)*c*(1+3*0.044715*z*z)
		case z < -b || z > b:
			v, s = min(max(z, -b), b), 0
		}
		y, slope = append(y, v), append(slope, s)
	}
	return y, slope
}

func pointwisePlain[F optest.Float](f swiglu.Pointwise) func(g []F, x [][]F) [][]F {
	return func(g []F, x [][]F) [][]F {
		_, dx := pointwise(f, x[0])
		for i := range dx {
			dx[i] *= g[i]
		}
		return [][]F{dx}
	}
}

// layerNormCases: whole rows with weight and bias, with either, with neither, and heads
// that have weights of their own.
func layerNormCases() (out []gradientCase) {
	const rows, cols = 4, 6
	for _, v := range []struct {
		name                  string
		width                 int
		weight, bias, onePlus bool
	}{
		{"weight and bias", cols, true, true, false},
		{"weight", cols, true, false, false},
		{"neither", cols, false, false, false},
		{"heads", 2, true, false, false},
		{"one plus weight, and bias", cols, true, true, true},
	} {
		groups := cols / v.width
		c := gradientCase{op: opLayerNorm, name: v.name, inputs: []input{{rows, cols, false}}}
		if v.weight {
			c.inputs = append(c.inputs, input{groups, v.width, true})
		}
		if v.bias {
			c.inputs = append(c.inputs, input{groups, v.width, true})
		}
		c.record = func(t *Tape, x operands) *Value {
			p := append(x.params, nil, nil)
			return t.LayerNorm(x.values[0], p[1], p[2], v.width, LayerOptions{Eps: layerEps, Groups: groups, OnePlus: v.onePlus})
		}
		forward := func(x [][]float64) []float64 {
			x = append(x, nil, nil)
			y, _ := optest.LayerNorm(x[0], added(x[1], v.onePlus), x[2], groups, v.width, layerEps)
			return y
		}
		out = append(out, c.with(forward, layerNormPlain[float32](groups, v.width, v.onePlus), layerNormPlain[float64](groups, v.width, v.onePlus)))
	}
	return out
}

const layerEps = 1e-5

func layerNormPlain[F optest.Float](groups, width int, onePlus bool) func(g []F, x [][]F) [][]F {
	return func(g []F, x [][]F) [][]F {
		x = append(x, nil)
		dx, dw, db := optest.LayerNormGrad(g, x[0], added(x[1], onePlus), groups, width, F(layerEps))
		return [][]F{dx, dw, db}
	}
}

// added is 1+w where that is wanted.
func added[F optest.Float](w []F, onePlus bool) []F {
	if !onePlus {
		return w
	}
	out := make([]F, len(w))
	for i, v := range w {
		out[i] = 1 + v
	}
	return out
}
