package attention

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed wide.sm80.ptx.br
var wideSM80 string

var wideKernels = ptx.Declare[ptx.One[arguments]](ptx.New("attention, wide", wideSM80), "attention_wide_*")

// DeviceHeadDim is the largest HeadDim for which devices have kernels, TensorHeadDim the
// largest for which they have fast ones, and ones in bf16.
const (
	DeviceHeadDim = 256
	TensorHeadDim = 128
)

// As in wide.cu.
const (
	widePitch    = DeviceHeadDim + 1
	wideRows     = 32
	wideThreads  = 256
	wideForward  = 32 // keys per tile
	wideBackward = 16 // keys, or queries, per tile
)

// wide launches a kernel of wide.cu, with a block per unit and head.
func (c *call) wide(kernel string, side side, heads, shared int) {
	units := deviceUnits(c.p.Segments, wideRows, side)
	if len(units) == 0 {
		return
	}
	config := driver.Config{Grid: driver.Dim{X: len(units) / 4, Y: heads}, Block: driver.Dim{X: wideThreads}, Shared: 4 * shared}
	wideKernels.Launch(c.q, kernel, config, &ptx.One[arguments]{P: c.arguments(units)})
}

func (c *call) wideForward() {
	c.wide("attention_wide_forward", queries, c.p.Heads, (wideRows+wideForward)*widePitch+wideRows*(wideForward+1))
}

func (c *call) wideBackward() {
	shared := (2*wideRows+wideBackward)*widePitch + wideRows*(wideBackward+1)
	c.wide("attention_wide_backward_q", queries, c.p.Heads, shared)
	c.wide("attention_wide_backward_kv", keys, c.p.KVHeads, shared+wideRows*(wideBackward+1))
}
