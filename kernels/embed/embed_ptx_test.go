package embed_test

import (
	"math"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/embed"
	"dataflex.dev/dataflex/kernels/optest"
)

// TestPTX: the host twin's bits, including rows that many tokens share.
func TestPTX(t *testing.T) {
	dev, host, r := optest.Device(t, 80), optest.CPU(t, 1), optest.Rand(3)
	for _, c := range []struct{ vocab, d, n, shift int }{{17, 130, 200, 0}, {5, 516, 40, 0}, {300, 64, 100, 1}, {2, 1, 1, 0}} {
		table, dout, before := optest.Normal(r, c.vocab*c.d, 1), optest.Normal(r, c.n*c.d, 1), optest.Normal(r, c.vocab*c.d, 1)
		ids := make([]int32, c.n)
		for i := range ids {
			ids[i] = int32(r.IntN(c.vocab))
		}
		out, grad := make([]float32, c.n*c.d), append([]float32(nil), before...)
		embed.Forward(host, optest.Dev(table), ids, optest.Dev(out), c.d)
		embed.Backward(host, optest.Dev(dout), ids, optest.Dev(grad), c.d)
		o, g := optest.In(t, dev, make([]float32, c.n*c.d), c.shift), optest.In(t, dev, before, c.shift)
		embed.Forward(dev, optest.In(t, dev, table, c.shift), ids, o, c.d)
		embed.Backward(dev, optest.In(t, dev, dout, c.shift), ids, g, c.d)
		optest.Same(t, "out", optest.Out(t, dev, o), out)
		half := halves(t, dev, table)
		embed.ForwardBF16(dev, half, ids, o, c.d)
		narrowed, err := driver.Read(dev, half)
		if err != nil {
			t.Fatal(err)
		}
		embed.ForwardBF16(host, driver.FromHost(narrowed), ids, optest.Dev(out), c.d)
		for i, id := range ids {
			for j := range c.d {
				if want := math.Float32frombits(uint32(narrowed[int(id)*c.d+j]) << 16); out[i*c.d+j] != want {
					t.Fatalf("row %d: %v, want %v", i, out[i*c.d+j], want)
				}
			}
		}
		optest.Same(t, "out from bf16", optest.Out(t, dev, o), out)
		optest.Same(t, "dtable", optest.Out(t, dev, g), grad)
	}
}

// halves is x in bf16 on the device.
func halves(t *testing.T, dev driver.Device, x []float32) driver.Slice[driver.BF16] {
	m, err := dev.Alloc(2 * len(x))
	if err != nil {
		t.Fatal(err)
	}
	y := driver.View[driver.BF16](m)
	cast.Narrow(dev, optest.In(t, dev, x, 0), y)
	return y
}
