package attention

import (
	_ "embed"
	"encoding/binary"
	"fmt"
	"math"

	"dataflex/driver"
	"dataflex/kernels/ptx"
)

//go:embed hopper.sm90a.ptx
var bf16SM90a string

var familyHopper = ptx.New("attention, sm_90a", bf16SM90a)

// As in tile_hopper.cuh and forward_hopper.cuh.
const (
	hopperRows    = 128
	hopperThreads = 384
	hopperKeys    = 128
	hopperStages  = 2
	slotBarriers  = 16 // bytes
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
	hopperDelta
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

// launch runs a kernel, a block per unit and head, on these maps.
func (c *hopperCall) launch(kernel string, heads, shared int, maps ...*driver.EncodedTensorMap) {
	args := c.q.Args()
	for _, m := range maps {
		args.TensorMap(m)
	}
	var b [88]byte
	at := 0
	for _, a := range append(c.addr[:], ptx.Upload(c.q, c.units)) {
		binary.LittleEndian.PutUint64(b[at:], uint64(a))
		at += 8
	}
	for _, v := range [...]uint32{
		uint32(c.tokens), uint32(c.p.Heads), uint32(c.p.KVHeads), uint32(c.p.Window), math.Float32bits(c.p.Scale),
	} {
		binary.LittleEndian.PutUint32(b[at:], v)
		at += 4
	}
	config := ptx.Grid(len(c.units)/4*heads, hopperThreads)
	config.Shared = shared
	c.q.Launch(familyHopper, fmt.Sprintf("%s_%d", kernel, c.p.HeadDim), config, args.Bytes(b[:], 8))
}

func forwardHopper(dev driver.Launcher, p Params, q, k, v bf16, o, lse driver.F32, t int) {
	if t == 0 {
		return
	}
	c := &hopperCall{p: p, q: ptx.On(dev), tokens: t, units: deviceUnits(p.Segments, hopperRows)}
	c.addr = [7]uintptr{hopperOut: o.Addr(), hopperOutLSE: lse.Addr()}
	slot := 2 * hopperKeys * p.HeadDim
	shared := 2*hopperRows*p.HeadDim + 2*hopperStages*(slot+slotBarriers) + 8
	c.launch("attention_hopper_forward", p.Heads, shared,
		c.rows(q, p.Heads, hopperRows), c.rows(k, p.KVHeads, hopperKeys), c.rows(v, p.KVHeads, hopperKeys))
}
