package attention

import (
	_ "embed"
	"encoding/binary"
	"math"
	"slices"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed cached.sm80.ptx
var cachedSM80 string

var familyCached = ptx.New("attention, cached", cachedSM80)

// As in cached.cu.
const (
	cachedChunk = 128 // keys of a block
	cachedHeads = 8   // query heads of a block
	cachedEnds  = 8   // floats after a partial output
)

func storePTX(dev driver.Launcher, x driver.F32, rows []int32, cache driver.F32, width int) {
	q := ptx.On(dev)
	q.Launch(familyCached, "cached_store", ptx.Grid(ptx.Blocks(len(rows), 4), 128),
		q.Args().Addr(x.Addr()).Addr(ptx.Upload(q, rows)).Addr(cache.Addr()).I32(int32(len(rows))).I32(int32(width)))
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
	args := c.arguments(q.Addr(), k.Addr(), v.Addr(), o.Addr(), partial, ptx.Upload(on, rows), chunks)
	batches := ptx.Blocks(c.Heads/c.KVHeads, cachedHeads)
	on.Launch(familyCached, "cached_forward", ptx.Grid2(n*chunks, c.KVHeads*batches, 128), on.Args().Bytes(args[:], 8))
	if chunks > 1 {
		on.Launch(familyCached, "cached_combine", ptx.Grid(n*c.Heads, 128), on.Args().Bytes(args[:], 8))
	}
}

// arguments is struct arguments of cached.cu.
func (c Cached) arguments(q, k, v, o, partial, rows uintptr, chunks int) (b [88]byte) {
	columns := 128 // threads that share a row of values
	for columns/2 >= c.HeadDim && columns > 32 {
		columns /= 2
	}
	vec := 0
	if (uintptr(4*c.HeadDim)|k)%16 == 0 {
		vec = 1
	}
	at := 0
	for _, a := range [...]uintptr{q, k, v, o, partial, rows} {
		binary.LittleEndian.PutUint64(b[at:], uint64(a))
		at += 8
	}
	for _, x := range [...]int{c.Capacity, c.Heads, c.KVHeads, c.HeadDim, c.Window, chunks, columns, vec} {
		binary.LittleEndian.PutUint32(b[at:], uint32(x))
		at += 4
	}
	binary.LittleEndian.PutUint32(b[at:], math.Float32bits(c.Scale))
	binary.LittleEndian.PutUint32(b[at+4:], math.Float32bits(c.SoftCap))
	return b
}
