package reduce

import (
	"encoding/binary"
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
	"dataflex.dev/dataflex/kernels/ptx"
	"dataflex.dev/dataflex/kernels/simd"
)

// Leaf is how many elements of a vector make one leaf of its sum of squares.
const Leaf = 4096

// LeavesOf is the number of leaves of n elements.
func LeavesOf(n int) int { return ptx.Blocks(n, Leaf) }

// Leaves are the sums of squares of each of x's blocks of 4096 elements, of which SumOfLeaves
// makes the sums. A part of a vector that begins at a block has the leaves that the vector
// has there, so that processes which hold parts can add them up together.
func Leaves(dev driver.Device, x ...driver.F32) [][]float64 {
	leaves := make([][]float64, len(x))
	for i, v := range x {
		leaves[i] = make([]float64, LeavesOf(v.Len()))
	}
	dispatch.Run(dev, "reduce.Leaves", func(c *cpu.Device) {
		for i, v := range x {
			host := v.Host()
			c.Parallel(len(leaves[i]), func(b int) {
				leaves[i][b] = simd.SumSquares(host[b*sumBlock : min(len(host), (b+1)*sumBlock)])
			})
		}
	}, func(c driver.Launcher) { leavesPTX(c, x, leaves) })
	return leaves
}

// SumOfLeaves returns, of the leaves of each of several vectors, what SumsOfSquares returns
// of the vector, to the same bits.
func SumOfLeaves(dev driver.Device, leaves ...[]float64) []float64 {
	sums := make([]float64, len(leaves))
	dispatch.Run(dev, "reduce.SumOfLeaves", func(*cpu.Device) {
		for i, l := range leaves {
			sums[i] = tree(append([]float64(nil), l...))
		}
	}, func(c driver.Launcher) { sumOfLeavesPTX(c, leaves, sums) })
	return sums
}

func leavesPTX(dev driver.Launcher, x []driver.F32, leaves [][]float64) {
	total := 0
	for _, l := range leaves {
		total += len(l)
	}
	if total == 0 {
		return
	}
	q := ptx.On(dev)
	first := q.Scratch(0, 8*total)
	sumSquares(q, x, first)
	host := make([]byte, 8*total)
	q.Read(host, first)
	for _, l := range leaves {
		for i := range l {
			l[i] = math.Float64frombits(binary.LittleEndian.Uint64(host))
			host = host[8:]
		}
	}
}

func sumOfLeavesPTX(dev driver.Launcher, leaves [][]float64, sums []float64) {
	var host []byte
	counts := make([]int, len(leaves))
	for i, l := range leaves {
		counts[i] = len(l)
		for _, v := range l {
			host = binary.LittleEndian.AppendUint64(host, math.Float64bits(v))
		}
	}
	if len(host) == 0 {
		return
	}
	q := ptx.On(dev)
	partial := q.Scratch(0, len(host)+8*len(sums))
	q.Write(partial, host)
	addPartials(q, counts, partial, sums)
}
