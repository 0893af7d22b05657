package attention

import (
	"cmp"
	_ "embed"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed attention.sm80.ptx
var sm80 string

//go:embed capped.sm80.ptx
var sm80Capped string

var (
	family       = ptx.New("attention", sm80)
	familyCapped = ptx.New("attention, capped", sm80Capped)
)

// As in tile.cuh, forward.cuh and backward.cuh.
const (
	deviceRows    = 64  // rows of a block
	deviceThreads = 128 // threads of a block
	backwardTile  = 32  // rows of the other side
)

// call is one launch's part that does not change between kernels.
type call struct {
	p      Params
	q      *ptx.Queue
	tokens int
	depth  int // D: HeadDim rounded up to what there is a kernel for
	units  []int32
	addr   [12]uintptr
}

// Places in call.addr: struct arguments of tile.cuh.
const (
	inQ = iota
	inK
	inV
	inO
	inLSE
	inDO
	inDelta
	outO
	outLSE
	outDQ
	outDK
	outDV
)

func newCall(dev driver.Launcher, p Params, t int) *call {
	c := &call{p: p, q: ptx.On(dev), tokens: t, units: deviceUnits(p.Segments, deviceRows, queries)}
	switch {
	case p.HeadDim <= 32:
		c.depth = 32
	case p.HeadDim <= 64:
		c.depth = 64
	case p.HeadDim <= 128:
		c.depth = 128
	default:
		panic(fmt.Sprintf("attention: no kernel for heads of %d", p.HeadDim))
	}
	return c
}

// side is what the rows of a block are.
type side bool

const (
	queries side = false
	keys    side = true
)

// deviceUnits lists blocks of `rows` rows as the kernels read them: the segment's first
// token and the one after its last, the block's first, its place among all blocks in the
// order of their rows. Blocks with most to do come first: queries have the keys before
// them, keys the queries after them.
func deviceUnits(segments []int32, rows int32, side side) []int32 {
	type unit struct{ lo, hi, first, place int32 }
	var units []unit
	work := func(u unit) int32 { return u.first - u.lo }
	if side == keys {
		work = func(u unit) int32 { return u.hi - u.first }
	}
	for s, lo := range segments[:len(segments)-1] {
		for first := lo; first < segments[s+1]; first += rows {
			units = append(units, unit{lo, segments[s+1], first, int32(len(units))})
		}
	}
	slices.SortStableFunc(units, func(a, b unit) int { return cmp.Compare(work(b), work(a)) })
	out := make([]int32, 0, 4*len(units))
	for _, u := range units {
		out = append(out, u.lo, u.hi, u.first, u.place)
	}
	return out
}

// launch runs a kernel of the family, or of its half for soft caps, a block per unit and
// head.
func (c *call) launch(plain, capped *ptx.Family, kernel string, heads, sharedBytes int) {
	f, name := plain, fmt.Sprintf("%s_%d", kernel, c.depth)
	if c.p.SoftCap > 0 {
		f, name = capped, name+"_capped"
	}
	if len(c.units) == 0 {
		return
	}
	config := driver.Config{
		Grid: driver.Dim{X: len(c.units) / 4, Y: heads}, Block: driver.Dim{X: deviceThreads}, Shared: sharedBytes,
	}
	b := c.arguments()
	c.q.Launch(f, name, config, c.q.Args().Bytes(b[:], 8))
}

// arguments is struct arguments of tile.cuh and bf16.cuh.
func (c *call) arguments() (b [136]byte) {
	at := 0
	for _, a := range append(c.addr[:], ptx.Upload(c.q, c.units)) {
		binary.LittleEndian.PutUint64(b[at:], uint64(a))
		at += 8
	}
	for _, v := range [...]int{c.tokens, c.p.Heads, c.p.KVHeads, c.p.HeadDim, c.p.Window, c.aligned()} {
		binary.LittleEndian.PutUint32(b[at:], uint32(v))
		at += 4
	}
	for _, v := range [...]float32{c.p.Scale, c.p.SoftCap} {
		binary.LittleEndian.PutUint32(b[at:], math.Float32bits(v))
		at += 4
	}
	return b
}

// aligned is 1 if every row of every tensor begins on 16 bytes; lse and delta are read
// and written float by float.
func (c *call) aligned() int {
	all := uintptr(4 * c.p.HeadDim)
	for i, a := range c.addr {
		if i != inLSE && i != inDelta && i != outLSE {
			all |= a
		}
	}
	if all%16 == 0 {
		return 1
	}
	return 0
}

func forwardPTX(dev driver.Launcher, p Params, q, k, v, o, lse driver.F32, t int) {
	c := newCall(dev, p, t)
	c.addr = [12]uintptr{inQ: q.Addr(), inK: k.Addr(), inV: v.Addr(), outO: o.Addr(), outLSE: lse.Addr()}
	tile := 64
	if c.depth == 128 {
		tile = 32
	}
	c.launch(family, familyCapped, "attention_forward", p.Heads, 4*((deviceRows+2*tile)*(c.depth+4)+tile*deviceRows))
}

func backwardPTX(dev driver.Launcher, p Params, q, k, v, o, lse, do, dq, dk, dv driver.F32, t int) {
	c := newCall(dev, p, t)
	delta := c.q.Scratch(0, 4*p.Heads*t)
	c.q.Launch(family, "attention_delta", ptx.Grid(ptx.Blocks(p.Heads*t, 8), 256), c.q.Args().
		Addr(do.Addr()).Addr(o.Addr()).Addr(delta).I32(int32(t)).I32(int32(p.Heads)).I32(int32(p.HeadDim)))
	c.addr = [12]uintptr{
		inQ: q.Addr(), inK: k.Addr(), inV: v.Addr(), inO: o.Addr(), inLSE: lse.Addr(), inDO: do.Addr(), inDelta: delta,
		outDQ: dq.Addr(), outDK: dk.Addr(), outDV: dv.Addr(),
	}
	shared := 4 * (2*(deviceRows+backwardTile)*(c.depth+4) + backwardTile*deviceRows)
	c.launch(family, familyCapped, "attention_backward_q", p.Heads, shared)
	c.units = deviceUnits(p.Segments, deviceRows, keys)
	c.launch(family, familyCapped, "attention_backward_kv", p.KVHeads, shared+4*backwardTile*(deviceRows+2))
}
