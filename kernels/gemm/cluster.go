package gemm

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed cluster.sm90a.ptx.br
var clusterSM90a string

var clusterFamily = ptx.New("gemm, bf16 for Hopper in clusters", clusterSM90a)

// Two blocks with wide tiles below each other share every slice of B.
var (
	clusterTiles   = ptx.Declare[hopperParameters](clusterFamily, "gemm_bf16_*")
	clusterKernels = [...]string{NN: "gemm_bf16_nn_cluster", NT: "gemm_bf16_nt_cluster", TN: "gemm_bf16_tn_cluster"}
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

// clusterPays predicts that clusters are faster than tiles for each block alone, from the
// waves that each takes: with an odd number of rows of tiles a cluster has half a pair.
func clusterPays(m, n, k int, a driver.Attributes) bool {
	if !a.Clusters || a.Units < 2 || m <= 128 || n <= slimTile.columns || k < shortRing {
		return false
	}
	slim := float64(ptx.Blocks(slimTile.count(m, n), a.Units)) / slimRate
	wide := float64(2*ptx.Blocks(wideTile.count(m, n), a.Units)) / wideRate
	return float64(2*ptx.Blocks(pairsOfTiles(m, n), a.Units/2))/clusterRate < min(slim, wide)
}

// pairsOfTiles is the number of pairs of tiles.
func pairsOfTiles(m, n int) int { return ptx.Blocks(m, 256) * ptx.Blocks(n, wideTile.columns) }

// runCluster launches as many clusters as there are pairs of multiprocessors. It reports
// false on a device that refuses clusters.
func (p *bf16Problem) runCluster(q *ptx.Queue, units int) bool {
	var s hopperParameters
	s.a, s.b = clusterMaps(q, p.tr, p.a, p.b)
	s.u, s.l = s.a, s.b
	if p.r > 0 {
		s.u, s.l = clusterMaps(q, p.tr, p.u, p.l)
	}
	s.p = p.tilesHopper()
	c := ptx.Grid(2*min(max(1, units/2), pairsOfTiles(p.c.Rows, p.c.Cols)), 384)
	c.Shared = wideTile.shared
	return clusterTiles.Try(q, clusterKernels[p.tr], c, &s)
}

// RunInClusters is RunBF16 by the kernels for clusters, also where they do not pay, on a device
// that has them. kernels/selftest tries them on small shapes with it.
func RunInClusters(dev driver.Device, tr Transpose, alpha float32, a, b BF16, beta float32, c F32) {
	if d, ok := dev.(driver.Launcher); ok && ptx.Hopper(dev) && dev.Attributes().Clusters {
		p := bf16Problem{tr: tr, k: depth(tr, a, b, beta, c), alpha: alpha, a: a, b: b, add: beta == 1, c: c}
		if p.runCluster(ptx.On(d), dev.Attributes().Units) {
			return
		}
	}
	RunBF16(dev, tr, alpha, a, b, beta, c)
}

// clusterMaps are wideTile's but for a B with steps inside, of which a block loads half.
func clusterMaps(q *ptx.Queue, tr Transpose, a, b BF16) (ma, mb driver.EncodedTensorMap) {
	if tr != NT {
		return wideTile.maps(q, tr, a, b)
	}
	return tiles16(q, a, 128), tiles16(q, b, wideTile.columns/2)
}
