package attention

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Cached attends from one new token per sequence to a cache of keys and values: the step of
// generation. The caches are [Slots, Capacity, KVHeads·HeadDim] and, for values, [Slots,
// Capacity, KVHeads·ValueDim]; row i of q [n, Heads·HeadDim] and o [n, Heads·ValueDim]
// belongs to the sequence in slot Slot[i], whose first Length[i] rows are keys and values,
// including those of the new token, which are the last. Scale, Window, SoftCap, ValueDim and
// Sinks are as in Params; Segments is not read.
//
// A row's result only depends on its sequence, bit for bit, and differs from Forward's by
// rounding.
type Cached struct {
	Params
	Capacity     int
	Slot, Length []int32
}

// Forward overwrites o.
func (c Cached) Forward(dev driver.Device, q, k, v, o driver.F32) {
	c.check(q, k, v, o)
	dispatch.Run(dev, "attention.Cached.Forward", func(d *cpu.Device) {
		c.forwardCPU(d, q.Host(), k.Host(), v.Host(), o.Host())
	}, func(d driver.Launcher) {
		c.mustHaveKernel()
		c.forwardPTX(d, q, k, v, o)
		c.drainCachedPTX(d, q, k, o)
	})
}

// Store copies rows of keys or values x [T, width] to a cache: row t becomes row rows[t] of
// cache [·, width]. The elements of rows are distinct.
func Store(dev driver.Device, x driver.F32, rows []int32, cache driver.F32, width int) {
	if width < 1 || x.Len() != len(rows)*width {
		panic("attention: x is not [T, width]")
	}
	for _, r := range rows {
		if r < 0 || (int(r)+1)*width > cache.Len() {
			panic("attention: a row outside the cache")
		}
	}
	dispatch.Run(dev, "attention.Store", func(c *cpu.Device) {
		storeCPU(c, x.Host(), rows, cache.Host(), width)
	}, func(c driver.Launcher) {
		storePTX(c, x, rows, cache, width)
	})
}

func (c Cached) check(q, k, v, o driver.F32) {
	n, width, values := len(c.Slot), c.KVHeads*c.HeadDim, c.KVHeads*c.valueDim()
	switch {
	case c.HeadDim < 1 || c.KVHeads < 1 || c.Heads < 1 || c.Heads%c.KVHeads != 0:
		panic("attention: HeadDim, KVHeads or Heads < 1, or Heads not a multiple of KVHeads")
	case c.Window < 0 || c.SoftCap < 0 || c.ValueDim < 0:
		panic("attention: negative Window, SoftCap or ValueDim")
	case q.Len() != n*c.Heads*c.HeadDim || o.Len() != n*c.Heads*c.valueDim() || len(c.Length) != n:
		panic("attention: q is not [n, Heads*HeadDim], o not [n, Heads*ValueDim], or Length not [n]")
	case k.Len()/width != v.Len()/values || !c.Sinks.IsNil() && c.Sinks.Len() != c.Heads:
		panic("attention: the caches differ, or sinks are not [Heads]")
	}
	for i, s := range c.Slot {
		if s < 0 || c.Length[i] < 1 || int(c.Length[i]) > c.Capacity || (int(s)+1)*c.Capacity*width > k.Len() {
			panic("attention: a sequence outside the cache")
		}
	}
}
