package swiglu_test

import (
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/swiglu"
)

// TestProducts: gates that are no activation of an MLP.
func TestProducts(t *testing.T) {
	for _, threads := range optest.Threads {
		products(t, optest.CPU(t, threads))
	}
}

func products(t *testing.T, dev driver.Device) {
	r, to := optest.Rand(7), optest.To[float64, float32]
	for _, act := range []swiglu.Activation{swiglu.Sigmoid, swiglu.Linear} {
		for _, n := range []int{0, 1, 7, 1001, 9001} {
			gate, up, dout := optest.Normal(r, n, 4), optest.Normal(r, n, 1), optest.Normal(r, n, 1)
			if n > 10 {
				copy(gate, []float32{0, 90, -90, 200, -200, 1e-20})
			}
			in := func(x []float32) driver.F32 { return optest.In(t, dev, x, 0) }
			out, dgate, dup := in(up), in(gate), in(up)
			swiglu.Forward(dev, act, in(gate), out, out)
			swiglu.Backward(dev, act, in(dout), dgate, dup, dgate, dup)
			sigmoid := act == swiglu.Sigmoid
			optest.Within(t, "out", optest.Out(t, dev, out), optest.Product(gate, up, sigmoid), optest.Product(to(gate), to(up), sigmoid))
			pg, pu := optest.ProductGrad(dout, gate, up, sigmoid)
			rg, ru := optest.ProductGrad(to(dout), to(gate), to(up), sigmoid)
			optest.Within(t, "dgate", optest.Out(t, dev, dgate), pg, rg)
			optest.Within(t, "dup", optest.Out(t, dev, dup), pu, ru)
		}
	}
}

// TestProductsPTX: likewise by the kernels, in place.
func TestProductsPTX(t *testing.T) { products(t, optest.Device(t, 80)) }
