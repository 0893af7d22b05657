package swiglu

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed swiglu.sm80.ptx.zst
var sm80 string

var family = ptx.New("swiglu", sm80)

var suffix = [...]string{SiLU: "_silu", GELUTanh: "_gelu"}

// Parameters of the kernels of swiglu.cu.
type (
	forwardParameters struct {
		gate, up, out uintptr
		n             uint64
	}
	backwardParameters struct {
		dout, gate, up, dgate, dup uintptr
		n                          uint64
	}
)

var (
	forwards  = ptx.Declare[forwardParameters](family, "swiglu_forward_*")
	backwards = ptx.Declare[backwardParameters](family, "swiglu_backward_*")
)

func forwardPTX(dev driver.Launcher, act Activation, gate, up, out driver.F32) {
	forwards.Launch(ptx.On(dev), "swiglu_forward"+suffix[act], ptx.Grid(ptx.Blocks(gate.Len(), 1024), 256), &forwardParameters{
		gate: gate.Addr(), up: up.Addr(), out: out.Addr(), n: uint64(gate.Len()),
	})
}

func backwardPTX(dev driver.Launcher, act Activation, dout, gate, up, dgate, dup driver.F32) {
	backwards.Launch(ptx.On(dev), "swiglu_backward"+suffix[act], ptx.Grid(ptx.Blocks(gate.Len(), 1024), 256), &backwardParameters{
		dout: dout.Addr(), gate: gate.Addr(), up: up.Addr(), dgate: dgate.Addr(), dup: dup.Addr(), n: uint64(gate.Len()),
	})
}
