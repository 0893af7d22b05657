package deltanet_test

import (
	"testing"

	"dataflex.dev/dataflex/kernels/deltanet"
	"dataflex.dev/dataflex/kernels/optest"
)

// TestPTX compares output and gradients with the rule token by token, with values in one
// slice and in two, and segments of one chunk and of more.
func TestPTX(t *testing.T) {
	dev := optest.Device(t, 80)
	more := []deltanet.Params{
		{Segments: []int32{0, 33}, KeyHeads: 1, ValueHeads: 1, KeyDim: 128, ValueDim: 33},
		{Segments: []int32{0, 32, 33, 98}, KeyHeads: 1, ValueHeads: 2, KeyDim: 33, ValueDim: 70},
	}
	for i, p := range append(more, shapes...) {
		r := optest.Rand(uint64(i))
		d := batch(r, p)
		e := exact(d)
		out := optest.In(t, dev, make([]float32, len(d.V)), 0)
		p.Forward(dev, inputs(t, dev, d), out)
		within(t, "out", optest.Out(t, dev, out), d.Forward(), e.Forward())
		dout := optest.Normal(r, len(d.V), 1)
		plain, ref := d.Backward(dout), e.Backward(optest.To[float64](dout))
		for j, g := range gradients(t, dev, p, d, dout, 0) {
			within(t, "d"+names[j], g, plain[j], ref[j])
		}
	}
}

// TestPTXAlone: a row has the same bits in a batch of its own as among others.
func TestPTXAlone(t *testing.T) { alone(t, optest.Device(t, 80)) }

func TestPTXSums(t *testing.T) { sums(t, optest.Device(t, 80)) }

func TestPTXSteps(t *testing.T) { steps(t, optest.Device(t, 80)) }
