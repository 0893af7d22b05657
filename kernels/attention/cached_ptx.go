package attention

import (
	_ "embed"
	"slices"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed cached.sm80.ptx.br
var cachedSM80 string

var familyCached = ptx.New("attention, cached", cachedSM80)

// As in cached.cu.
const (
	cachedChunk = 128 // keys per block
	cachedHeads = 8   // query heads per block
	cachedEnds  = 8   // floats after a partial output
)

// Parameters of the kernels of cached.cu.
type (
	storeParameters struct {
		x, rows, cache uintptr
		n, width       int32
	}
	cachedArguments struct {
		q, k, v, out, partial, rows                                         uintptr
		capacity, heads, kvHeads, headDim, window, chunks, columns, vectors int32
		scale, softCap                                                      float32
	}
)

var (
	stores        = ptx.Declare[storeParameters](familyCached, "cached_store")
	cachedKernels = ptx.Declare[ptx.One[cachedArguments]](familyCached, "cached_forward", "cached_combine")
)

func storePTX(dev driver.Launcher, x driver.F32, rows []int32, cache driver.F32, width int) {
	q := ptx.On(dev)
	stores.Launch(q, "cached_store", ptx.Grid(ptx.Blocks(len(rows), 4), 128), &storeParameters{
		x: x.Addr(), rows: ptx.Upload(q, rows), cache: cache.Addr(), n: int32(len(rows)), width: int32(width),
	})
}

func (c Cached) forwardPTX(dev driver.Launcher, q, k, v, o driver.F32) {
	n := len(c.Slot)
	if n == 0 {
		return
	}
	on := ptx.On(dev)
	seen := int(slices.Max(c.Length))
	if c.Window > 0 {
		seen = min(seen, c.Window)
	}
	chunks := ptx.Blocks(seen, cachedChunk)
	var partial uintptr
	if chunks > 1 {
		partial = on.Scratch(0, 4*n*c.Heads*chunks*(c.HeadDim+cachedEnds))
	}
	rows := make([]int32, 0, 2*n)
	for i, s := range c.Slot {
		rows = append(rows, s, c.Length[i])
	}
	args := c.arguments(k.Addr(), chunks)
	args.q, args.v, args.out, args.partial, args.rows = q.Addr(), v.Addr(), o.Addr(), partial, ptx.Upload(on, rows)
	batches := ptx.Blocks(c.Heads/c.KVHeads, cachedHeads)
	cachedKernels.Launch(on, "cached_forward", ptx.Grid2(n*chunks, c.KVHeads*batches, 128), &ptx.One[cachedArguments]{P: args})
	if chunks > 1 {
		cachedKernels.Launch(on, "cached_combine", ptx.Grid(n*c.Heads, 128), &ptx.One[cachedArguments]{P: args})
	}
}

// arguments are struct arguments in cached.cu, with k as the only address.
func (c Cached) arguments(k uintptr, chunks int) cachedArguments {
	columns := 128 // threads that share a row of values
	for columns/2 >= c.HeadDim && columns > 32 {
		columns /= 2
	}
	return cachedArguments{
		k: k, capacity: int32(c.Capacity), heads: int32(c.Heads), kvHeads: int32(c.KVHeads), headDim: int32(c.HeadDim), window: int32(c.Window),
		chunks: int32(chunks), columns: int32(columns), vectors: ptx.Flag((uintptr(4*c.HeadDim)|k)%16 == 0), scale: c.Scale, softCap: c.SoftCap,
	}
}
