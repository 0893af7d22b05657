package attention

import (
	_ "embed"
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed hopper.sm90a.ptx.br
var bf16SM90a string

var familyHopper = ptx.New("attention, sm_90a", bf16SM90a)

// As in tile_hopper.cuh, forward_hopper.cuh, backward_hopper.cuh and hopper.sm90a.cu.
const (
	hopperRows     = 128
	hopperThreads  = 384
	forwardKeys    = 128
	forwardStages  = 2
	backwardRows   = 64 // a tile of queries
	backwardStages = 3
	slotBarriers   = 16 // bytes
	termsThreads   = 256
)

// hopper reports whether there is a kernel for sm_90a.
func (p Params) hopper(dev driver.Device) bool {
	return ptx.Hopper(dev) && (p.HeadDim == 64 || p.HeadDim == 128) && p.SoftCap == 0
}

// hopperTensors are the addresses at the start of struct arguments in tile_hopper.cuh.
type hopperTensors struct{ lse, terms, out, outLSE, dq, dk, dv uintptr }

// hopperArguments are struct arguments in tile_hopper.cuh.
type hopperArguments struct {
	hopperTensors
	units                                  uintptr
	blocks, tokens, heads, kvHeads, window int32
	scale                                  float32
	half                                   int32 // out and the gradients are bf16
}

// Parameters of the kernels of hopper.sm90a.cu.
type (
	hopperForward struct {
		q, k, v driver.EncodedTensorMap
		p       hopperArguments
	}
	hopperBackward struct {
		q, do, k, v driver.EncodedTensorMap
		p           hopperArguments
	}
	hopperTermsOf struct {
		do, o uintptr
		p     hopperArguments
	}
)

var (
	hopperForwards  = ptx.Declare[hopperForward](familyHopper, "attention_hopper_forward_*")
	hopperBackwards = ptx.Declare[hopperBackward](familyHopper, "attention_hopper_backward_*")
	hopperTerms     = ptx.Declare[hopperTermsOf](familyHopper, "attention_hopper_terms_*", "attention_hopper_half_terms_*")
)

// hopperCall is the part of a launch that is the same for all its kernels.
type hopperCall struct {
	p      Params
	q      *ptx.Queue
	tokens int
	units  []int32
	half   bool // out and the gradients are bf16
	hopperTensors
}

// rows is the tensor map of a tensor with that many heads, for tiles of `box` rows.
func (c *hopperCall) rows(x bf16, heads, box int) driver.EncodedTensorMap {
	n := heads * c.p.HeadDim
	return c.q.Tiles(x.Addr(), c.tokens, n, n, box)
}

func newHopperCall(dev driver.Launcher, p Params, half bool, t int) *hopperCall {
	return &hopperCall{p: p, half: half, q: ptx.On(dev), tokens: t, units: deviceUnits(p.Segments, hopperRows, queries)}
}

// kernel is the name of the kernel for HeadDim.
func (c *hopperCall) kernel(stem string) string { return fmt.Sprintf("%s_%d", stem, c.p.HeadDim) }

// grid has a block per unit and head.
func (c *hopperCall) grid(heads, threads, shared int) driver.Config {
	config := ptx.Grid(len(c.units)/4*heads, threads)
	config.Shared = shared
	return config
}

func (c *hopperCall) arguments() hopperArguments {
	return hopperArguments{
		hopperTensors: c.hopperTensors, units: ptx.Upload(c.q, c.units), blocks: int32(len(c.units) / 4), tokens: int32(c.tokens),
		heads: int32(c.p.Heads), kvHeads: int32(c.p.KVHeads), window: int32(c.p.Window), scale: c.p.Scale, half: ptx.Flag(c.half),
	}
}

func forwardHopper(dev driver.Launcher, p Params, x Inputs[driver.BF16], o result, lse driver.F32, t int) {
	if t == 0 {
		return
	}
	c := newHopperCall(dev, p, o.half, t)
	c.hopperTensors = hopperTensors{out: o.o, outLSE: lse.Addr()}
	slot := 2*forwardKeys*p.HeadDim + slotBarriers
	shared := 2*hopperRows*p.HeadDim + 2*forwardStages*slot + 8
	hopperForwards.Launch(c.q, c.kernel("attention_hopper_forward"), c.grid(p.Heads, hopperThreads, shared), &hopperForward{
		q: c.rows(x.Q, p.Heads, hopperRows), k: c.rows(x.K, p.KVHeads, forwardKeys), v: c.rows(x.V, p.KVHeads, forwardKeys), p: c.arguments(),
	})
}

func backwardHopper(dev driver.Launcher, p Params, x Inputs[driver.BF16], o result, lse driver.F32, do bf16, d [3]uintptr, t int) {
	if t == 0 {
		return
	}
	c := newHopperCall(dev, p, o.half, t)
	terms := c.q.Scratch(0, 8*p.Heads*hopperRows*len(c.units)/4)
	c.hopperTensors = hopperTensors{lse: lse.Addr(), terms: terms, dq: d[0], dk: d[1], dv: d[2]}
	kernel := "attention_hopper_terms"
	if o.half {
		kernel = "attention_hopper_half_terms"
	}
	hopperTerms.Launch(c.q, c.kernel(kernel), c.grid(p.Heads, termsThreads, 0), &hopperTermsOf{
		do: do.Addr(), o: o.o, p: c.arguments(),
	})

	keyRows := 64 // a tile of keys
	if p.HeadDim == 64 {
		keyRows = 96
	}
	hopperBackwards.Launch(c.q, c.kernel("attention_hopper_backward_q"), c.grid(p.Heads, hopperThreads, c.backwardShared(keyRows)), &hopperBackward{
		q: c.rows(x.Q, p.Heads, hopperRows), do: c.rows(do, p.Heads, hopperRows),
		k: c.rows(x.K, p.KVHeads, keyRows), v: c.rows(x.V, p.KVHeads, keyRows), p: c.arguments(),
	})
	c.units = deviceUnits(p.Segments, hopperRows, keys)
	hopperBackwards.Launch(c.q, c.kernel("attention_hopper_backward_kv"), c.grid(p.KVHeads, hopperThreads, c.backwardShared(backwardRows)), &hopperBackward{
		q: c.rows(x.Q, p.Heads, backwardRows), do: c.rows(do, p.Heads, backwardRows),
		k: c.rows(x.K, p.KVHeads, hopperRows), v: c.rows(x.V, p.KVHeads, hopperRows), p: c.arguments(),
	})
}

// backwardShared is the size of struct backward_memory with tiles of n rows of the other
// operand.
func (c *hopperCall) backwardShared(n int) int {
	d := c.p.HeadDim
	return 2*2*hopperRows*d + backwardStages*(2*2*n*d+8*n+slotBarriers) + 8
}
