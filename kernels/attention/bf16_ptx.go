package attention

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed bf16.sm80.ptx.br
var bf16SM80 string

//go:embed capped_bf16.sm80.ptx.br
var bf16SM80Capped string

var (
	familyBF16       = ptx.New("attention, bf16", bf16SM80)
	familyBF16Capped = ptx.New("attention, bf16, capped", bf16SM80Capped)
)

var (
	kernelsBF16       = ptx.Declare[ptx.One[argumentsBF16]](familyBF16, "attention_bf16_*")
	cappedKernelsBF16 = ptx.Declare[ptx.One[argumentsBF16]](familyBF16Capped, "attention_bf16_*")
	deltasBF16        = ptx.Declare[deltaParameters](familyBF16, "attention_delta_bf16", "attention_delta_half")
)

// argumentsBF16 are struct arguments in bf16.cuh.
type argumentsBF16 struct {
	arguments
	half int32 // outputs are bf16
}

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

// launchBF16 runs a bf16 kernel, plain or with a soft cap, with outputs in bf16 or float32.
func (c *call) launchBF16(kernel string, half bool, heads, sharedBytes int) {
	k, name := kernelsBF16, c.named(kernel)
	if c.p.SoftCap > 0 {
		k = cappedKernelsBF16
	}
	if len(c.units) > 0 {
		k.Launch(c.q, name, c.grid(heads, sharedBytes), &ptx.One[argumentsBF16]{P: argumentsBF16{c.arguments(c.units), ptx.Flag(half)}})
	}
}

func forwardBF16PTX(dev driver.Launcher, p Params, x Inputs[driver.BF16], o result, lse driver.F32, t int) {
	if p.hopper(dev) {
		forwardHopper(dev, p, x, o, lse, t)
		return
	}
	c := newCall(dev, p, t, false)
	c.units = deviceUnits(p.Segments, forwardRows, queries)
	c.tensors = tensors{q: x.Q.Addr(), k: x.K.Addr(), v: x.V.Addr(), out: o.o, outLSE: lse.Addr()}
	c.launchBF16("attention_bf16_forward", o.half, p.Heads, 2*(forwardRows+2*c.keysTile())*c.depth)
}

// backwardBF16PTX writes the gradients of q, k and v to d.
func backwardBF16PTX(dev driver.Launcher, p Params, x Inputs[driver.BF16], o result, lse driver.F32, do bf16, d [3]uintptr, t int) {
	if p.hopper(dev) {
		backwardHopper(dev, p, x, o, lse, do, d, t)
		return
	}
	c := newCall(dev, p, t, false)
	c.tensors = tensors{
		q: x.Q.Addr(), k: x.K.Addr(), v: x.V.Addr(), o: o.o, lse: lse.Addr(), do: do.Addr(), delta: c.q.Scratch(0, 4*p.Heads*t),
		outDQ: d[0], outDK: d[1], outDV: d[2],
	}
	delta := "attention_delta_bf16"
	if o.half {
		delta = "attention_delta_half"
	}
	c.launchDelta(deltasBF16, delta)
	// The block's own two tiles, and two stages of two tiles of the other operand.
	own := 2 * 2 * deviceRows * c.depth
	c.launchBF16("attention_bf16_backward_q", o.half, p.Heads, own+2*2*2*c.keysTile()*c.depth)
	c.units = deviceUnits(p.Segments, deviceRows, keys)
	n := c.queriesTile()
	c.launchBF16("attention_bf16_backward_kv", o.half, p.KVHeads, own+2*(2*2*n*c.depth+8*n))
}
