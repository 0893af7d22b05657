package main

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/router"
)

// groups are the launches that compute several layers with LoRA at once, as model/autograd
// makes them: q, k and v, or gate and up, forward; the gradient of their input; and dA and dB.
func groups(m model) []Case {
	wide, narrow := m.heads*m.headDim, m.kv*m.headDim
	var out []Case
	for _, to := range [][]int{{wide, narrow, narrow}, {m.ffn, m.ffn}} {
		out = append(out, groupCase(m, gemm.NT, to), groupCase(m, gemm.NN, to), groupCase(m, gemm.TN, to))
	}
	return out
}

// groupCase is tokens times layers of m.hidden inputs and these outputs.
func groupCase(m model, tr gemm.Transpose, to []int) Case {
	t, in, rank := float64(m.tokens), float64(m.hidden), float64(m.rank)
	all, layers := 0.0, float64(len(to))
	names, extents := "m k r", []int{m.tokens, m.hidden, m.rank}
	for i, n := range to {
		all += float64(n)
		names, extents = names+fmt.Sprint(" n", i), append(extents, n)
	}
	d, label := dims(names, extents...)
	c := Case{Op: "group_" + strings.ToLower(tr.String()), Type: "bf16", Model: m.name, Label: label, Dims: d, Floor: Floor{Unit: tensor}}
	var setup func(r *room, t, in, rank int, to []int) job
	switch tr {
	case gemm.NT:
		c.Floor.Ops = 2 * t * all * (in + rank)
		c.Floor.Bytes = 2 * (t*in + all*in + layers*t*rank + all*rank + t*all)
		setup = groupForward
	case gemm.NN:
		c.Floor.Ops = 2 * t * in * (all + layers*rank)
		c.Floor.Bytes = 2 * (t*all + all*in + layers*t*rank + layers*rank*in + t*in)
		setup = groupInput
	case gemm.TN:
		c.Floor.Ops = 2 * t * rank * (layers*in + all)
		c.Floor.Bytes = 2*(t*in+t*all+2*layers*t*rank) + 4*rank*(layers*in+all)
		setup = groupAdapters
	}
	c.setup = func(r *room) job { return setup(r, m.tokens, m.hidden, m.rank, to) }
	return c
}

// groupForward is y = x Wᵀ + u Bᵀ of every layer, in bf16.
func groupForward(r *room, t, in, rank int, to []int) job {
	x := r.half(t*in, 1)
	j := job{again: true}
	var sums []gemm.Sum
	for i, n := range to {
		w, u, b, y := r.half(n*in, 1), r.half(t*rank, 1), r.half(n*rank, 1), r.half(t*n, 1)
		sums = append(sums, gemm.Sum{Alpha: 1, Half: gemm.Dense(y.Slice, t, n), Pairs: []gemm.Pair{
			{A: gemm.Dense(x.Slice, t, in), B: gemm.Dense(w.Slice, n, in)}, {A: gemm.Dense(u.Slice, t, rank), B: gemm.Dense(b.Slice, n, rank)},
		}})
		j.outputs = append(j.outputs, matrix(fmt.Sprint("y", i), t, n, r.halves(y.Slice), func(row, column int) expected {
			var sum total
			addProduct(&sum, gemm.NT, x, w, t, n, in, row, column, 1)
			addProduct(&sum, gemm.NT, u, b, t, n, rank, row, column, 1)
			return sum.narrowed()
		}))
	}
	j.call = func() { gemm.RunGroup(r.dev, gemm.NT, sums) }
	return j
}

// narrowed is rounded, and then rounded to bf16.
func (t total) narrowed() expected {
	e := t.rounded(0)
	e.allowed += bf16Share * max(e.value, -e.value)
	return e
}

// groupInput is dx = Σ dy W + v A over the layers, in bf16.
func groupInput(r *room, t, in, rank int, to []int) job {
	dx := r.half(t*in, 1)
	sum := gemm.Sum{Alpha: 1, Half: gemm.Dense(dx.Slice, t, in)}
	var terms []func(s *total, row, column int)
	for _, n := range to {
		dy, w, v, a := r.half(t*n, 1), r.half(n*in, 1), r.half(t*rank, 1), r.half(rank*in, 1)
		sum.Pairs = append(
			sum.Pairs, gemm.Pair{A: gemm.Dense(dy.Slice, t, n), B: gemm.Dense(w.Slice, n, in)},
			gemm.Pair{A: gemm.Dense(v.Slice, t, rank), B: gemm.Dense(a.Slice, rank, in)},
		)
		terms = append(terms, func(s *total, row, column int) {
			addProduct(s, gemm.NN, dy, w, t, in, n, row, column, 1)
			addProduct(s, gemm.NN, v, a, t, in, rank, row, column, 1)
		})
	}
	return job{
		call: func() { gemm.RunGroup(r.dev, gemm.NN, []gemm.Sum{sum}) },
		outputs: []output{matrix("dx", t, in, r.halves(dx.Slice), func(row, column int) expected {
			var s total
			for _, add := range terms {
				add(&s, row, column)
			}
			return s.narrowed()
		})},
		again: true,
	}
}

// groupAdapters is dA = vᵀ x and dB = dyᵀ u of every layer, in float32.
func groupAdapters(r *room, t, in, rank int, to []int) job {
	x := r.half(t*in, 1)
	j := job{}
	var list []gemm.LoRAGradient
	add := func(name string, a, b operand[driver.BF16], rows, columns int) {
		c := r.zeros(rows * columns)
		list = append(list, gemm.LoRAGradient{A: gemm.Dense(a.Slice, t, rows), B: gemm.Dense(b.Slice, t, columns), C: gemm.Dense(c, rows, columns)})
		j.outputs = append(j.outputs, matrix(name, rows, columns, r.floats(c), func(row, column int) expected {
			var s total
			addProduct(&s, gemm.TN, a, b, rows, columns, t, row, column, 1)
			return s.rounded(0)
		}))
	}
	for i, n := range to {
		v, dy, u := r.half(t*rank, 1), r.half(t*n, 1), r.half(t*rank, 1)
		add(fmt.Sprint("dA", i), v, x, rank, in)
		add(fmt.Sprint("dB", i), dy, u, n, rank)
	}
	j.call = func() { gemm.AddLoRAGradients(r.dev, []int{t}, list) }
	return j
}

// mixture is where the shapes of experts come from.
type mixture struct {
	name                         string
	tokens, experts, topK        int
	hidden, intermediate, loRank int
}

// mixtures are the experts that are timed beside a model: those of Qwen3-30B-A3B (its
// config.json) beside Llama-3-8B.
func mixtures(m model) []mixture {
	switch m.name {
	case llama.name:
		return []mixture{{"qwen3-30b-a3b", 8192, 128, 8, 2048, 768, 16}}
	case tiny.name:
		return []mixture{{"tiny", 48, 4, 2, 64, 32, 8}}
	}
	return nil
}

// experts are the products of all experts in one launch: gate's or up's forward and for the
// gradient of the input, down's forward, the gradient of a whole weight and of one's A.
func experts(m model) []Case {
	var out []Case
	for _, x := range mixtures(m) {
		out = append(
			out,
			expertCase(x, gemm.NT, x.intermediate, x.hidden), expertCase(x, gemm.NT, x.hidden, x.intermediate),
			expertCase(x, gemm.NN, x.hidden, x.intermediate),
			expertCase(x, gemm.TN, x.intermediate, x.hidden), expertCase(x, gemm.TN, x.loRank, x.hidden),
		)
	}
	return out
}

// expertCase is the rows of all experts times matrices of n columns and k steps; for TN the sums
// over the rows are n by k.
func expertCase(x mixture, tr gemm.Transpose, n, k int) Case {
	rows, e := x.tokens*x.topK, x.experts
	d, label := dims("m n k e", rows, n, k, e)
	matrices := float64(e) * float64(n) * float64(k)
	c := Case{
		Op: "experts_" + strings.ToLower(tr.String()), Type: "bf16", Model: x.name, Label: label, Dims: d,
		Floor: Floor{
			Ops: 2 * float64(rows) * float64(n) * float64(k), Unit: tensor,
			Bytes: 2*float64(rows)*float64(k) + 2*matrices + 4*float64(rows)*float64(n),
		},
		setup: func(r *room) job { return expertProducts(r, x, tr, n, k) },
	}
	if tr == gemm.TN {
		c.Floor.Bytes = 2*float64(rows)*float64(n+k) + 8*matrices
		c.setup = func(r *room) job { return expertSums(r, x, n, k) }
	}
	return c
}

// routed are the lists of tokens that chose at random, and where each expert's rows begin.
func routed(r *room, x mixture) (gemm.Experts, []int32) {
	p, random := router.Params{Tokens: x.tokens, Experts: x.experts, TopK: x.topK}, rand.New(rand.NewPCG(3, 4))
	chosen := make([]int32, x.tokens*x.topK)
	for i := range chosen {
		chosen[i] = int32(random.IntN(x.experts))
	}
	choice, plan := driver.View[int32](r.alloc(4*len(chosen))), driver.View[int32](r.alloc(4*p.PlanSize()))
	must(driver.Upload(r.dev, choice, chosen))
	made := router.Group(r.dev, p, choice, plan)
	offsets, err := driver.Read(r.dev, made.Offsets)
	must(err)
	return gemm.Experts{Offsets: made.Offsets, Tiles: made.Tiles}, offsets
}

func expertProducts(r *room, x mixture, tr gemm.Transpose, n, k int) job {
	of, offsets := routed(r, x)
	rows := x.tokens * x.topK
	a, w, c := r.half(rows*k, 1), r.half(x.experts*n*k, 1), r.zeros(rows*n)
	var list []gemm.BF16
	for e := range x.experts {
		_, b := gemm.Factors(tr, a.Slice, w.Sub(e*n*k, (e+1)*n*k), rows, n, k)
		list = append(list, b)
	}
	return job{
		call: func() {
			gemm.RunExpertsBF16(r.dev, tr, of, 1, gemm.Dense(a.Slice, rows, k), list, gemm.BF16{}, nil, 0, gemm.Dense(c, rows, n))
		},
		outputs: []output{matrix("c", rows, n, r.floats(c), func(i, j int) expected {
			first := 0 // of the expert's matrix
			for int(offsets[first/(n*k)+1]) <= i {
				first += n * k
			}
			var sum total
			for s := range k {
				at := j*k + s
				if tr == gemm.NN {
					at = s*n + j
				}
				sum.add(a.at(i*k+s) * w.at(first+at))
			}
			return sum.rounded(0)
		})},
		again: true,
	}
}

func expertSums(r *room, x mixture, n, k int) job {
	of, offsets := routed(r, x)
	rows := x.tokens * x.topK
	dy, in, dw := r.half(rows*n, 1), r.half(rows*k, 1), r.zeros(x.experts*n*k)
	var list []gemm.F32
	for e := range x.experts {
		list = append(list, gemm.Dense(dw.Sub(e*n*k, (e+1)*n*k), n, k))
	}
	return job{
		call: func() {
			gemm.AddExpertsBF16(r.dev, of, 1, gemm.Dense(dy.Slice, rows, n), gemm.Dense(in.Slice, rows, k), list)
		},
		outputs: []output{matrix("dW", x.experts*n, k, r.floats(dw), func(i, j int) expected {
			var sum total
			for s := int(offsets[i/n]); s < int(offsets[i/n+1]); s++ {
				sum.add(dy.at(s*n+i%n) * in.at(s*k+j))
			}
			return sum.rounded(0)
		})},
	}
}
