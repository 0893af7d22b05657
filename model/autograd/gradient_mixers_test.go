package autograd

import (
	"math"

	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/swiglu"
)

// The cases of TestGradients of what latent attention, gpt_oss' gate and experts with
// weighted inputs need.

func joinCases() []gradientCase {
	const t, heads, n, m = 5, 3, 4, 2
	c := gradientCase{op: opJoin, name: "what the heads share", inputs: []input{{t, heads * n, false}, {t, m, false}}}
	c.record = func(t *Tape, x operands) *Value { return t.Join(x.values[0], x.values[1], heads) }
	forward := func(x [][]float64) (out []float64) {
		for i := range t {
			for h := range heads {
				out = append(append(out, x[0][(i*heads+h)*n:][:n]...), x[1][i*m:][:m]...)
			}
		}
		return out
	}
	return []gradientCase{c.with(forward, joinPlain[float32](t, heads, n, m), joinPlain[float64](t, heads, n, m))}
}

func joinPlain[F optest.Float](t, heads, n, m int) func(g []F, x [][]F) [][]F {
	return func(g []F, _ [][]F) [][]F {
		da, db := make([]F, t*heads*n), make([]F, t*m)
		for i := range t * heads {
			copy(da[i*n:], g[i*(n+m):][:n])
			for j := range m {
				db[i/heads*m+j] += g[i*(n+m)+n+j]
			}
		}
		return [][]F{da, db}
	}
}

// weighedCases are the way to experts with weighted inputs, and the way back.
func weighedCases() []gradientCase {
	rows := expertRows()
	send := gradientCase{op: opSend, name: "weighted", inputs: []input{{expertT, expertD, false}, {expertT, 2, false}}}
	send.record = func(t *Tape, x operands) *Value { return t.Send(x.values[0], routing(t, x.values[1])) }
	sent := func(x [][]float64) []float64 {
		out := make([]float64, len(rows)*expertD)
		for i, r := range rows {
			for j := range expertD {
				out[r*expertD+j] = x[1][i] * x[0][i/2*expertD+j]
			}
		}
		return out
	}
	gather := gradientCase{op: opGather, name: "two rows a token", inputs: []input{{2 * expertT, expertD, false}}}
	gather.record = func(t *Tape, x operands) *Value { return t.Gather(x.values[0], routing(t, nil)) }
	gathered := func(x [][]float64) []float64 {
		out := make([]float64, expertT*expertD)
		for i, r := range rows {
			for j := range expertD {
				out[i/2*expertD+j] += x[0][r*expertD+j]
			}
		}
		return out
	}
	return []gradientCase{
		send.with(sent, sendPlain[float32], sendPlain[float64]),
		gather.with(gathered, gatherPlain[float32], gatherPlain[float64]),
	}
}

func sendPlain[F optest.Float](g []F, x [][]F) [][]F {
	dx, dw := make([]F, expertT*expertD), make([]F, 2*expertT)
	for i, r := range expertRows() {
		for j := range expertD {
			dx[i/2*expertD+j] += x[1][i] * g[r*expertD+j]
			dw[i] += x[0][i/2*expertD+j] * g[r*expertD+j]
		}
	}
	return [][]F{dx, dw}
}

func gatherPlain[F optest.Float](g []F, _ [][]F) [][]F {
	dy := make([]F, 2*expertT*expertD)
	for i, r := range expertRows() {
		copy(dy[r*expertD:][:expertD], g[i/2*expertD:])
	}
	return [][]F{dy}
}

func clampedCases() []gradientCase {
	f := swiglu.Clamped{Alpha: 1.5, Limit: 0.8}
	c := gradientCase{op: opSwiGLU, name: "clamped", inputs: []input{{4, 7, false}, {4, 7, false}}}
	c.record = func(t *Tape, x operands) *Value { return t.ClampedSwiGLU(f, x.values[0], x.values[1]) }
	forward := func(x [][]float64) (out []float64) {
		for i := range x[0] {
			g, u := min(x[0][i], float64(f.Limit)), min(max(x[1][i], -float64(f.Limit)), float64(f.Limit))
			out = append(out, (u+1)*g/(1+math.Exp(-float64(f.Alpha)*g)))
		}
		return out
	}
	return []gradientCase{c.with(forward, clampedPlain[float32](f), clampedPlain[float64](f))}
}

func clampedPlain[F optest.Float](f swiglu.Clamped) func(g []F, x [][]F) [][]F {
	return func(d []F, x [][]F) [][]F {
		l, a := F(f.Limit), F(f.Alpha)
		dgate, dup := make([]F, len(d)), make([]F, len(d))
		for i := range d {
			g, u := min(x[0][i], l), min(max(x[1][i], -l), l)
			s := 1 / (1 + F(math.Exp(float64(-a*g))))
			if x[0][i] <= l {
				dgate[i] = d[i] * (u + 1) * s * (1 + a*g*(1-s))
			}
			if x[1][i] >= -l && x[1][i] <= l {
				dup[i] = d[i] * g * s
			}
		}
		return [][]F{dgate, dup}
	}
}
