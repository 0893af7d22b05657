package gemm

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed cluster.sm90a.ptx.br
var clusterSM90a string

var clusterFamily = ptx.New("gemm, groups for Hopper in clusters", clusterSM90a)

// Two blocks with wide tiles below each other share every slice of B.
var (
	clusterTiles   = ptx.Declare[ptx.One[groupHopper]](clusterFamily, "gemm_group_*")
	clusterKernels = [...]string{NN: "gemm_group_nn_cluster", NT: "gemm_group_nt_cluster", TN: "gemm_group_tn_cluster"}
)

// shortRing is the steps of k that a block's ring of stages holds: with fewer there is hardly
// anything to share.
const shortRing = 256

// TFLOP/s that the review of the kernels (issue 18) predicts for an H200 whose multiprocessors
// are all busy: slim and wide tiles wait for the L2 cache, which is asked for 64 and 48 KiB a
// slice of 128 x 256, clusters with 32 for the tensor cores. Nobody has measured them.
const (
	slimRate    = 525
	wideRate    = 650
	clusterRate = 740
)

// groupClusterPays predicts that clusters are faster than tiles for each block alone, from the
// waves that each takes: where a sum has an odd number of rows of tiles a cluster has half a
// pair.
func groupClusterPays(tr Transpose, sums []Sum, a driver.Attributes) bool {
	if !a.Clusters || a.Units < 2 {
		return false
	}
	slim, wide, pairs, widest, deepest := 0, 0, 0, 0, 0
	for i := range sums {
		m, n := sums[i].shape()
		if m <= 128 {
			return false
		}
		slim, wide, pairs, widest = slim+slimTile.count(m, n), wide+wideTile.count(m, n), pairs+ptx.Blocks(m, 256)*ptx.Blocks(n, wideTile.columns), max(widest, n)
		k := 0
		for _, p := range sums[i].Pairs {
			k += steps(tr, p)
		}
		deepest = max(deepest, k)
	}
	if widest <= slimTile.columns || deepest < shortRing {
		return false
	}
	alone := min(float64(ptx.Blocks(slim, a.Units))/slimRate, float64(2*ptx.Blocks(wide, a.Units))/wideRate)
	return float64(2*ptx.Blocks(pairs, a.Units/2))/clusterRate < alone
}

// runGroupCluster launches as many clusters as there are pairs of multiprocessors. It reports
// false on a device that refuses clusters.
func runGroupCluster(q *ptx.Queue, tr Transpose, sums []Sum, units int) bool {
	var g ptx.One[groupHopper]
	pairs := g.P.fill(tr, sums, 256, wideTile.columns, func(a, b BF16) (ma, mb driver.EncodedTensorMap) {
		ma, mb = wideTile.maps(q, tr, a, b)
		if tr == NT { // a block loads half of B's rows
			mb = tiles16(q, b, wideTile.columns/2)
		}
		return ma, mb
	})
	c := ptx.Grid(2*min(max(1, units/2), pairs), 384)
	c.Shared = wideTile.shared
	return clusterTiles.Try(q, clusterKernels[tr], c, &g)
}

// group is the product as a group of one sum, in memory of the caller's.
func (p *bf16Problem) group(pairs *[2]Pair) [1]Sum {
	pairs[0] = Pair{p.a, p.b}
	n := 1
	if p.r > 0 {
		pairs[1], n = Pair{p.u, p.l}, 2
	}
	return [1]Sum{{Pairs: pairs[:n], Alpha: p.alpha, F32: p.c, Add: p.add}}
}

// runInClusters runs the product in clusters if they pay, or force; it reports whether it did.
func (p *bf16Problem) runInClusters(dev driver.Launcher, force bool) bool {
	var pairs [2]Pair
	sums := p.group(&pairs)
	a := dev.Attributes()
	return a.Clusters && (force || groupClusterPays(p.tr, sums[:], a)) && runGroupCluster(ptx.On(dev), p.tr, sums[:], a.Units)
}

// RunInClusters is RunBF16 by the kernels for clusters, also where they do not pay, on a device
// that has them. kernels/selftest tries them on small shapes with it.
func RunInClusters(dev driver.Device, tr Transpose, alpha float32, a, b BF16, beta float32, c F32) {
	if d, ok := dev.(driver.Launcher); ok && ptx.Hopper(dev) {
		p := bf16Problem{tr: tr, k: depth(tr, a, b, beta, c), alpha: alpha, a: a, b: b, add: beta == 1, c: c}
		if p.runInClusters(d, true) {
			return
		}
	}
	RunBF16(dev, tr, alpha, a, b, beta, c)
}
