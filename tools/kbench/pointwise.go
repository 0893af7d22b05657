package main

import (
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dropout"
	"dataflex.dev/dataflex/kernels/embed"
	"dataflex.dev/dataflex/kernels/rope"
	"dataflex.dev/dataflex/kernels/swiglu"
)

// pointwise are what stands between the products of a layer.
func pointwise(m model) []Case {
	n := m.tokens * m.ffn
	b := 4 * float64(n)
	d, label := dims("n", n)
	cases := []Case{
		memoryCase(m, "swiglu_forward", "f32", 3*b, d, label, func(r *room) job { return swigluForward(r, n) }),
		memoryCase(m, "swiglu_backward", "f32", 5*b, d, label, func(r *room) job { return swigluBackward(r, n) }),
		memoryCase(m, "gelu_forward", "f32", 2*b, d, label, func(r *room) job {
			x, y := r.normal(n, 1), r.zeros(n)
			return job{
				call:    func() { swiglu.Pointwise{Function: swiglu.ExactGELU}.Forward(r.dev, x.Slice, y) },
				outputs: []output{vector("y", n, r.floats(y), func(i int) expected { v := x.at(i); return expected{v * phi(v), exactShare * math.Abs(v)} })},
				again:   true,
			}
		}),
		memoryCase(m, "gelu_backward", "f32", 3*b, d, label, func(r *room) job {
			dy, x, dx := r.normal(n, 1), r.normal(n, 1), r.zeros(n)
			return job{
				call: func() { swiglu.Pointwise{Function: swiglu.ExactGELU}.Backward(r.dev, dy.Slice, x.Slice, dx) },
				outputs: []output{vector("dx", n, r.floats(dx), func(i int) expected {
					v := x.at(i)
					return expected{dy.at(i) * (phi(v) + v*math.Exp(-v*v/2)/math.Sqrt(2*math.Pi)), exactShare * math.Abs(dy.at(i))}
				})},
				again: true,
			}
		}),
	}
	rows, cols := m.tokens, m.hidden
	d, label = dims("rows cols", rows, cols)
	cases = append(cases, memoryCase(m, "dropout", "f32", 2*4*float64(rows*cols), d, label, func(r *room) job { return dropoutJob(r, rows, cols) }))
	t, heads, dim := m.tokens, m.heads, m.headDim
	d, label = dims("tokens heads dim", t, heads, dim)
	cases = append(cases, memoryCase(m, "rope", "f32", 2*4*float64(t*heads*dim), d, label, func(r *room) job { return ropeJob(r, t, heads, dim) }))
	return append(cases, embeddings(m)...)
}

// phi is the normal distribution's.
func phi(x float64) float64 { return (1 + math.Erf(x/math.Sqrt2)) / 2 }

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

func swigluForward(r *room, n int) job {
	gate, up, y := r.normal(n, 1), r.normal(n, 1), r.zeros(n)
	return job{
		call: func() { swiglu.Forward(r.dev, swiglu.SiLU, gate.Slice, up.Slice, y) },
		outputs: []output{vector("y", n, r.floats(y), func(i int) expected {
			return within(gate.at(i)*sigmoid(gate.at(i))*up.at(i), exactShare)
		})},
		again: true,
	}
}

func swigluBackward(r *room, n int) job {
	dy, gate, up, dgate, dup := r.normal(n, 1), r.normal(n, 1), r.normal(n, 1), r.zeros(n), r.zeros(n)
	return job{
		call: func() { swiglu.Backward(r.dev, swiglu.SiLU, dy.Slice, gate.Slice, up.Slice, dgate, dup) },
		outputs: []output{
			vector("dgate", n, r.floats(dgate), func(i int) expected {
				z, s := gate.at(i), sigmoid(gate.at(i))
				return expected{dy.at(i) * up.at(i) * (s + z*s*(1-s)), exactShare * math.Abs(dy.at(i)*up.at(i)) * (1 + math.Abs(z))}
			}),
			vector("dup", n, r.floats(dup), func(i int) expected {
				return within(dy.at(i)*gate.at(i)*sigmoid(gate.at(i)), exactShare)
			}),
		},
		again: true,
	}
}

// dropoutJob is held to the host twin, whose mask is the same: Philox is in integers.
func dropoutJob(r *room, rows, cols int) job {
	key, p := dropout.Key{Seed: 1}, float32(0.1)
	x, y := r.normal(rows*cols, 1), r.zeros(rows*cols)
	return job{
		call: func() { dropout.Mask(r.dev, key, p, rows, cols, x.Slice, y, false) },
		outputs: []output{{name: "y", rows: rows, cols: cols, each: checks, read: r.floats(y), want: func(row int, picks []int) []expected {
			host := cpu.New(1)
			defer host.Close()
			in, out := make([]float32, (row+1)*cols), make([]float32, (row+1)*cols)
			for j := range cols {
				in[row*cols+j] = float32(x.at(row*cols + j))
			}
			dropout.Mask(host, key, p, row+1, cols, driver.FromHost(in), driver.FromHost(out), false)
			return each(func(row, j int) expected { return expected{float64(out[row*cols+j]), 0} })(row, picks)
		}}},
		again: true,
	}
}

func ropeJob(r *room, tokens, heads, dim int) job {
	const theta = 500000
	x, pos := r.normal(tokens*heads*dim, 1), make([]int32, tokens)
	for i := range pos {
		pos[i] = int32(i)
	}
	table, err := rope.NewTable(dim, theta, rope.Scaling{}, tokens)
	must(err)
	return job{
		call: func() { rope.Apply(r.dev, x.Slice, pos, table, heads, dim, false) },
		outputs: []output{matrix("x", tokens, heads*dim, r.floats(x.Slice), func(t, j int) expected {
			half, first := dim/2, j/dim*dim+j%(dim/2)
			a, b := x.at(t*heads*dim+first), x.at(t*heads*dim+first+half)
			// The angle is a product in float32, of a frequency that is rounded, too.
			angle := float64(t) * math.Pow(theta, -float64(2*(j%half))/float64(dim))
			sin, cos := math.Sincos(angle)
			y := a*cos - b*sin
			if j%dim >= half {
				y = b*cos + a*sin
			}
			return expected{y, (0x1p-22*angle + exactShare) * (math.Abs(a) + math.Abs(b))}
		})},
	}
}

func embeddings(m model) []Case {
	t, width := m.tokens, m.hidden
	d, label := dims("tokens vocab d", t, m.vocab, width)
	row, tokens := 4*float64(t*width), ids(t, m.vocab)
	exact := func(v float64) expected { return expected{v, 0} }
	return []Case{
		memoryCase(m, "embed_forward", "f32", 2*row, d, label, func(r *room) job {
			table, y := r.normal(m.vocab*width, 1), r.zeros(t*width)
			return job{
				call:    func() { embed.Forward(r.dev, table.Slice, tokens, y, width) },
				outputs: []output{matrix("y", t, width, r.floats(y), func(i, j int) expected { return exact(table.at(int(tokens[i])*width + j)) })},
				again:   true,
			}
		}),
		memoryCase(m, "embed_forward", "bf16", 1.5*row, d, label, func(r *room) job {
			table, y := r.half(m.vocab*width, 1), r.zeros(t*width)
			return job{
				call:    func() { embed.ForwardBF16(r.dev, table.Slice, tokens, y, width) },
				outputs: []output{matrix("y", t, width, r.floats(y), func(i, j int) expected { return exact(table.at(int(tokens[i])*width + j)) })},
				again:   true,
			}
		}),
		memoryCase(m, "embed_backward", "f32", 3*row, d, label, func(r *room) job {
			table, dy := r.zeros(m.vocab*width), r.normal(t*width, 1)
			return job{
				call: func() { embed.Backward(r.dev, dy.Slice, tokens, table, width) },
				outputs: []output{matrix("dtable", m.vocab, width, r.floats(table), func(v, j int) expected {
					var sum total
					for i, id := range tokens {
						if int(id) == v {
							sum.add(dy.at(i*width + j))
						}
					}
					return sum.rounded(0)
				})},
			}
		}),
	}
}
