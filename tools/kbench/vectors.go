package main

import (
	"math"

	"dataflex.dev/dataflex/kernels/adamw"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/peak"
	"dataflex.dev/dataflex/kernels/reduce"
)

// vectors go over everything that is trained, or over a layer's activations.
func vectors(m model) []Case {
	n, wide := m.adapters, m.tokens*m.ffn
	d, label := dims("n", n)
	b := 4 * float64(n)
	x, wideLabel := dims("n", wide)
	return []Case{
		memoryCase(m, "adamw", "f32", 7*b, d, label, func(r *room) job { return adamwJob(r, n, false) }),
		memoryCase(m, "adamw", "bf16", 7.5*b, d, label, func(r *room) job { return adamwJob(r, n, true) }),
		memoryCase(m, "reduce_sum_squares", "f32", b, d, label, func(r *room) job {
			x, sum := r.normal(n, 1), 0.0
			return job{
				call: func() { sum = reduce.SumSquares(r.dev, x.Slice) },
				outputs: []output{vector("sum", 1, func(int) float64 { return sum }, func(int) expected {
					return within(dot(x, 0, x, 0, n), exactShare)
				})},
				again: true,
			}
		}),
		memoryCase(m, "reduce_axpy", "f32", 3*b, d, label, func(r *room) job {
			x, y, a := r.normal(n, 1), r.normal(n, 1), float32(1e-9)
			return job{
				call:    func() { reduce.Axpy(r.dev, a, x.Slice, y.Slice) },
				outputs: []output{vector("y", n, r.floats(y.Slice), func(i int) expected { return within(y.at(i)+float64(a)*x.at(i), 0x1p-22) })},
			}
		}),
		memoryCase(m, "cast_narrow", "bf16", 6*float64(wide), x, wideLabel, func(r *room) job {
			x, y := r.normal(wide, 1), r.half(wide, 1)
			want := nearest(x.part)
			return job{
				call:    func() { cast.Narrow(r.dev, x.Slice, y.Slice) },
				outputs: []output{vector("y", wide, r.halves(y.Slice), func(i int) expected { return expected{float64(want[i%len(want)]), 0} })},
				again:   true,
			}
		}),
		memoryCase(m, "cast_widen", "bf16", 6*float64(wide), x, wideLabel, func(r *room) job {
			x, y := r.half(wide, 1), r.zeros(wide)
			return job{
				call:    func() { cast.Widen(r.dev, x.Slice, y) },
				outputs: []output{vector("y", wide, r.floats(y), func(i int) expected { return expected{x.at(i), 0} })},
				again:   true,
			}
		}),
		memoryCase(m, "copy", "f32", 8*float64(wide), x, wideLabel, func(r *room) job {
			x, y := r.normal(wide, 1), r.zeros(wide)
			return job{
				call:    func() { peak.Copy(r.dev, x.Slice, y) },
				outputs: []output{vector("y", wide, r.floats(y), func(i int) expected { return expected{x.at(i), 0} })},
				again:   true,
			}
		}),
	}
}

// adamwJob is torch.optim.AdamW's step, as package adamw writes it down.
func adamwJob(r *room, n int, bf16 bool) job {
	p, g, first, second := r.normal(n, 1), r.normal(n, 1), r.normal(n, 1), r.positive(n)
	h := adamw.Hyper{LR: 1e-4, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.01, Step: 10, GradScale: 1}
	moment := func(i int) float64 { return first.at(i) + (1-h.Beta1)*(g.at(i)-first.at(i)) }
	square := func(i int) float64 { return h.Beta2*second.at(i) + (1-h.Beta2)*g.at(i)*g.at(i) }
	updated := func(i int) expected {
		step := h.LR / (1 - math.Pow(h.Beta1, float64(h.Step))) * moment(i) / (math.Sqrt(square(i))/math.Sqrt(1-math.Pow(h.Beta2, float64(h.Step))) + h.Eps)
		y := p.at(i)*(1-h.LR*h.WeightDecay) - step
		return expected{y, 0x1p-22*math.Abs(p.at(i)) + exactShare*math.Abs(step)}
	}
	x := adamw.Param{P: p.Slice, G: g.Slice, M: first.Slice, V: second.Slice}
	j := job{
		call: func() { adamw.Step(r.dev, h, x) },
		outputs: []output{
			vector("p", n, r.floats(p.Slice), updated),
			vector("m", n, r.floats(first.Slice), func(i int) expected {
				return expected{moment(i), 0x1p-21 * (math.Abs(first.at(i)) + math.Abs(g.at(i)))}
			}),
			vector("v", n, r.floats(second.Slice), func(i int) expected { return within(square(i), 0x1p-21) }),
		},
	}
	if bf16 {
		half := r.half(n, 1)
		x.Half = half.Slice
		j.outputs = append(j.outputs, vector("p in bf16", n, r.halves(half.Slice), func(i int) expected {
			e := updated(i)
			return expected{e.value, e.allowed + bf16Share*math.Abs(e.value)}
		}))
	}
	return j
}
