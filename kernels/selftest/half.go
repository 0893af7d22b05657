package selftest

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/attention"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/norm"
	"dataflex.dev/dataflex/kernels/rope"
	"dataflex.dev/dataflex/kernels/swiglu"
)

// halfTrials are the kernels whose results are bf16, too.
var halfTrials = []trial{
	{"groups of products", bf16Share, func(b *bench) {
		const m, n, k, r = 72, 136, 80, 16
		for _, tr := range []gemm.Transpose{gemm.NT, gemm.NN, gemm.TN} {
			x, y := gemm.Factors(tr, b.half(m*k), b.half(k*n), m, n, k)
			u, l := gemm.Factors(tr, b.half(m*r), b.half(r*n), m, n, r)
			half, wide := b.half(m*n), b.zeros(m*n)
			gemm.RunGroup(b.dev, tr, []gemm.Sum{
				{Pairs: []gemm.Pair{{A: x, B: y}, {A: u, B: l}}, Alpha: 1, Half: gemm.Dense(half, m, n)},
				{Pairs: []gemm.Pair{{A: x, B: y}}, Alpha: 2, F32: gemm.Dense(wide, m, n), Add: true},
			})
			b.halfResult(half)
			b.result(wide)
		}
	}},
	{"gradients of adapters", float32Share, func(b *bench) {
		const rows, wide = 600, 72
		for _, rank := range []int{16, 24, 40} {
			x, v := gemm.Dense(b.half(rows*wide), rows, wide), gemm.Dense(b.half(rows*rank), rows, rank)
			a, up := b.zeros(rank*wide), b.zeros(wide*rank)
			gemm.AddLoRAGradients(b.dev, []int{40, rows}, []gemm.LoRAGradient{
				{A: v, B: x, C: gemm.Dense(a, rank, wide)},
				{A: x, B: v, C: gemm.Dense(up, wide, rank)},
			})
			b.result(a, up)
		}
	}},
	{"norm of bf16", bf16Share, func(b *bench) {
		const rows, d = 5, 72
		x, sum, out, dx := b.half(rows*d), b.half(rows*d), b.half(rows*d), b.half(rows*d)
		w, rstd, dw := b.normal(d), b.zeros(rows), b.zeros(d)
		norm.ForwardBF16(b.dev, x, norm.Residual{Y: sum, Scale: 1, Sum: sum}, w, 1e-5, out, rstd, d)
		norm.BackwardBF16(b.dev, dx, sum, w, rstd, x, dx, dw, d)
		b.halfResult(sum, out, dx)
		b.result(dw)
	}},
	{"swiglu, rope and sums of bf16", bf16Share, func(b *bench) {
		const tokens, heads, dim = 5, 3, 32
		n := tokens * heads * dim
		gate, up, out := b.half(n), b.half(n), b.half(n)
		swiglu.ForwardBF16(b.dev, swiglu.SiLU, gate, up, out)
		swiglu.BackwardBF16(b.dev, swiglu.SiLU, b.half(n), gate, up, gate, up)
		table, err := rope.NewTable(dim, 1e4, rope.Scaling{}, tokens)
		fail(err)
		rope.ApplyBF16(b.dev, out, b.ids(tokens, tokens), table, heads, dim, false)
		cast.Sum(b.dev, out, gate, 0.5, gate)
		b.halfResult(out, gate, up)
	}},
	{"attention with results in bf16", bf16Share, func(b *bench) {
		p := attention.Params{HeadDim: 64}
		q, k := sequences(&p)
		x := attention.Inputs[driver.BF16]{Q: b.half(q), K: b.half(k), V: b.half(k)}
		o, lse, d := b.half(q), b.zeros(30*p.Heads), attention.Inputs[driver.BF16]{Q: b.half(q), K: b.half(k), V: b.half(k)}
		attention.ForwardHalf(b.dev, p, x, o, lse)
		attention.BackwardHalf(b.dev, p, x, o, lse, b.half(q), d)
		b.halfResult(o, d.Q, d.K, d.V)
	}},
}

// halfResult is result of values in bf16.
func (b *bench) halfResult(values ...driver.Slice[driver.BF16]) {
	for _, x := range values {
		wide := b.zeros(x.Len())
		cast.Widen(b.dev, x, wide)
		b.result(wide)
	}
}
