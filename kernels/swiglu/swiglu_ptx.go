package swiglu

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed swiglu.sm80.ptx
var sm80 string

var family = ptx.New("swiglu", sm80)

var suffix = [...]string{SiLU: "_silu", GELUTanh: "_gelu"}

func forwardPTX(dev driver.Launcher, act Activation, gate, up, out driver.F32) {
	q := ptx.On(dev)
	q.Launch(family, "swiglu_forward"+suffix[act], ptx.Grid(ptx.Blocks(gate.Len(), 1024), 256),
		q.Args().Addr(gate.Addr()).Addr(up.Addr()).Addr(out.Addr()).U64(uint64(gate.Len())))
}

func backwardPTX(dev driver.Launcher, act Activation, dout, gate, up, dgate, dup driver.F32) {
	q := ptx.On(dev)
	q.Launch(family, "swiglu_backward"+suffix[act], ptx.Grid(ptx.Blocks(gate.Len(), 1024), 256),
		q.Args().Addr(dout.Addr()).Addr(gate.Addr()).Addr(up.Addr()).Addr(dgate.Addr()).Addr(dup.Addr()).U64(uint64(gate.Len())))
}
