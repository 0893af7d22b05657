package swiglu

import (
	_ "embed"
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
	"dataflex.dev/dataflex/kernels/ptx"
)

// Clamped is gpt_oss' gate, elementwise over float32 tensors of any one shape.
//
//	g = min(gate, Limit), u = min(max(up, −Limit), Limit), out = (u + 1)·g·σ(Alpha·g)
//
// Source: transformers 5 models/gpt_oss.
type Clamped struct{ Alpha, Limit float32 }

// Forward overwrites out, which may be gate or up.
func (c Clamped) Forward(dev driver.Device, gate, up, out driver.F32) {
	if up.Len() != gate.Len() || out.Len() != gate.Len() {
		panic("swiglu: gate, up and out differ in length")
	}
	dispatch.Run(dev, "swiglu.Clamped", func(d *cpu.Device) {
		c.forwardCPU(d, gate.Host(), up.Host(), out.Host())
	}, func(l driver.Launcher) {
		clampedForwards.Launch(ptx.On(l), "clamped_forward", ptx.Grid(ptx.Blocks(gate.Len(), 1024), 256), &clampedForward{
			gate: gate.Addr(), up: up.Addr(), out: out.Addr(), n: uint64(gate.Len()), alpha: c.Alpha, limit: c.Limit,
		})
	})
}

// Backward overwrites dgate, which may be gate or dout, and dup, which may be up or dout,
// but not both the same. Values beyond a limit get no gradient:
//
//	dgate = dout·(u + 1)·σ·(1 + Alpha·g·(1 − σ)),  dup = dout·g·σ,  σ = σ(Alpha·g)
func (c Clamped) Backward(dev driver.Device, dout, gate, up, dgate, dup driver.F32) {
	n := gate.Len()
	if dout.Len() != n || up.Len() != n || dgate.Len() != n || dup.Len() != n {
		panic("swiglu: dout, gate, up, dgate and dup differ in length")
	}
	dispatch.Run(dev, "swiglu.Clamped", func(d *cpu.Device) {
		c.backwardCPU(d, dout.Host(), gate.Host(), up.Host(), dgate.Host(), dup.Host())
	}, func(l driver.Launcher) {
		clampedBackwards.Launch(ptx.On(l), "clamped_backward", ptx.Grid(ptx.Blocks(n, 1024), 256), &clampedBackward{
			dout: dout.Addr(), gate: gate.Addr(), up: up.Addr(), dgate: dgate.Addr(), dup: dup.Addr(), n: uint64(n), alpha: c.Alpha, limit: c.Limit,
		})
	})
}

func (c Clamped) forwardCPU(d *cpu.Device, gate, up, out []float32) {
	pieces(d, len(gate), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			g, u, s := c.at(gate[i], up[i])
			out[i] = float32((u + 1) * g * s)
		}
	})
}

func (c Clamped) backwardCPU(d *cpu.Device, dout, gate, up, dgate, dup []float32) {
	pieces(d, len(gate), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			z, y, do := gate[i], up[i], float64(dout[i])
			g, u, s := c.at(z, y)
			var dz, dy float64
			if z <= c.Limit {
				dz = do * (u + 1) * s * (1 + float64(c.Alpha)*g*(1-s))
			}
			if y >= -c.Limit && y <= c.Limit {
				dy = do * g * s
			}
			dgate[i], dup[i] = float32(dz), float32(dy)
		}
	})
}

// at gives g, u and σ(Alpha·g) of one element.
func (c Clamped) at(gate, up float32) (g, u, s float64) {
	g, u = float64(min(gate, c.Limit)), float64(min(max(up, -c.Limit), c.Limit))
	return g, u, 1 / (1 + math.Exp(-float64(c.Alpha)*g))
}

//go:embed clamped.sm80.ptx.br
var sm80Clamped string

var familyClamped = ptx.New("swiglu, clamped", sm80Clamped)

// Parameters of the kernels of clamped.cu.
type (
	clampedForward struct {
		gate, up, out uintptr
		n             uint64
		alpha, limit  float32
	}
	clampedBackward struct {
		dout, gate, up, dgate, dup uintptr
		n                          uint64
		alpha, limit               float32
	}
)

var (
	clampedForwards  = ptx.Declare[clampedForward](familyClamped, "clamped_forward")
	clampedBackwards = ptx.Declare[clampedBackward](familyClamped, "clamped_backward")
)
