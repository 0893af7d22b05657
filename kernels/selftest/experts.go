package selftest

import (
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/router"
)

// expertTrials are the products of a mixture's experts, one of which no row goes to.
var expertTrials = []trial{
	{"gemm, experts", float32Share, func(b *bench) {
		of, rows := b.experts()
		const n, k, experts = 40, 24, 3
		x, y := gemm.Dense(b.normal(rows*k), rows, k), b.zeros(rows*n)
		for _, tr := range []gemm.Transpose{gemm.NT, gemm.NN} {
			weights := make([]gemm.F32, experts)
			for e := range weights {
				_, weights[e] = gemm.Factors(tr, x.Data, b.normal(k*n), rows, n, k)
			}
			gemm.RunExperts(b.dev, tr, of, 1, x, weights, 1, gemm.Dense(y, rows, n))
		}
		gradients, sums := b.normal(experts*k*n), make([]gemm.F32, experts)
		for e := range sums {
			sums[e] = gemm.Dense(gradients.Sub(e*k*n, (e+1)*k*n), k, n)
		}
		gemm.AddExperts(b.dev, of, 0.5, x, gemm.Dense(y, rows, n), sums)
		b.result(y, gradients)
	}},
	{"gemm, experts in bf16", bf16Share, func(b *bench) {
		of, rows := b.experts()
		const n, k, r, experts = 40, 24, 16, 3
		x, u, y := gemm.Dense(b.half(rows*k), rows, k), gemm.Dense(b.half(rows*r), rows, r), b.zeros(rows*n)
		for _, tr := range []gemm.Transpose{gemm.NT, gemm.NN} {
			weights, low := make([]gemm.BF16, experts), make([]gemm.BF16, experts)
			for e := range weights {
				_, weights[e] = gemm.Factors(tr, x.Data, b.half(k*n), rows, n, k)
				_, low[e] = gemm.Factors(tr, u.Data, b.half(r*n), rows, n, r)
			}
			gemm.RunExpertsBF16(b.dev, tr, of, 1, x, weights, u, low, 1, gemm.Dense(y, rows, n))
		}
		gradients, sums := b.normal(experts*k*n), make([]gemm.F32, experts)
		for e := range sums {
			sums[e] = gemm.Dense(gradients.Sub(e*k*n, (e+1)*k*n), k, n)
		}
		gemm.AddExpertsBF16(b.dev, of, 0.5, x, gemm.Dense(b.half(rows*n), rows, n), sums)
		b.result(y, gradients)
	}},
}

// experts says to which of three experts rows belong: more than a tile to the first, none to
// the second.
func (b *bench) experts() (of gemm.Experts, rows int) {
	choice := make([]int32, router.TileRows+12)
	for i := range 5 {
		choice[i] = 2
	}
	p := router.Params{Tokens: len(choice), Experts: 3, TopK: 1}
	plan := router.Group(b.dev, p, put(b, choice), put(b, make([]int32, p.PlanSize())))
	return gemm.Experts{Offsets: plan.Offsets, Tiles: plan.Tiles}, len(choice)
}
