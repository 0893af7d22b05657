package dropout

import (
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
)

// TestPTX: the host's bits, on rows that are 16-byte aligned and others, in place and added.
func TestPTX(t *testing.T) {
	host, dev := optest.CPU(t, 1), optest.Device(t, 80)
	key := Key{5 | 7<<40, 9}
	for _, c := range []struct{ rows, cols, shift int }{{5, 203, 0}, {3, 512, 0}, {1, 1, 0}, {17, 31, 1}, {2, 260, 0}, {40, 8, 3}, {0, 4, 0}} {
		r := optest.Rand(uint64(c.cols))
		src, old := optest.Normal(r, c.rows*c.cols, 1), optest.Normal(r, c.rows*c.cols, 1)
		for _, p := range []float32{0, 0.1, 0.5, 0.99999} {
			for _, add := range []bool{false, true} {
				want := append([]float32(nil), old...)
				Mask(host, key, p, c.rows, c.cols, driver.FromHost(src), driver.FromHost(want), add)
				dst := optest.In(t, dev, old, c.shift)
				Mask(dev, key, p, c.rows, c.cols, optest.In(t, dev, src, c.shift), dst, add)
				optest.Same(t, "mask", optest.Out(t, dev, dst), want)
			}
		}
		same := optest.In(t, dev, src, c.shift)
		want := append([]float32(nil), src...)
		Mask(host, key, 0.3, c.rows, c.cols, driver.FromHost(want), driver.FromHost(want), false)
		Mask(dev, key, 0.3, c.rows, c.cols, same, same, false)
		optest.Same(t, "mask in place", optest.Out(t, dev, same), want)

		want = append([]float32(nil), src...)
		Noise(host, key, 0.37, c.rows, c.cols, driver.FromHost(want))
		x := optest.In(t, dev, src, c.shift)
		Noise(dev, key, 0.37, c.rows, c.cols, x)
		optest.Same(t, "noise", optest.Out(t, dev, x), want)
	}
}

func TestPTXTraffic(t *testing.T) {
	dev := optest.Sim(t)
	const rows, cols = 8, 1024
	src, dst := optest.In(t, dev, make([]float32, rows*cols), 0), optest.In(t, dev, make([]float32, rows*cols), 0)
	Mask(dev, Key{1, 2}, 0.1, rows, cols, src, dst, false)
	optest.Frugal(t, dev, "dropout_mask", 2*4*rows*cols)
	// Philox is computed once per eight entries, with 20 wide products.
	if got := dev.Last().Count("mul.wide.u32"); got != rows*cols/256*20 {
		t.Errorf("%d wide products", got)
	}
	Noise(dev, Key{1, 2}, 0.1, rows, cols, src)
	optest.Frugal(t, dev, "dropout_noise", 2*4*rows*cols)
}
