package swiglu_test

import (
	"slices"
	"testing"

	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/swiglu"
)

// TestPointwise: relu(x)² and clamp(x, -1.5, 1.5), by hand; a bound itself passes its gradient, as in torch.
func TestPointwise(t *testing.T) {
	x := []float32{-2, -1.5, -0.5, 0, 0.5, 1.5, 3}
	ones := []float32{1, 1, 1, 1, 1, 1, 2}
	for _, c := range []struct {
		p     swiglu.Pointwise
		y, dx []float32
	}{
		{p: swiglu.Pointwise{}, y: []float32{0, 0, 0, 0, 0.25, 2.25, 9}, dx: []float32{0, 0, 0, 0, 1, 3, 12}},
		{
			p: swiglu.Pointwise{Function: swiglu.Clamp, Bound: 1.5},
			y: []float32{-1.5, -1.5, -0.5, 0, 0.5, 1.5, 1.5}, dx: []float32{0, 1, 1, 1, 1, 1, 0},
		},
	} {
		dev := optest.CPU(t, 2)
		y, dx := make([]float32, len(x)), slices.Clone(x)
		c.p.Forward(dev, optest.Dev(x), optest.Dev(y))
		c.p.Backward(dev, optest.Dev(ones), optest.Dev(dx), optest.Dev(dx))
		if !slices.Equal(y, c.y) || !slices.Equal(dx, c.dx) {
			t.Errorf("%+v: %v and %v, want %v and %v", c.p, y, dx, c.y, c.dx)
		}
	}
}
