package attention

import (
	"math"
	"sync"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/simd"
)

const storeBlock = 32 // rows per task

func storeCPU(c *cpu.Device, x []float32, rows []int32, cache []float32, width int) {
	c.Parallel((len(rows)+storeBlock-1)/storeBlock, func(b int) {
		for t := b * storeBlock; t < min(len(rows), (b+1)*storeBlock); t++ {
			copy(cache[int(rows[t])*width:], x[t*width:(t+1)*width])
		}
	})
}

// scores is the memory of a task.
type scores struct{ s []float32 }

var cachedScores = sync.Pool{New: func() any { return new(scores) }}

func (c Cached) forwardCPU(dev *cpu.Device, q, k, v, o []float32) {
	group, d, dv := c.Heads/c.KVHeads, c.HeadDim, c.valueDim()
	dev.Parallel(len(c.Slot)*c.KVHeads, func(unit int) {
		i, head := unit/c.KVHeads, unit%c.KVHeads
		last := int(c.Length[i])
		first := 0
		if c.Window > 0 {
			first = max(0, last-c.Window)
		}
		w := cachedScores.Get().(*scores)
		if cap(w.s) < last-first {
			w.s = make([]float32, 2*(last-first))
		}
		base := (int(c.Slot[i])*c.Capacity+first)*c.KVHeads + head
		for h := head * group; h < (head+1)*group; h++ {
			at := i*c.Heads + h
			c.row(w.s[:last-first], q[at*d:(at+1)*d], k[base*d:], v[base*dv:], o[at*dv:(at+1)*dv], h)
		}
		cachedScores.Put(w)
	})
}

// row computes query head h over len(s) keys and values.
func (c Cached) row(s, q, k, v, o []float32, h int) {
	width, values := c.KVHeads*len(q), c.KVHeads*len(o)
	for j := range s {
		s[j] = c.Scale * simd.Dot(q, k[j*width:j*width+len(q)])
	}
	c.capped(s)
	top := simd.Max(s)
	var sink float32
	if !c.Sinks.IsNil() {
		sink = c.Sinks.Host()[h]
		top = max(top, sink)
		sink = float32(math.Exp(float64(sink) - float64(top)))
	}
	sum := simd.ExpSum(s, s, top) + sink
	clear(o)
	for j, p := range s {
		simd.Axpy(p, v[j*values:j*values+len(o)], o)
	}
	simd.Scale(1/sum, o)
}
