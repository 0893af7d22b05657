package selftest

import "dataflex.dev/dataflex/kernels/gemm"

// clusterTrials are the kernels for clusters of blocks: training chooses them for products of
// many tiles.
var clusterTrials = []trial{
	{"gemm in clusters", float32Share, func(b *bench) {
		const m, n, k = 136, 136, 72
		for _, tr := range []gemm.Transpose{gemm.NT, gemm.NN, gemm.TN} {
			x, y := gemm.Factors(tr, b.half(m*k), b.half(k*n), m, n, k)
			c := b.zeros(m * n)
			gemm.RunInClusters(b.dev, tr, 1, x, y, 0, gemm.Dense(c, m, n))
			b.result(c)
		}
	}},
}
