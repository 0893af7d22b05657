package attention

import (
	"cmp"
	_ "embed"
	"fmt"
	"slices"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed attention.sm80.ptx.br
var sm80 string

//go:embed capped.sm80.ptx.br
var sm80Capped string

var (
	family       = ptx.New("attention", sm80)
	familyCapped = ptx.New("attention, capped", sm80Capped)
)

// As in tile.cuh, forward.cuh and backward.cuh.
const (
	deviceRows    = 64  // rows per block
	deviceThreads = 128 // threads per block
	backwardTile  = 32  // rows of the other operand in a tile
)

// tensors are the addresses at the start of struct arguments in tile.cuh and bf16.cuh.
type tensors struct {
	q, k, v, o, lse, do, delta       uintptr
	out, outLSE, outDQ, outDK, outDV uintptr
}

// arguments are struct arguments in tile.cuh and bf16.cuh.
type arguments struct {
	tensors
	units                                            uintptr
	tokens, heads, kvHeads, headDim, window, vectors int32
	scale, softCap                                   float32
}

// deltaParameters are those of attention_delta and attention_delta_bf16.
type deltaParameters struct {
	do, o, delta           uintptr
	tokens, heads, headDim int32
}

var (
	kernels       = ptx.Declare[ptx.One[arguments]](family, "attention_forward_*", "attention_backward_*")
	cappedKernels = ptx.Declare[ptx.One[arguments]](familyCapped, "attention_forward_*", "attention_backward_*")
	deltas        = ptx.Declare[deltaParameters](family, "attention_delta")
)

// call is the part of a launch that is the same for all its kernels.
type call struct {
	p      Params
	q      *ptx.Queue
	tokens int
	depth  int // D: HeadDim rounded up to a size that has a kernel
	units  []int32
	tensors
}

// newCall makes a call; wide is true if there are kernels for heads longer than
// TensorHeadDim.
func newCall(dev driver.Launcher, p Params, t int, wide bool) *call {
	c := &call{p: p, q: ptx.On(dev), tokens: t, units: deviceUnits(p.Segments, deviceRows, queries)}
	switch {
	case p.HeadDim <= 32:
		c.depth = 32
	case p.HeadDim <= 64:
		c.depth = 64
	case p.HeadDim <= TensorHeadDim:
		c.depth = 128
	case wide && p.HeadDim <= DeviceHeadDim:
		c.depth = DeviceHeadDim
	default:
		panic(fmt.Sprintf("attention: no kernel for heads of %d", p.HeadDim))
	}
	return c
}

// side tells whether the rows of a block are queries or keys.
type side bool

const (
	queries side = false
	keys    side = true
)

// deviceUnits lists blocks of `rows` rows as the kernels read them: the segment's first
// token and the one after its last, the block's first, its index among all blocks in the
// order of their rows. Blocks with most work come first: queries attend to the keys before
// them, keys to the queries after them.
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

// launch runs a float32 kernel, plain or with a soft cap.
func (c *call) launch(kernel string, heads, sharedBytes int) {
	k, name := kernels, c.named(kernel)
	if c.p.SoftCap > 0 {
		k = cappedKernels
	}
	if len(c.units) > 0 {
		k.Launch(c.q, name, c.grid(heads, sharedBytes), &ptx.One[arguments]{P: c.arguments(c.units)})
	}
}

// named is the name of the kernel for heads of c.depth, plain or with a soft cap.
func (c *call) named(kernel string) string {
	name := fmt.Sprintf("%s_%d", kernel, c.depth)
	if c.p.SoftCap > 0 {
		name += "_capped"
	}
	return name
}

// grid has a block per unit and head.
func (c *call) grid(heads, sharedBytes int) driver.Config {
	return driver.Config{
		Grid: driver.Dim{X: len(c.units) / 4, Y: heads}, Block: driver.Dim{X: deviceThreads}, Shared: sharedBytes,
	}
}

// arguments are struct arguments with these units.
func (c *call) arguments(units []int32) arguments {
	return arguments{
		tensors: c.tensors, units: ptx.Upload(c.q, units), tokens: int32(c.tokens), heads: int32(c.p.Heads), kvHeads: int32(c.p.KVHeads),
		headDim: int32(c.p.HeadDim), window: int32(c.p.Window), vectors: ptx.Flag(c.aligned()), scale: c.p.Scale, softCap: c.p.SoftCap,
	}
}

// launchDelta runs the kernel that computes Σ do·o of every head and token.
func (c *call) launchDelta(kernels ptx.Kernels[deltaParameters], name string) {
	kernels.Launch(c.q, name, ptx.Grid(ptx.Blocks(c.p.Heads*c.tokens, 8), 256), &deltaParameters{
		do: c.do, o: c.o, delta: c.delta, tokens: int32(c.tokens), heads: int32(c.p.Heads), headDim: int32(c.p.HeadDim),
	})
}

// aligned reports whether every row of every tensor starts at a multiple of 16 bytes; lse
// and delta are read and written float by float.
func (c *call) aligned() bool {
	t := &c.tensors
	all := uintptr(4*c.p.HeadDim) | t.q | t.k | t.v | t.o | t.do | t.out | t.outDQ | t.outDK | t.outDV
	return all%16 == 0
}

func forwardPTX(dev driver.Launcher, p Params, x Inputs[float32], o, lse driver.F32, t int) {
	c := newCall(dev, p, t, true)
	c.tensors = tensors{q: x.Q.Addr(), k: x.K.Addr(), v: x.V.Addr(), out: o.Addr(), outLSE: lse.Addr()}
	if c.depth > TensorHeadDim {
		c.wideForward()
		return
	}
	tile := 64
	if c.depth == 128 {
		tile = 32
	}
	c.launch("attention_forward", p.Heads, 4*((deviceRows+2*tile)*(c.depth+4)+tile*deviceRows))
}

func backwardPTX(dev driver.Launcher, p Params, x Inputs[float32], o, lse, do driver.F32, d Gradients, t int) {
	c := newCall(dev, p, t, true)
	c.tensors = tensors{
		q: x.Q.Addr(), k: x.K.Addr(), v: x.V.Addr(), o: o.Addr(), lse: lse.Addr(), do: do.Addr(), delta: c.q.Scratch(0, 4*p.Heads*t),
		outDQ: d.Q.Addr(), outDK: d.K.Addr(), outDV: d.V.Addr(),
	}
	c.launchDelta(deltas, "attention_delta")
	if c.depth > TensorHeadDim {
		c.wideBackward()
		return
	}
	shared := 4 * (2*(deviceRows+backwardTile)*(c.depth+4) + backwardTile*deviceRows)
	c.launch("attention_backward_q", p.Heads, shared)
	c.units = deviceUnits(p.Segments, deviceRows, keys)
	c.launch("attention_backward_kv", p.KVHeads, shared+4*backwardTile*(deviceRows+2))
	c.addSinks(d.Sinks)
}
