package shortconv_test

import (
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
)

func TestPTX(t *testing.T) {
	dev := optest.Device(t, 80)
	for _, s := range shapes {
		s.check(t, dev)
	}
}

// TestPTXSums: the gradients of w and bias are added to, and may be left out.
func TestPTXSums(t *testing.T) {
	dev, s := optest.Device(t, 80), shapes[3]
	_, dx, dw, db := s.run(t, dev, 0)
	_, _, moreW, moreB := s.run(t, dev, 1)
	for i := range dw {
		if d := moreW[i] - dw[i] - 1; d > 1e-5 || d < -1e-5 {
			t.Errorf("dw %v, want 1 more than %v", moreW[i], dw[i])
		}
	}
	for i := range db {
		if d := moreB[i] - db[i] - 1; d > 1e-5 || d < -1e-5 {
			t.Errorf("db %v, want 1 more than %v", moreB[i], db[i])
		}
	}
	x, w, bias, dout := s.data()
	to := in(t, dev, make([]float32, len(x)))
	s.conv().Backward(dev, in(t, dev, dout), in(t, dev, x), in(t, dev, w), in(t, dev, bias), to, driver.F32{}, driver.F32{})
	optest.Same(t, "dx", optest.Out(t, dev, to), dx)
}

func TestPTXSteps(t *testing.T) { steps(t, optest.Device(t, 80)) }
