package attention

import (
	_ "embed"
	"encoding/binary"
	"fmt"
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed hopper.sm90a.ptx
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

// hopperCall is one launch's part that does not change between kernels.
type hopperCall struct {
	p      Params
	q      *ptx.Queue
	tokens int
	units  []int32
	addr   [7]uintptr
}

// Places in hopperCall.addr: struct arguments of tile_hopper.cuh.
const (
	hopperLSE = iota
	hopperTerms
	hopperOut
	hopperOutLSE
	hopperDQ
	hopperDK
	hopperDV
)

// rows is the map of a tensor of that many heads, for tiles of `box` rows.
func (c *hopperCall) rows(x bf16, heads, box int) *driver.EncodedTensorMap {
	n := heads * c.p.HeadDim
	return c.q.Tiles(x.Addr(), c.tokens, n, n, box)
}

func newHopperCall(dev driver.Launcher, p Params, t int) *hopperCall {
	return &hopperCall{p: p, q: ptx.On(dev), tokens: t, units: deviceUnits(p.Segments, hopperRows, queries)}
}

// launch runs a kernel, a block per unit and head, on what args already has.
func (c *hopperCall) launch(kernel string, heads, threads, shared int, args *driver.Args) {
	var b [88]byte
	at := 0
	for _, a := range append(c.addr[:], ptx.Upload(c.q, c.units)) {
		binary.LittleEndian.PutUint64(b[at:], uint64(a))
		at += 8
	}
	for _, v := range [...]uint32{
		uint32(len(c.units) / 4), uint32(c.tokens), uint32(c.p.Heads), uint32(c.p.KVHeads), uint32(c.p.Window), math.Float32bits(c.p.Scale),
	} {
		binary.LittleEndian.PutUint32(b[at:], v)
		at += 4
	}
	config := ptx.Grid(len(c.units)/4*heads, threads)
	config.Shared = shared
	c.q.Launch(familyHopper, fmt.Sprintf("%s_%d", kernel, c.p.HeadDim), config, args.Bytes(b[:], 8))
}

func forwardHopper(dev driver.Launcher, p Params, q, k, v bf16, o, lse driver.F32, t int) {
	if t == 0 {
		return
	}
	c := newHopperCall(dev, p, t)
	c.addr = [7]uintptr{hopperOut: o.Addr(), hopperOutLSE: lse.Addr()}
	slot := 2*forwardKeys*p.HeadDim + slotBarriers
	shared := 2*hopperRows*p.HeadDim + 2*forwardStages*slot + 8
	c.launch("attention_hopper_forward", p.Heads, hopperThreads, shared, c.q.Args().
		TensorMap(c.rows(q, p.Heads, hopperRows)).TensorMap(c.rows(k, p.KVHeads, forwardKeys)).TensorMap(c.rows(v, p.KVHeads, forwardKeys)))
}

func backwardHopper(dev driver.Launcher, p Params, q, k, v bf16, o, lse driver.F32, do bf16, dq, dk, dv driver.F32, t int) {
	if t == 0 {
		return
	}
	c := newHopperCall(dev, p, t)
	terms := c.q.Scratch(0, 8*p.Heads*hopperRows*len(c.units)/4)
	c.addr = [7]uintptr{hopperLSE: lse.Addr(), hopperTerms: terms, hopperDQ: dq.Addr(), hopperDK: dk.Addr(), hopperDV: dv.Addr()}
	c.launch("attention_hopper_terms", p.Heads, termsThreads, 0, c.q.Args().Addr(do.Addr()).Addr(o.Addr()))

	keyRows := 64 // a tile of keys
	if p.HeadDim == 64 {
		keyRows = 96
	}
	c.launch("attention_hopper_backward_q", p.Heads, hopperThreads, c.backwardShared(keyRows), c.q.Args().
		TensorMap(c.rows(q, p.Heads, hopperRows)).TensorMap(c.rows(do, p.Heads, hopperRows)).
		TensorMap(c.rows(k, p.KVHeads, keyRows)).TensorMap(c.rows(v, p.KVHeads, keyRows)))
	c.units = deviceUnits(p.Segments, hopperRows, keys)
	c.launch("attention_hopper_backward_kv", p.KVHeads, hopperThreads, c.backwardShared(backwardRows), c.q.Args().
		TensorMap(c.rows(q, p.Heads, backwardRows)).TensorMap(c.rows(do, p.Heads, backwardRows)).
		TensorMap(c.rows(k, p.KVHeads, hopperRows)).TensorMap(c.rows(v, p.KVHeads, hopperRows)))
}

// backwardShared is the bytes of struct backward_memory with tiles of n rows of the
// other side.
func (c *hopperCall) backwardShared(n int) int {
	d := c.p.HeadDim
	return 2*2*hopperRows*d + backwardStages*(2*2*n*d+8*n+slotBarriers) + 8
}
