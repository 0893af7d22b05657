package main

import (
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/norm"
)

// memoryCase is bound by the bytes it moves.
func memoryCase(m model, op, typ string, bytes float64, d []Dim, label string, setup func(r *room) job) Case {
	return Case{Op: op, Type: typ, Model: m.name, Label: label, Dims: d, Floor: Floor{Bytes: bytes}, setup: setup}
}

func normCases(m model) []Case {
	n := rows{m.tokens, m.hidden}
	shape, label := dims("rows d", n.rows, n.d)
	x := 4 * float64(n.rows*n.d)
	return []Case{
		memoryCase(m, "norm_forward", "f32", 2*x, shape, label, n.forward),
		memoryCase(m, "norm_backward", "f32", 3*x, shape, label, func(r *room) job { return n.backward(r, false) }),
		memoryCase(m, "norm_backward_dw", "f32", 3*x, shape, label, func(r *room) job { return n.backward(r, true) }),
		memoryCase(m, "layernorm_forward", "f32", 2*x, shape, label, n.layerForward),
		memoryCase(m, "layernorm_backward", "f32", 3*x, shape, label, n.layerBackward),
	}
}

// rows are what a norm goes over.
type rows struct{ rows, d int }

const eps = 1e-5

// matrix is an output like x; of makes a function of the columns out of each row.
func (n rows) matrix(r *room, name string, s driver.F32, of func(row int) func(j int) expected) output {
	return output{name: name, rows: n.rows, cols: n.d, each: 8, read: r.floats(s), want: func(row int, cols []int) []expected {
		entry := of(row)
		return each(func(_, j int) expected { return entry(j) })(row, cols)
	}}
}

// mean is that of f over a row's columns.
func (n rows) mean(f func(j int) float64) float64 {
	sum := 0.0
	for j := range n.d {
		sum += f(j)
	}
	return sum / float64(n.d)
}

func (n rows) forward(r *room) job {
	x, w, y, rstd := r.normal(n.rows*n.d, 1), r.normal(n.d, 1), r.zeros(n.rows*n.d), r.zeros(n.rows)
	root := func(row int) float64 {
		return 1 / math.Sqrt(n.mean(func(j int) float64 { v := x.at(row*n.d + j); return v * v })+eps)
	}
	return job{
		call: func() { norm.Forward(r.dev, x.Slice, w.Slice, eps, y, rstd, n.d) },
		outputs: []output{
			n.matrix(r, "y", y, func(row int) func(int) expected {
				s := root(row)
				return func(j int) expected { return within(w.at(j)*x.at(row*n.d+j)*s, exactShare) }
			}),
			vector("rstd", n.rows, r.floats(rstd), func(row int) expected { return within(root(row), exactShare) }),
		},
		again: true,
	}
}

func (n rows) backward(r *room, weight bool) job {
	dy, x, w, rstd := r.normal(n.rows*n.d, 1), r.normal(n.rows*n.d, 1), r.normal(n.d, 1), r.positive(n.rows)
	dx, dw := r.zeros(n.rows*n.d), none
	outputs := []output{n.matrix(r, "dx", dx, func(row int) func(int) expected {
		s := rstd.at(row)
		g := func(j int) float64 { return dy.at(row*n.d+j) * w.at(j) }
		h := func(j int) float64 { return x.at(row*n.d+j) * s }
		mean := n.mean(func(j int) float64 { return g(j) * h(j) })
		return func(j int) expected {
			return expected{s * (g(j) - h(j)*mean), exactShare * s * (math.Abs(g(j)) + math.Abs(h(j))*(math.Abs(mean)+s))}
		}
	})}
	if weight {
		dw = r.zeros(n.d)
		outputs = append(outputs, vector("dw", n.d, r.floats(dw), func(j int) expected {
			var t total
			for row := range n.rows {
				t.add(dy.at(row*n.d+j) * x.at(row*n.d+j) * rstd.at(row))
			}
			return t.rounded(0x1p-22)
		}))
	}
	return job{call: func() { norm.Backward(r.dev, dy.Slice, x.Slice, w.Slice, rstd.Slice, dx, dw, n.d) }, outputs: outputs, again: !weight}
}

func (n rows) layerForward(r *room) job {
	w, b := r.normal(n.d, 1), r.normal(n.d, 1)
	l := norm.Layer{Eps: eps, W: w.Slice, B: b.Slice}
	x, y, moments := r.normal(n.rows*n.d, 1), r.zeros(n.rows*n.d), r.zeros(2*n.rows)
	return job{
		call: func() { l.Forward(r.dev, x.Slice, y, moments, n.d) },
		outputs: []output{n.matrix(r, "y", y, func(row int) func(int) expected {
			mean := n.mean(func(j int) float64 { return x.at(row*n.d + j) })
			s := 1 / math.Sqrt(n.mean(func(j int) float64 { v := x.at(row*n.d+j) - mean; return v * v })+eps)
			return func(j int) expected {
				y := w.at(j)*(x.at(row*n.d+j)-mean)*s + b.at(j)
				return expected{y, exactShare * (math.Abs(w.at(j)*x.at(row*n.d+j)) + math.Abs(b.at(j)) + math.Abs(w.at(j)))}
			}
		})},
		again: true,
	}
}

func (n rows) layerBackward(r *room) job {
	w, b := r.normal(n.d, 1), r.normal(n.d, 1)
	l := norm.Layer{Eps: eps, W: w.Slice, B: b.Slice}
	dy, x, moments, dx := r.normal(n.rows*n.d, 1), r.normal(n.rows*n.d, 1), r.positive(2*n.rows), r.zeros(n.rows*n.d)
	return job{
		call: func() { l.Backward(r.dev, dy.Slice, x.Slice, moments.Slice, dx, none, none, n.d) },
		outputs: []output{n.matrix(r, "dx", dx, func(row int) func(int) expected {
			center, s := moments.at(2*row), moments.at(2*row+1)
			g := func(j int) float64 { return dy.at(row*n.d+j) * w.at(j) }
			h := func(j int) float64 { return (x.at(row*n.d+j) - center) * s }
			mean, inner := n.mean(g), n.mean(func(j int) float64 { return g(j) * h(j) })
			return func(j int) expected {
				size := math.Abs(g(j)) + 1 + math.Abs(h(j))*(math.Abs(inner)+s*(1+center))
				return expected{s * (g(j) - mean - h(j)*inner), exactShare * s * size}
			}
		})},
		again: true,
	}
}
