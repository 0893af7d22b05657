package autograd

import (
	"math"

	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/swiglu"
)

func pointwiseCases() (out []gradientCase) {
	for name, f := range map[string]swiglu.Pointwise{
		"relu2": {}, "clamp": {Function: swiglu.Clamp, Bound: 0.9},
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
		switch {
		case f.Function == swiglu.SquaredReLU:
			y, slope = append(y, max(z, 0)*max(z, 0)), append(slope, 2*max(z, 0))
		case z < -b || z > b:
			y, slope = append(y, min(max(z, -b), b)), append(slope, 0)
		default:
			y, slope = append(y, z), append(slope, 1)
		}
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

func layerNormCases() []gradientCase {
	const rows, d, eps = 4, 7, 1e-5
	full := gradientCase{op: opLayerNorm, name: "weight and bias", inputs: []input{{rows, d, false}, {1, d, true}, {1, d, true}}}
	full.record = func(t *Tape, x operands) *Value { return t.LayerNorm(x.values[0], x.params[1], x.params[2], eps) }
	bare := gradientCase{op: opLayerNorm, name: "neither", inputs: []input{{rows, d, false}}}
	bare.record = func(t *Tape, x operands) *Value { return t.LayerNorm(x.values[0], nil, nil, eps) }
	forward := func(x [][]float64) []float64 { y, _ := layerNorm[float64](d, eps, nil, x); return y }
	var out []gradientCase
	for _, c := range []gradientCase{full, bare} {
		out = append(out, c.with(forward,
			func(g []float32, x [][]float32) [][]float32 { _, dx := layerNorm(d, eps, g, x); return dx },
			func(g []float64, x [][]float64) [][]float64 { _, dx := layerNorm(d, eps, g, x); return dx }))
	}
	return out
}

// layerNorm is the op, and with a gradient g of its output those of x, w and b.
func layerNorm[F optest.Float](d int, eps F, g []F, x [][]F) (y []F, grads [][]F) {
	for _, in := range x {
		grads = append(grads, make([]F, len(in)))
	}
	for t := 0; t < len(x[0]); t += d {
		var mean, variance, sum, dot F
		for _, v := range x[0][t : t+d] {
			mean += v / F(d)
		}
		for _, v := range x[0][t : t+d] {
			variance += (v - mean) * (v - mean) / F(d)
		}
		r := F(1 / math.Sqrt(float64(variance+eps)))
		n, gw := make([]F, d), make([]F, d)
		for j := range d {
			n[j] = (x[0][t+j] - mean) * r
			w, b := F(1), F(0)
			if len(x) > 1 {
				w, b = x[1][j], x[2][j]
			}
			if y = append(y, n[j]*w+b); g == nil {
				continue
			}
			gw[j] = g[t+j] * w
			sum, dot = sum+gw[j]/F(d), dot+gw[j]*n[j]/F(d)
			if len(x) > 1 {
				grads[1][j] += g[t+j] * n[j]
				grads[2][j] += g[t+j]
			}
		}
		for j := range d {
			grads[0][t+j] = r * (gw[j] - sum - n[j]*dot)
		}
	}
	return y, grads
}
