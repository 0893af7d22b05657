package lion

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed lion.sm80.ptx.br
var sm80 string

var family = ptx.New("lion", sm80)

// stepParameters are those of lion_step.
type stepParameters struct {
	p, g, m uintptr
	n       uint64
	f       factors
}

var steps = ptx.Declare[stepParameters](family, "lion_step")

func stepPTX(dev driver.Launcher, p, g, m driver.F32, f factors) {
	steps.Launch(ptx.On(dev), "lion_step", ptx.Grid(ptx.Blocks(p.Len(), 1024), 256), &stepParameters{
		p: p.Addr(), g: g.Addr(), m: m.Addr(), n: uint64(p.Len()), f: f,
	})
}
