package swiglu

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed swiglu.sm80.ptx.zst
var sm80 string

//go:embed product.sm80.ptx.zst
var productSM80 string

var (
	family        = ptx.New("swiglu", sm80)
	productFamily = ptx.New("product", productSM80)
)

// Parts of the kernels' names.
var (
	prefix = [...]string{SiLU: "swiglu", GELUTanh: "swiglu", Sigmoid: "product", Linear: "product"}
	suffix = [...]string{SiLU: "_silu", GELUTanh: "_gelu", Sigmoid: "_sigmoid", Linear: "_plain"}
)

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

var (
	forwards  = ptx.Declare[forwardParameters](family, "swiglu_forward_*")
	backwards = ptx.Declare[backwardParameters](family, "swiglu_backward_*")

	productForwards  = ptx.Declare[forwardParameters](productFamily, "product_forward_*")
	productBackwards = ptx.Declare[backwardParameters](productFamily, "product_backward_*")
)

// product says whether an activation's kernels are product.cu's.
func (a Activation) product() bool { return a == Sigmoid || a == Linear }

func forwardPTX(dev driver.Launcher, act Activation, gate, up, out driver.F32) {
	kernels := forwards
	if act.product() {
		kernels = productForwards
	}
	kernels.Launch(ptx.On(dev), prefix[act]+"_forward"+suffix[act], ptx.Grid(ptx.Blocks(gate.Len(), 1024), 256), &forwardParameters{
		gate: gate.Addr(), up: up.Addr(), out: out.Addr(), n: uint64(gate.Len()),
	})
}

func backwardPTX(dev driver.Launcher, act Activation, dout, gate, up, dgate, dup driver.F32) {
	kernels := backwards
	if act.product() {
		kernels = productBackwards
	}
	kernels.Launch(ptx.On(dev), prefix[act]+"_backward"+suffix[act], ptx.Grid(ptx.Blocks(gate.Len(), 1024), 256), &backwardParameters{
		dout: dout.Addr(), gate: gate.Addr(), up: up.Addr(), dgate: dgate.Addr(), dup: dup.Addr(), n: uint64(gate.Len()),
	})
}
