package swiglu

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed pointwise.sm80.ptx.br
var pointwiseSM80 string

var pointwiseFamily = ptx.New("pointwise", pointwiseSM80)

var functionSuffix = [...]string{SquaredReLU: "_relu2", Clamp: "_clamp", ExactGELU: "_gelu", ApproximateGELU: "_gelu_tanh"}

// Parameters of the kernels of pointwise.cu.
type (
	pointwiseForwardParameters struct {
		x, out uintptr
		bound  float32
		n      uint64
	}
	pointwiseBackwardParameters struct {
		dout, x, dx uintptr
		bound       float32
		n           uint64
	}
)

var (
	pointwiseForwards  = ptx.Declare[pointwiseForwardParameters](pointwiseFamily, "pointwise_forward_*")
	pointwiseBackwards = ptx.Declare[pointwiseBackwardParameters](pointwiseFamily, "pointwise_backward_*")
)

func (p Pointwise) forwardPTX(dev driver.Launcher, x, out driver.F32) {
	pointwiseForwards.Launch(ptx.On(dev), "pointwise_forward"+functionSuffix[p.Function], ptx.Grid(ptx.Blocks(x.Len(), 1024), 256), &pointwiseForwardParameters{
		x: x.Addr(), out: out.Addr(), bound: p.Bound, n: uint64(x.Len()),
	})
}

func (p Pointwise) backwardPTX(dev driver.Launcher, dout, x, dx driver.F32) {
	pointwiseBackwards.Launch(ptx.On(dev), "pointwise_backward"+functionSuffix[p.Function], ptx.Grid(ptx.Blocks(x.Len(), 1024), 256), &pointwiseBackwardParameters{
		dout: dout.Addr(), x: x.Addr(), dx: dx.Addr(), bound: p.Bound, n: uint64(x.Len()),
	})
}
