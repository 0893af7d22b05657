package autograd

import "dataflex.dev/dataflex/kernels/optest"

// The cases of TestGradients that multiply by numbers of a layer's own.

func scaledCases() []gradientCase {
	const s = 0.3
	scaled := gradientCase{op: opScaled, name: "by a number", inputs: []input{{4, 5, false}}}
	scaled.record = func(t *Tape, x operands) *Value { return t.Scaled(x.values[0], s) }
	weigh := gradientCase{op: opWeigh, name: "by expert", inputs: []input{{expertT, 2, false}, {3, 1, true}}}
	weigh.record = func(t *Tape, x operands) *Value {
		r := routing(t, x.values[0])
		t.WeighExperts(r, x.params[1])
		return r.weight
	}
	weighed := func(x [][]float64) (out []float64) {
		for i, e := range expertChoice {
			out = append(out, x[0][i]*x[1][e])
		}
		return out
	}
	return []gradientCase{
		scaled.with(func(x [][]float64) []float64 { return times(s, x[0]) }, scaledPlain[float32](s), scaledPlain[float64](s)),
		weigh.with(weighed, weighPlain[float32], weighPlain[float64]),
	}
}

func times[F optest.Float](s F, x []F) (out []F) {
	for _, v := range x {
		out = append(out, s*v)
	}
	return out
}

func scaledPlain[F optest.Float](s F) func(g []F, x [][]F) [][]F {
	return func(g []F, _ [][]F) [][]F { return [][]F{times(s, g)} }
}

func weighPlain[F optest.Float](g []F, x [][]F) [][]F {
	dw, ds := make([]F, len(g)), make([]F, len(x[1]))
	for i, e := range expertChoice {
		dw[i] = g[i] * x[1][e]
		ds[e] += g[i] * x[0][i]
	}
	return [][]F{dw, ds}
}
