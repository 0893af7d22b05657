package adamw

import (
	_ "embed"
	"encoding/binary"
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed adamw.sm80.ptx
var sm80 string

var family = ptx.New("adamw", sm80)

func stepPTX(dev driver.Launcher, kernel string, p driver.F32, half uintptr, g, m, v driver.F32, h Hyper) {
	f := newFactors(h)
	var b [32]byte
	for i, x := range [...]float32{f.gradScale, f.decay, f.oneMinusBeta1, f.beta2, f.oneMinusBeta2, f.sqrtBC2, f.eps, f.minusStep} {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(x))
	}
	q := ptx.On(dev)
	q.Launch(family, kernel, ptx.Grid(ptx.Blocks(p.Len(), 1024), 256), q.Args().
		Addr(p.Addr()).Addr(half).Addr(g.Addr()).Addr(m.Addr()).Addr(v.Addr()).U64(uint64(p.Len())).Bytes(b[:], 4))
}
