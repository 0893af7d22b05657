package swiglu

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed swiglu.sm80.ptx.br
var sm80 string

//go:embed product.sm80.ptx.br
var productSM80 string

// Parameters of the kernels of swiglu.cu and product.cu.
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

// kernels are those of one file.
type kernels struct {
	name     string // with which theirs begin
	forward  ptx.Kernels[forwardParameters]
	backward ptx.Kernels[backwardParameters]
}

func declare(name, embedded string) kernels {
	f := ptx.New(name, embedded)
	return kernels{name, ptx.Declare[forwardParameters](f, name+"_forward_*", name+"_half_forward_*"), ptx.Declare[backwardParameters](f, name+"_backward_*", name+"_half_backward_*")}
}

var (
	swiglus  = declare("swiglu", sm80)
	products = declare("product", productSM80)

	kernelsOf = [...]struct {
		kernels
		suffix string
	}{SiLU: {swiglus, "_silu"}, GELUTanh: {swiglus, "_gelu"}, Sigmoid: {products, "_sigmoid"}, Linear: {products, "_plain"}}
)

func forwardPTX(dev driver.Launcher, act Activation, gate, up, out driver.F32) {
	k := &kernelsOf[act]
	k.forward.Launch(ptx.On(dev), k.name+"_forward"+k.suffix, ptx.Grid(ptx.Blocks(gate.Len(), 1024), 256), &forwardParameters{
		gate: gate.Addr(), up: up.Addr(), out: out.Addr(), n: uint64(gate.Len()),
	})
}

func backwardPTX(dev driver.Launcher, act Activation, dout, gate, up, dgate, dup driver.F32) {
	k := &kernelsOf[act]
	k.backward.Launch(ptx.On(dev), k.name+"_backward"+k.suffix, ptx.Grid(ptx.Blocks(gate.Len(), 1024), 256), &backwardParameters{
		dout: dout.Addr(), gate: gate.Addr(), up: up.Addr(), dgate: dgate.Addr(), dup: dup.Addr(), n: uint64(gate.Len()),
	})
}
