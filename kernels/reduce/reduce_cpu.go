package reduce

import (
	"math"
	"sync/atomic"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/simd"
)

const (
	sumBlock = Leaf    // elements of one leaf of the tree
	leaves   = 256     // leaves summed without memory: 1 Mi elements
	block    = 1 << 14 // elements a task of an elementwise operation takes
)

// sumSquaresCPU sums groups of 256 leaves, and the groups by the same tree.
func sumSquaresCPU(c *cpu.Device, x []float32) float64 {
	groups := (len(x) + sumBlock*leaves - 1) / (sumBlock * leaves)
	top := make([]float64, groups)
	for g := range groups {
		part := x[g*sumBlock*leaves : min(len(x), (g+1)*sumBlock*leaves)]
		var leaf [leaves]float64
		n := (len(part) + sumBlock - 1) / sumBlock
		c.Parallel(n, func(b int) {
			leaf[b] = simd.SumSquares(part[b*sumBlock : min(len(part), (b+1)*sumBlock)])
		})
		top[g] = tree(leaf[:n])
	}
	return tree(top)
}

// tree adds neighbours until one sum is left; it overwrites s.
func tree(s []float64) float64 {
	if len(s) == 0 {
		return 0
	}
	for n := len(s); n > 1; n = (n + 1) / 2 {
		for i := range n / 2 {
			s[i] = s[2*i] + s[2*i+1]
		}
		if n%2 == 1 {
			s[n/2] = s[n-1]
		}
	}
	return s[0]
}

func finiteCPU(c *cpu.Device, x []float32) bool {
	const exponent = 0x7f800000
	var bad atomic.Bool
	blocks(c, len(x), func(lo, hi int) {
		// A float32 with all exponent bits set plus one in the exponent's place
		// carries into the sign; or-ing the carries leaves one branch per block.
		var carry uint32
		for _, v := range x[lo:hi] {
			carry |= math.Float32bits(v)&exponent + 1<<23
		}
		if carry>>31 != 0 {
			bad.Store(true)
		}
	})
	return !bad.Load()
}

func addCPU(c *cpu.Device, dst, x []float32) {
	blocks(c, len(x), func(lo, hi int) {
		simd.Add(dst[lo:hi], dst[lo:hi], x[lo:hi])
	})
}

func axpyCPU(c *cpu.Device, a float32, x, dst []float32) {
	blocks(c, len(x), func(lo, hi int) {
		simd.Axpy(a, x[lo:hi], dst[lo:hi])
	})
}

func scaleCPU(c *cpu.Device, a float32, x []float32) {
	blocks(c, len(x), func(lo, hi int) {
		simd.Scale(a, x[lo:hi])
	})
}

func fillCPU(c *cpu.Device, a float32, x []float32) {
	blocks(c, len(x), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			x[i] = a
		}
	})
}

// blocks runs f over [0, n) in pieces.
func blocks(c *cpu.Device, n int, f func(lo, hi int)) {
	c.Parallel((n+block-1)/block, func(b int) { f(b*block, min(n, (b+1)*block)) })
}
