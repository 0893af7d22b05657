package selftest

import (
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/adafactor"
	"dataflex.dev/dataflex/kernels/adamw"
	"dataflex.dev/dataflex/kernels/attention"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/columns"
	"dataflex.dev/dataflex/kernels/deltanet"
	"dataflex.dev/dataflex/kernels/dora"
	"dataflex.dev/dataflex/kernels/dropout"
	"dataflex.dev/dataflex/kernels/embed"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/gradproj"
	"dataflex.dev/dataflex/kernels/lion"
	"dataflex.dev/dataflex/kernels/norm"
	"dataflex.dev/dataflex/kernels/pool"
	"dataflex.dev/dataflex/kernels/quant"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/kernels/rope"
	"dataflex.dev/dataflex/kernels/router"
	"dataflex.dev/dataflex/kernels/shortconv"
	"dataflex.dev/dataflex/kernels/swiglu"
	"dataflex.dev/dataflex/kernels/topk"
	"dataflex.dev/dataflex/kernels/xent"
)

// trials has one of every family, after those it depends on.
var trials = []trial{
	{"cast", float32Share, func(b *bench) {
		x, y, half := b.normal(100), b.zeros(100), b.half(100)
		cast.Narrow(b.dev, x, half)
		cast.Widen(b.dev, half, y)
		b.result(y)
	}},
	{"reduce", float32Share, func(b *bench) {
		x, y := b.normal(300), b.normal(300)
		reduce.Axpy(b.dev, 0.5, x, y)
		b.result(y)
		b.number(reduce.SumSquares(b.dev, x))
	}},
	{"gemm", float32Share, func(b *bench) {
		const m, n, k = 40, 24, 48
		for _, tr := range []gemm.Transpose{gemm.NT, gemm.NN, gemm.TN} {
			x, y := gemm.Factors(tr, b.normal(m*k), b.normal(k*n), m, n, k)
			c := b.normal(m * n)
			gemm.Run(b.dev, tr, 2, x, y, 1, gemm.Dense(c, m, n))
			b.result(c)
		}
	}},
	{"gemm in bf16", float32Share, func(b *bench) {
		// Including an adapter's widths: rows of 32 bytes in boxes of 128.
		for _, s := range [][3]int{{72, 136, 80}, {72, 16, 80}, {16, 72, 80}, {72, 80, 16}} {
			m, n, k := s[0], s[1], s[2]
			for _, tr := range []gemm.Transpose{gemm.NT, gemm.NN, gemm.TN} {
				x, y := gemm.Factors(tr, b.half(m*k), b.half(k*n), m, n, k)
				c := b.zeros(m * n)
				gemm.RunBF16(b.dev, tr, 1, x, y, 0, gemm.Dense(c, m, n))
				b.result(c)
			}
		}
		const m, n, k, r = 72, 136, 80, 16
		x, y := gemm.Factors(gemm.NT, b.half(m*k), b.half(k*n), m, n, k)
		u, l := gemm.Factors(gemm.NT, b.half(m*r), b.half(r*n), m, n, r)
		c := b.zeros(m * n)
		gemm.RunLoRABF16(b.dev, gemm.NT, x, y, u, l, 0, gemm.Dense(c, m, n))
		b.result(c)
	}},
	{"attention", float32Share, func(b *bench) { attend(b, attention.Params{HeadDim: 32}) }},
	{"attention with a soft cap and a window", float32Share, func(b *bench) { attend(b, attention.Params{HeadDim: 32, SoftCap: 5, Window: 9}) }},
	{"attention with sinks", float32Share, func(b *bench) { attend(b, attention.Params{HeadDim: 32, Sinks: b.normal(2)}) }},
	{"attention with long heads", float32Share, func(b *bench) { attend(b, attention.Params{HeadDim: 136, SoftCap: 5}) }},
	{"attention in bf16, heads of 64", bf16Share, func(b *bench) { attendBF16(b, attention.Params{HeadDim: 64}) }},
	{"attention in bf16, heads of 80", bf16Share, func(b *bench) { attendBF16(b, attention.Params{HeadDim: 80}) }},
	{"attention in bf16, heads of 128", bf16Share, func(b *bench) { attendBF16(b, attention.Params{HeadDim: 128}) }},
	{"attention in bf16 with a soft cap", bf16Share, func(b *bench) { attendBF16(b, attention.Params{HeadDim: 64, SoftCap: 5}) }},
	{"attention over a cache", float32Share, func(b *bench) {
		const slots, capacity, heads, dim = 2, 20, 2, 32
		c := attention.Cached{
			Params:   attention.Params{Heads: heads, KVHeads: 1, HeadDim: dim, Scale: 0.2},
			Capacity: capacity, Slot: []int32{1, 0}, Length: []int32{17, 5},
		}
		k, v, o := b.normal(slots*capacity*dim), b.normal(slots*capacity*dim), b.zeros(2*heads*dim)
		attention.Store(b.dev, b.normal(2*dim), []int32{3, 25}, k, dim)
		c.Forward(b.dev, b.normal(2*heads*dim), k, v, o)
		b.result(o, k)
	}},
	{"xent", float32Share, func(b *bench) {
		const rows, hidden, vocab = 20, 24, 70
		loss, dh, dw := b.zeros(rows), b.zeros(rows*hidden), b.zeros(vocab*hidden)
		p := xent.Params{Rows: rows, Hidden: hidden, Vocab: vocab, Smoothing: 0.1}
		xent.Run(b.dev, p, b.normal(rows*hidden), b.normal(vocab*hidden), b.ids(rows, vocab), b.positive(rows), loss, dh, dw)
		b.result(loss, dh, dw)
	}},
	{"xent in bf16", bf16Share, func(b *bench) {
		const rows, hidden, vocab = 20, 64, 300
		loss, dh, dw := b.zeros(rows), b.zeros(rows*hidden), b.zeros(vocab*hidden)
		p := xent.Params{Rows: rows, Hidden: hidden, Vocab: vocab}
		xent.RunBF16(b.dev, p, b.half(rows*hidden), b.half(vocab*hidden), b.ids(rows, vocab), b.positive(rows), loss, dh, dw)
		b.result(loss, dh, dw)
	}},
	{"norm", float32Share, func(b *bench) {
		const rows, d = 12, 40
		x, w, y, rstd, dx, dw := b.normal(rows*d), b.normal(d), b.zeros(rows*d), b.zeros(rows), b.zeros(rows*d), b.zeros(d)
		norm.Forward(b.dev, x, w, 1e-5, y, rstd, d)
		norm.Backward(b.dev, b.normal(rows*d), x, w, rstd, dx, dw, d)
		b.result(y, rstd, dx, dw)
		l := norm.Layer{Eps: 1e-5, W: w, B: b.normal(d)}
		moments, db := b.zeros(2*rows), b.zeros(d)
		l.Forward(b.dev, x, y, moments, d)
		l.Backward(b.dev, b.normal(rows*d), x, moments, dx, dw, db, d)
		b.result(y, dx, dw, db)
	}},
	{"swiglu", float32Share, func(b *bench) {
		const n = 200
		gate, up, y, dgate, dup := b.normal(n), b.normal(n), b.zeros(n), b.zeros(n), b.zeros(n)
		swiglu.Forward(b.dev, swiglu.SiLU, gate, up, y)
		swiglu.Backward(b.dev, swiglu.SiLU, b.normal(n), gate, up, dgate, dup)
		b.result(y, dgate, dup)
		swiglu.Forward(b.dev, swiglu.Linear, gate, up, y)
		b.result(y)
		f := swiglu.Pointwise{Function: swiglu.ExactGELU}
		f.Forward(b.dev, gate, y)
		f.Backward(b.dev, up, gate, dgate)
		b.result(y, dgate)
	}},
	{"swiglu within limits", float32Share, func(b *bench) {
		const n = 200
		gate, up, y, dgate, dup := b.normal(n), b.normal(n), b.zeros(n), b.zeros(n), b.zeros(n)
		f := swiglu.Clamped{Alpha: 1.702, Limit: 1}
		f.Forward(b.dev, gate, up, y)
		f.Backward(b.dev, b.normal(n), gate, up, dgate, dup)
		b.result(y, dgate, dup)
	}},
	{"shortconv", float32Share, func(b *bench) {
		const rows, channels = 12, 24
		c := shortconv.Conv{Segments: []int32{0, 5, rows}, Width: 4, SiLU: true}
		x, w, bias, y := b.normal(rows*channels), b.normal(channels*c.Width), b.normal(channels), b.zeros(rows*channels)
		dx, dw, db := b.zeros(rows*channels), b.zeros(channels*c.Width), b.zeros(channels)
		c.Forward(b.dev, x, w, bias, y)
		c.Backward(b.dev, b.normal(rows*channels), x, w, bias, dx, dw, db)
		b.result(y, dx, dw, db)
	}},
	{"deltanet", float32Share, func(b *bench) {
		const rows, keys, values, dim = 12, 1, 2, 16
		p := deltanet.Params{Segments: []int32{0, 5, rows}, KeyHeads: keys, ValueHeads: values, KeyDim: dim, ValueDim: dim}
		inputs := func(make func(n int) driver.F32) deltanet.Inputs {
			return deltanet.Inputs{
				Q: make(rows * keys * dim), K: make(rows * keys * dim), V: make(rows * values * dim),
				A: make(rows * values), B: make(rows * values), ALog: make(values), DtBias: make(values),
			}
		}
		in, y, d := inputs(b.normal), b.zeros(rows*values*dim), inputs(b.zeros)
		p.Forward(b.dev, in, y)
		p.Backward(b.dev, in, b.normal(rows*values*dim), deltanet.Gradients(d))
		b.result(y, d.Q, d.K, d.V, d.A, d.B, d.ALog, d.DtBias)
	}},
	{"rope", float32Share, func(b *bench) {
		const tokens, heads, dim = 10, 2, 32
		table, err := rope.NewTable(dim, 1e4, rope.Scaling{}, tokens)
		fail(err)
		x := b.normal(tokens * heads * dim)
		rope.Apply(b.dev, x, b.ids(tokens, tokens), table, heads, dim, false)
		b.result(x)
	}},
	{"embed", float32Share, func(b *bench) {
		const vocab, tokens, d = 30, 12, 24
		ids, y, dtable := b.ids(tokens, vocab), b.zeros(tokens*d), b.zeros(vocab*d)
		embed.Forward(b.dev, b.normal(vocab*d), ids, y, d)
		embed.Backward(b.dev, y, ids, dtable, d)
		b.result(y, dtable)
	}},
	{"columns", float32Share, func(b *bench) {
		x, y := b.normal(10*24), b.zeros(10*8)
		columns.Take(b.dev, x, 24, 8, y, 8)
		columns.Add(b.dev, y, 8, x, 24, 0)
		b.result(y, x)
	}},
	{"dropout", float32Share, func(b *bench) {
		y := b.zeros(20 * 24)
		dropout.Mask(b.dev, dropout.Key{Seed: 3}, 0.3, 20, 24, b.normal(20*24), y, false)
		b.result(y)
	}},
	{"adamw", float32Share, func(b *bench) {
		p, g, m, v := b.normal(100), b.normal(100), b.normal(100), b.positive(100)
		adamw.Step(b.dev, adamw.Hyper{LR: 0.1, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.1, Step: 3, GradScale: 0.5}, adamw.Param{P: p, G: g, M: m, V: v})
		b.result(p, m, v)
	}},
	{"adafactor", float32Share, func(b *bench) {
		p, r, c := b.normal(20*24), b.positive(20), b.positive(24)
		adafactor.Matrix(b.dev, p, b.normal(20*24), r, c, adafactor.Hyper{LR: 0.1, Beta2: 0.9, Eps: 1e-30, GradScale: 1})
		b.result(p, r, c)
	}},
	{"lion", float32Share, func(b *bench) {
		p, m := b.normal(100), b.normal(100)
		lion.Step(b.dev, p, b.normal(100), m, lion.Hyper{LR: 0.1, Beta1: 0.9, Beta2: 0.99, GradScale: 1})
		b.result(p, m)
	}},
	{"dora", float32Share, func(b *bench) {
		squares, y, dm := b.zeros(20), b.normal(10*20), b.zeros(20)
		dora.RowSquares(b.dev, b.normal(20*24), squares)
		dora.Scale(b.dev, b.normal(10*20), b.normal(20), 1, y)
		dora.Magnitude(b.dev, y, b.normal(10*20), b.positive(20), dm)
		b.result(squares, y, dm)
	}},
	{"pool", float32Share, func(b *bench) {
		y := b.zeros(2 * 24)
		pool.Mean(b.dev, b.normal(9*24), []int32{0, 4, 9}, y, 24)
		b.result(y)
	}},
	{"router", float32Share, func(b *bench) {
		const tokens, experts, top, d = 10, 6, 2, 24
		p := router.Params{Tokens: tokens, Experts: experts, TopK: top, Normalize: true}
		choice, probs, weight, out, back := put(b, make([]int32, tokens*top)), b.zeros(tokens*experts), b.zeros(tokens*top), b.zeros(tokens*top*d), b.zeros(tokens*d)
		router.Forward(b.dev, p, b.normal(tokens*experts), probs, choice, weight)
		plan := router.Group(b.dev, p, choice, put(b, make([]int32, p.PlanSize())))
		router.Dispatch(b.dev, plan, b.normal(tokens*d), out, d)
		router.Combine(b.dev, plan, out, weight, back, d)
		b.result(probs, weight, out, back)
	}},
	{"router by scores", float32Share, func(b *bench) {
		const tokens, experts, top = 10, 8, 2
		p := router.Scores{Params: router.Params{Tokens: tokens, Experts: experts, TopK: top, Normalize: true}, Groups: 4, TopGroups: 2}
		choice, likely := put(b, make([]int32, tokens*top)), put(b, make([]int32, tokens*top))
		logits, probs, weight, back := b.normal(tokens*experts), b.zeros(tokens*experts), b.zeros(tokens*top), b.zeros(tokens*experts)
		p.Forward(b.dev, logits, probs, choice, likely, weight)
		p.Backward(b.dev, logits, probs, choice, weight, b.normal(tokens*top), nil, back)
		b.result(probs, weight, back)
	}},
	{"topk", float32Share, func(b *bench) {
		const rows, columns, k = 5, 60, 4
		best := topk.NewBest(rows, k)
		best.Keep(b.dev, b.normal(rows*columns), rows, columns, 0)
		for i := range rows {
			for _, e := range best.Row(i) {
				b.number(float64(e.Value), float64(e.Column))
			}
		}
	}},
	{"quant", float32Share, func(b *bench) {
		const rows, cols = 16, 64
		w, out := coded(b, rows, cols), b.zeros(rows*cols)
		w.Decode(b.dev, 0, rows, 0, cols, gemm.Dense(out, rows, cols))
		b.result(out)
	}},
	{"products with codes", float32Share, func(b *bench) {
		const m, rows, cols = 5, 40, 64
		w, c, dx := coded(b, rows, cols), b.zeros(m*rows), b.zeros(m*cols)
		w.Multiply(b.dev, gemm.NT, 1, gemm.Dense(b.normal(m*cols), m, cols), 0, gemm.Dense(c, m, rows))
		w.Multiply(b.dev, gemm.NN, 1, gemm.Dense(b.normal(m*rows), m, rows), 0, gemm.Dense(dx, m, cols))
		b.result(c, dx)
	}},
	{"products with codes in bf16", float32Share, func(b *bench) {
		const m, rows, cols, r = 5, 40, 64, 8
		w, c, dx := coded(b, rows, cols), b.zeros(m*rows), b.zeros(m*cols)
		w.MultiplyLoRABF16(b.dev, gemm.NT, gemm.Dense(b.half(m*cols), m, cols), gemm.Dense(b.half(m*r), m, r), gemm.Dense(b.half(rows*r), rows, r), 0, gemm.Dense(c, m, rows))
		w.MultiplyBF16(b.dev, gemm.NN, 1, gemm.Dense(b.half(m*rows), m, rows), 0, gemm.Dense(dx, m, cols))
		b.result(c, dx)
	}},
	{"gradproj", float32Share, func(b *bench) { project(b, gradproj.Rademacher, gradproj.Options{}) }},
	{"gradproj in bf16", bf16Share, func(b *bench) { project(b, gradproj.Rademacher, gradproj.Options{BF16: true}) }},
	{"gradproj, sjlt", float32Share, func(b *bench) { project(b, gradproj.SJLT, gradproj.Options{}) }},
	{"gradproj, gaussian", float32Share, func(b *bench) { project(b, gradproj.Gaussian, gradproj.Options{}) }},
}

// coded is a frozen weight in NF4.
func coded(b *bench, rows, cols int) quant.Matrix {
	f := quant.Format{Kind: quant.NF4, Block: quant.DefaultBlock}
	var p quant.Parts
	f.Encode(&p, b.draw(rows*cols), rows, cols, func(n int, each func(int)) {
		for i := range n {
			each(i)
		}
	})
	w := f.In(put(b, make([]uint8, f.Bytes(rows, cols))).Memory(), rows, cols)
	fail(w.Upload(b.dev, p))
	return w
}

// sequences are two sequences of a few tokens, with two heads that share keys.
func sequences(p *attention.Params) (q, k int) {
	p.Segments, p.Heads, p.KVHeads, p.Scale = []int32{0, 13, 30}, 2, 1, float32(1/math.Sqrt(float64(p.HeadDim)))
	return 30 * p.Heads * p.HeadDim, 30 * p.KVHeads * p.HeadDim
}

func attend(b *bench, p attention.Params) {
	q, k := sequences(&p)
	x := attention.Inputs[float32]{Q: b.normal(q), K: b.normal(k), V: b.normal(k)}
	o, lse, d := b.zeros(q), b.zeros(30*p.Heads), attention.Gradients{Q: b.zeros(q), K: b.zeros(k), V: b.zeros(k)}
	attention.Forward(b.dev, p, x, o, lse)
	attention.Backward(b.dev, p, x, o, lse, b.normal(q), d)
	b.result(o, lse, d.Q, d.K, d.V)
}

func attendBF16(b *bench, p attention.Params) {
	q, k := sequences(&p)
	x := attention.Inputs[driver.BF16]{Q: b.half(q), K: b.half(k), V: b.half(k)}
	o, lse, d := b.zeros(q), b.zeros(30*p.Heads), attention.Gradients{Q: b.zeros(q), K: b.zeros(k), V: b.zeros(k)}
	attention.ForwardBF16(b.dev, p, x, o, lse)
	attention.BackwardBF16(b.dev, p, x, o, lse, b.half(q), d)
	b.result(o, lse, d.Q, d.K, d.V)
}

// project computes the gradients of two samples of a pair, and projects them.
func project(b *bench, kind gradproj.Kind, o gradproj.Options) {
	const tokens, in, out, rank, dim = 12, 24, 16, 4, 64
	size := rank * (in + out)
	p, err := gradproj.New(kind, dim, 5, size, o)
	fail(err)
	f := gradproj.Factors{
		X: b.normal(tokens * in), U: b.normal(tokens * rank), DY: b.normal(tokens * out), V: b.normal(tokens * rank),
		In: in, Out: out, Rank: rank, Scale: 2, Segments: []int32{0, 5, tokens},
	}
	adam := &gradproj.Adam{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, M: b.normal(size), V: b.positive(size)}
	y, norms := b.zeros(2*dim), make([]float64, 2)
	p.Accumulate(b.dev, f, adam, y, norms)
	b.result(y)
	b.number(norms...)
}
