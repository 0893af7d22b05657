package adamw

import (
	_ "embed"
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed adamw.sm80.ptx.br
var sm80 string

var family = ptx.New("adamw", sm80)

const most = 64 // parameters of a launch, as in adamw.cu

// stepParameters are struct parameters of adamw.cu.
type stepParameters struct {
	items [most]struct {
		p, half, g, m, v uintptr
		n                uint64
	}
	first [most]int32
	f     factors
}

var steps = ptx.Declare[ptx.One[stepParameters]](family, "adamw_step")

// stepPTX has one row of blocks for all parameters.
func stepPTX(dev driver.Launcher, h Hyper, list []Param) {
	p := ptx.One[stepParameters]{P: stepParameters{f: newFactors(h)}}
	blocks := 0
	for i := range p.P.first {
		if i >= len(list) {
			p.P.first[i] = math.MaxInt32
			continue
		}
		at, x := &p.P.items[i], list[i]
		at.p, at.half, at.g, at.m, at.v, at.n = x.P.Addr(), x.Half.Addr(), x.G.Addr(), x.M.Addr(), x.V.Addr(), uint64(x.P.Len())
		p.P.first[i] = int32(blocks)
		blocks += ptx.Blocks(x.P.Len(), 1024)
	}
	steps.Launch(ptx.On(dev), "adamw_step", ptx.Grid(blocks, 256), &p)
}
