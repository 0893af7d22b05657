package attention

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed bf16.sm80.ptx.zst
var bf16SM80 string

//go:embed capped_bf16.sm80.ptx.zst
var bf16SM80Capped string

var (
	familyBF16       = ptx.New("attention, bf16", bf16SM80)
	familyBF16Capped = ptx.New("attention, bf16, capped", bf16SM80Capped)
)

var (
	kernelsBF16       = ptx.Declare[ptx.One[arguments]](familyBF16, "attention_bf16_*")
	cappedKernelsBF16 = ptx.Declare[ptx.One[arguments]](familyBF16Capped, "attention_bf16_*")
	deltasBF16        = ptx.Declare[deltaParameters](familyBF16, "attention_delta_bf16")
)

type bf16 = driver.Slice[driver.BF16]

const forwardRows = 128 // rows of a block of the forward, as in forward_bf16.cuh

// As in forward_bf16.cuh and backward_bf16.cuh.
func (c *call) keysTile() int {
	if c.depth == 128 {
		return 32
	}
	return 64
}

func (c *call) queriesTile() int {
	switch {
	case c.depth < 128:
		return 64
	case c.p.SoftCap > 0:
		return 16
	}
	return 32
}

func forwardBF16PTX(dev driver.Launcher, p Params, x Inputs[driver.BF16], o, lse driver.F32, t int) {
	if p.hopper(dev) {
		forwardHopper(dev, p, x, o, lse, t)
		return
	}
	c := newCall(dev, p, t, false)
	c.units = deviceUnits(p.Segments, forwardRows, queries)
	c.tensors = tensors{q: x.Q.Addr(), k: x.K.Addr(), v: x.V.Addr(), out: o.Addr(), outLSE: lse.Addr()}
	c.launch(kernelsBF16, cappedKernelsBF16, "attention_bf16_forward", p.Heads, 2*(forwardRows+2*c.keysTile())*c.depth)
}

func backwardBF16PTX(dev driver.Launcher, p Params, x Inputs[driver.BF16], o, lse driver.F32, do bf16, d Gradients, t int) {
	if p.hopper(dev) {
		backwardHopper(dev, p, x, o, lse, do, d, t)
		return
	}
	c := newCall(dev, p, t, false)
	c.tensors = tensors{
		q: x.Q.Addr(), k: x.K.Addr(), v: x.V.Addr(), o: o.Addr(), lse: lse.Addr(), do: do.Addr(), delta: c.q.Scratch(0, 4*p.Heads*t),
		outDQ: d.Q.Addr(), outDK: d.K.Addr(), outDV: d.V.Addr(),
	}
	c.launchDelta(deltasBF16, "attention_delta_bf16")
	// The block's own two tiles, and two stages of two tiles of the other operand.
	own := 2 * 2 * deviceRows * c.depth
	c.launch(kernelsBF16, cappedKernelsBF16, "attention_bf16_backward_q", p.Heads, own+2*2*2*c.keysTile()*c.depth)
	c.units = deviceUnits(p.Segments, deviceRows, keys)
	n := c.queriesTile()
	c.launch(kernelsBF16, cappedKernelsBF16, "attention_bf16_backward_kv", p.KVHeads, own+2*(2*2*n*c.depth+8*n))
}
