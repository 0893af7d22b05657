package peak_test

import (
	"fmt"
	"math"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/peak"
)

func devices(t *testing.T) map[string]driver.Device {
	return map[string]driver.Device{"cpu": optest.CPU(t, 2), "sm_80": optest.Device(t, 80)}
}

func TestCopy(t *testing.T) {
	x := optest.Normal(optest.Rand(1), 9001, 1)
	for name, dev := range devices(t) {
		for shift := range 2 {
			dst := optest.In(t, dev, make([]float32, len(x)), shift)
			peak.Copy(dev, optest.In(t, dev, x, 0), dst)
			optest.Same(t, fmt.Sprint(name, shift), optest.Out(t, dev, dst), x)
		}
	}
}

// TestMultiply: after n steps y is y/2ⁿ + x·(2 - 2¹⁻ⁿ).
func TestMultiply(t *testing.T) {
	r := optest.Rand(2)
	x, y := optest.Normal(r, 5003, 1), optest.Normal(r, 5003, 1)
	var first []float32
	for name, dev := range devices(t) {
		out := optest.In(t, dev, y, 0)
		peak.Multiply(dev, optest.In(t, dev, x, 0), out, 13)
		got := optest.Out(t, dev, out)
		for i, v := range got {
			if want := float64(y[i])*0x1p-13 + float64(x[i])*(2-0x1p-12); math.Abs(float64(v)-want) > 1e-6*(1+math.Abs(want)) {
				t.Fatalf("%s: element %d is %v, want %v", name, i, v, want)
			}
		}
		if first == nil {
			first = got
		}
		optest.Same(t, name, got, first)
	}
}

// TestProducts: every tile is `steps` times the product.
func TestProducts(t *testing.T) {
	const steps, tiles = 3, 2
	for name, open := range map[string]func(t *testing.T) driver.Device{
		"cpu":    func(t *testing.T) driver.Device { return optest.CPU(t, 2) },
		"sm_80":  func(t *testing.T) driver.Device { return optest.Device(t, 80) },
		"sm_90a": func(t *testing.T) driver.Device { return optest.Device(t, 90) },
	} {
		t.Run(name, func(t *testing.T) {
			dev, r := open(t), optest.Rand(3)
			a, wide := halves(t, dev, optest.Normal(r, peak.M*peak.K, 1))
			b, high := halves(t, dev, optest.Normal(r, peak.N*peak.K, 1))
			c := optest.In(t, dev, make([]float32, tiles*peak.M*peak.N), 0)
			peak.Products(dev, a, b, c, steps)
			got := optest.Out(t, dev, c)
			want := optest.Mul(wide, high, peak.M, peak.N, peak.K, false, true)
			for i := range want {
				want[i] *= steps
			}
			for i := range tiles {
				optest.Near(t, "tile", got[i*len(want):(i+1)*len(want)], want, 1e-6)
			}
		})
	}
}

// halves puts the upper halves of x on the device, and returns them widened too.
func halves(t *testing.T, dev driver.Device, x []float32) (driver.Slice[driver.BF16], []float32) {
	t.Helper()
	h := make([]driver.BF16, len(x))
	for i, v := range x {
		h[i] = driver.BF16(math.Float32bits(v) >> 16)
		x[i] = math.Float32frombits(uint32(h[i]) << 16)
	}
	m, err := dev.Alloc(2 * len(x))
	if err != nil {
		t.Fatal(err)
	}
	s := driver.View[driver.BF16](m)
	if err := driver.Upload(dev, s, h); err != nil {
		t.Fatal(err)
	}
	return s, x
}

// TestTraffic: the traffic and operations that a ceiling counts are carried out.
func TestTraffic(t *testing.T) {
	dev, hopper := optest.Sim(t), optest.Hopper(t)
	const n = 4096
	x := optest.In(t, dev, make([]float32, n), 0)
	y := optest.In(t, dev, make([]float32, n), 0)
	peak.Copy(dev, x, y)
	if c := dev.Last(); c.GlobalBytes() != 8*n || c.Global.Units != c.Global.Ideal {
		t.Errorf("copy: %d bytes, %d sectors, ideal %d", c.GlobalBytes(), c.Global.Units, c.Global.Ideal)
	}
	peak.Multiply(dev, x, y, 50)
	if c := dev.Last(); c.Flops != 100*n {
		t.Errorf("%d operations, want %d", c.Flops, 100*n)
	}
	a, _ := halves(t, dev, make([]float32, peak.M*peak.K))
	b, _ := halves(t, dev, make([]float32, peak.N*peak.K))
	peak.Products(dev, a, b, optest.In(t, dev, make([]float32, peak.M*peak.N), 0), 5)
	if c := dev.Last(); c.Flops != 2*peak.M*peak.N*peak.K*5 {
		t.Errorf("sm_80: %d operations", c.Flops)
	}
	a, _ = halves(t, hopper, make([]float32, peak.M*peak.K))
	b, _ = halves(t, hopper, make([]float32, peak.N*peak.K))
	peak.Products(hopper, a, b, optest.In(t, hopper, make([]float32, peak.M*peak.N), 0), 5)
	if c := hopper.Last(); c.Flops != 2*peak.M*peak.N*peak.K*5 || c.Conflicts() != 0 {
		t.Errorf("sm_90a: %d operations, %d conflicts", c.Flops, c.Conflicts())
	}
}
