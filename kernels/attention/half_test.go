package attention_test

import (
	"fmt"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/attention"
	"dataflex.dev/dataflex/kernels/optest"
)

func TestHalf(t *testing.T)       { halfOf(t, optest.Device(t, 80), problemsBF16()) }
func TestHalfHopper(t *testing.T) { halfOf(t, optest.Device(t, 90), problemsBF16()) }
func TestHalfHost(t *testing.T)   { halfOf(t, optest.CPU(t, 2), problemsBF16()[:3]) }

// halfOf: the results are those of the kernels that write float32, rounded; those of the
// backward pass from the rounded o.
func halfOf(t *testing.T, dev driver.Device, problems []problem) {
	t.Helper()
	for _, x := range problems {
		name := fmt.Sprintf("%+v", x.p)
		tokens := int(x.p.Segments[len(x.p.Segments)-1])
		in := func(x []float32) driver.Slice[driver.BF16] { return optest.InBF16(t, dev, x, 0) }
		wide := func(n int) driver.F32 {
			if dev.Kind() == driver.CPU {
				return optest.Dev(make([]float32, n))
			}
			return optest.In(t, dev, make([]float32, n), 0)
		}
		inputs := attention.Inputs[driver.BF16]{Q: in(x.q), K: in(x.k), V: in(x.v)}
		do, o, lse, wideO, wideLSE := in(x.do), in(x.q), wide(x.p.Heads*tokens), wide(len(x.q)), wide(x.p.Heads*tokens)
		attention.ForwardBF16(dev, x.p, inputs, wideO, wideLSE)
		attention.ForwardHalf(dev, x.p, inputs, o, lse)
		rounded := optest.Nearests(floats(t, dev, wideO))
		optest.Same(t, name+" o", optest.OutBF16(t, dev, o), rounded)
		optest.Same(t, name+" lse", floats(t, dev, lse), floats(t, dev, wideLSE))

		if err := driver.Upload(dev, wideO, rounded); err != nil {
			t.Fatal(err)
		}
		d := attention.Inputs[driver.BF16]{Q: in(x.q), K: in(x.k), V: in(x.v)}
		want := attention.Gradients{Q: wide(len(x.q)), K: wide(len(x.k)), V: wide(len(x.k))}
		attention.BackwardBF16(dev, x.p, inputs, wideO, lse, do, want)
		attention.BackwardHalf(dev, x.p, inputs, o, lse, do, d)
		optest.Same(t, name+" dq", optest.OutBF16(t, dev, d.Q), optest.Nearests(floats(t, dev, want.Q)))
		optest.Same(t, name+" dk", optest.OutBF16(t, dev, d.K), optest.Nearests(floats(t, dev, want.K)))
		optest.Same(t, name+" dv", optest.OutBF16(t, dev, d.V), optest.Nearests(floats(t, dev, want.V)))
	}
}

func floats(t *testing.T, dev driver.Device, x driver.F32) []float32 {
	t.Helper()
	y, err := driver.Read(dev, x)
	if err != nil {
		t.Fatal(err)
	}
	return y
}
