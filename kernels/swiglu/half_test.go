package swiglu_test

import (
	"fmt"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/swiglu"
)

// TestHalf: the results are the float32 kernel's of the same inputs, rounded, in place and at
// any alignment, and on the host as well.
func TestHalf(t *testing.T) {
	for _, dev := range []driver.Device{optest.CPU(t, 2), optest.Device(t, 80)} {
		r := optest.Rand(3)
		for _, act := range []swiglu.Activation{swiglu.SiLU, swiglu.GELUTanh} {
			for _, n := range []int{1, 1030, 4096} {
				gate, up, dout := optest.Nearests(optest.Normal(r, n, 3)), optest.Nearests(optest.Normal(r, n, 1)), optest.Nearests(optest.Normal(r, n, 1))
				wide := func(x []float32) driver.F32 {
					if dev.Kind() == driver.CPU {
						return optest.Dev(append([]float32(nil), x...))
					}
					return optest.In(t, dev, x, 0)
				}
				out, dgate, dup := wide(gate), wide(gate), wide(gate)
				swiglu.Forward(dev, act, wide(gate), wide(up), out)
				swiglu.Backward(dev, act, wide(dout), wide(gate), wide(up), dgate, dup)
				for shift := range 2 {
					name := fmt.Sprint(dev.Kind(), act, n, shift)
					g, u, d := optest.InBF16(t, dev, gate, shift), optest.InBF16(t, dev, up, shift), optest.InBF16(t, dev, dout, shift)
					y := optest.InBF16(t, dev, gate, shift)
					swiglu.ForwardBF16(dev, act, g, u, y)
					swiglu.BackwardBF16(dev, act, d, g, u, g, u)
					optest.Same(t, name+" out", optest.OutBF16(t, dev, y), optest.Nearests(read(t, dev, out)))
					optest.Same(t, name+" dgate", optest.OutBF16(t, dev, g), optest.Nearests(read(t, dev, dgate)))
					optest.Same(t, name+" dup", optest.OutBF16(t, dev, u), optest.Nearests(read(t, dev, dup)))
				}
			}
		}
	}
}

func read(t *testing.T, dev driver.Device, x driver.F32) []float32 {
	t.Helper()
	y, err := driver.Read(dev, x)
	if err != nil {
		t.Fatal(err)
	}
	return y
}

// TestHalfTraffic: nothing is moved twice, and everything in full sectors.
func TestHalfTraffic(t *testing.T) {
	dev := optest.Sim(t)
	const n = 1 << 14
	x := func() driver.Slice[driver.BF16] { return optest.InBF16(t, dev, make([]float32, n), 0) }
	swiglu.ForwardBF16(dev, swiglu.SiLU, x(), x(), x())
	swiglu.BackwardBF16(dev, swiglu.SiLU, x(), x(), x(), x(), x())
	optest.Frugal(t, dev, "swiglu_half_forward_silu", 3*2*n)
	optest.Frugal(t, dev, "swiglu_half_backward_silu", 5*2*n)
}

// TestNarrowed: the results are the float32 kernel's, rounded, on the host and on a device.
func TestNarrowed(t *testing.T) {
	for _, dev := range []driver.Device{optest.CPU(t, 2), optest.Device(t, 80)} {
		r := optest.Rand(4)
		for act := swiglu.SiLU; act <= swiglu.Linear; act++ {
			for _, n := range []int{1, 1030, 9000} {
				in := func() driver.F32 {
					x := optest.Normal(r, n, 2)
					if dev.Kind() == driver.CPU {
						return optest.Dev(x)
					}
					return optest.In(t, dev, x, 0)
				}
				half := func() driver.Slice[driver.BF16] { return optest.InBF16(t, dev, make([]float32, n), 0) }
				gate, up, dout, out, dgate, dup := in(), in(), in(), in(), in(), in()
				outHalf, dgateHalf, dupHalf := half(), half(), half()
				swiglu.Forward(dev, act, gate, up, out)
				swiglu.ForwardNarrowed(dev, act, gate, up, outHalf)
				swiglu.Backward(dev, act, dout, gate, up, dgate, dup)
				swiglu.BackwardNarrowed(dev, act, dout, gate, up, dgateHalf, dupHalf)
				for _, x := range []struct {
					half driver.Slice[driver.BF16]
					wide driver.F32
				}{{outHalf, out}, {dgateHalf, dgate}, {dupHalf, dup}} {
					wide, err := driver.Read(dev, x.wide)
					if err != nil {
						t.Fatal(err)
					}
					optest.Same(t, fmt.Sprintf("%v, activation %d, %d elements", dev.Kind(), act, n), optest.OutBF16(t, dev, x.half), optest.Nearests(wide))
				}
			}
		}
	}
}
