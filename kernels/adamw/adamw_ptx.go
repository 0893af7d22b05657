package adamw

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed adamw.sm80.ptx.br
var sm80 string

var family = ptx.New("adamw", sm80)

// stepParameters are those of adamw_step, without half, and of adamw_step_bf16.
type stepParameters struct {
	p, half, g, m, v uintptr
	n                uint64
	f                factors
}

var steps = ptx.Declare[stepParameters](family, "adamw_step*")

func stepPTX(dev driver.Launcher, kernel string, p driver.F32, half uintptr, g, m, v driver.F32, h Hyper) {
	steps.Launch(ptx.On(dev), kernel, ptx.Grid(ptx.Blocks(p.Len(), 1024), 256), &stepParameters{
		p: p.Addr(), half: half, g: g.Addr(), m: m.Addr(), v: v.Addr(), n: uint64(p.Len()), f: newFactors(h),
	})
}
