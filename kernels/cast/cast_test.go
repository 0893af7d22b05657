package cast_test

import (
	"math"
	"math/big"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/optest"
)

// bf16 is x rounded to 8 bits of mantissa, ties to even, by package big; the numbers of
// the test are normal and in range.
func bf16(x float32) float32 {
	f, _ := new(big.Float).SetPrec(8).SetMode(big.ToNearestEven).SetFloat64(float64(x)).Float32()
	return f
}

// numbers are random ones, every kind of tie, and the ends.
func numbers(n int) []float32 {
	x := optest.Normal(optest.Rand(1), n, 3)
	for i := 0; i+3 < len(x); i += 7 {
		x[i] = math.Float32frombits(math.Float32bits(x[i])&^0xffff | 0x8000) // a tie
		x[i+1] = math.Float32frombits(math.Float32bits(x[i+1])&^0xffff | 0x7fff)
		x[i+2] = math.Float32frombits(math.Float32bits(x[i+2])&^0xffff | 0x8001)
	}
	return x
}

func half(t *testing.T, dev driver.Device, n, shift int) driver.Slice[driver.BF16] {
	m, err := dev.Alloc(2 * (n + shift))
	if err != nil {
		t.Fatal(err)
	}
	return driver.View[driver.BF16](m).Sub(shift, shift+n)
}

func TestNarrowAndBack(t *testing.T) {
	for _, dev := range []driver.Device{optest.CPU(t, 1), optest.CPU(t, 3), optest.Device(t, 80)} {
		for _, n := range []int{0, 1, 6, 5003, 40001} {
			for _, shift := range []int{0, 1} {
				x := numbers(n)
				want := make([]float32, n)
				for i, v := range x {
					want[i] = bf16(v)
				}
				y, z := half(t, dev, n, shift), input(t, dev, make([]float32, n), shift)
				cast.Narrow(dev, input(t, dev, x, shift), y)
				cast.Widen(dev, y, z)
				got, err := driver.Read(dev, z)
				if err != nil {
					t.Fatal(err)
				}
				optest.Same(t, dev.Kind().String(), got, want)
			}
		}
	}
}

func input(t *testing.T, dev driver.Device, x []float32, shift int) driver.F32 {
	if dev.Kind() == driver.CPU {
		return optest.Dev(x)
	}
	return optest.In(t, dev, x, shift)
}

// TestNarrowRows: rows are scaled and padded with zeros.
func TestNarrowRows(t *testing.T) {
	for _, dev := range []driver.Device{optest.CPU(t, 2), optest.Device(t, 80)} {
		for _, c := range [][3]int{{5, 2, 8}, {33, 16, 16}, {300, 5, 5}, {7, 11, 16}, {0, 3, 8}} {
			rows, cols, ld := c[0], c[1], c[2]
			x, y := numbers(rows*cols), half(t, dev, rows*ld, 0)
			cast.NarrowRows(dev, 1.75, rows, cols, input(t, dev, x, 0), y, ld)
			got, err := driver.Read(dev, y)
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range got {
				var want float32
				if i%ld < cols {
					want = bf16(1.75 * x[i/ld*cols+i%ld])
				}
				if driver.BF16(math.Float32bits(want)>>16) != v {
					t.Fatalf("%v %v: element %d is %#x, want %v", dev.Kind(), c, i, v, want)
				}
			}
		}
	}
}

// TestEnds: zeros keep their signs, overflow is infinite, NaN stays NaN. The bits are
// those of torch 2.7.1's float32 to bfloat16, but for NaN, which has many.
func TestEnds(t *testing.T) {
	x := []float32{
		0, float32(math.Copysign(0, -1)), float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()), math.Float32frombits(0x7f800001),
		math.Float32frombits(0xffffffff), math.MaxFloat32, -math.MaxFloat32, math.Float32frombits(0x7f7f7fff), math.SmallestNonzeroFloat32, math.Float32frombits(0x8000), math.Float32frombits(0x8001), math.Float32frombits(0x18000),
	}
	want := []driver.BF16{0, 0x8000, 0x7f80, 0xff80, 0x7fff, 0x7fff, 0x7fff, 0x7f80, 0xff80, 0x7f7f, 0, 0, 1, 2}
	for _, dev := range []driver.Device{optest.CPU(t, 1), optest.Device(t, 80)} {
		y := half(t, dev, len(x), 0)
		cast.Narrow(dev, input(t, dev, x, 0), y)
		got, err := driver.Read(dev, y)
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%v: %#x narrows to %#x, want %#x", dev.Kind(), math.Float32bits(x[i]), got[i], want[i])
			}
		}
	}
}

// TestTraffic: each element is read once and written once, in full sectors.
func TestTraffic(t *testing.T) {
	dev := optest.Sim(t)
	const n = 1 << 16
	y := half(t, dev, n, 0)
	cast.Narrow(dev, optest.In(t, dev, make([]float32, n), 0), y)
	cast.Widen(dev, y, optest.In(t, dev, make([]float32, n), 0))
	for name, bytes := range map[string][2]int{"cast_narrow": {4 * n, 2 * n}, "cast_widen": {2 * n, 4 * n}} {
		g := dev.Total(name).Global
		if int(g.LoadBytes) != bytes[0] || int(g.StoreBytes) != bytes[1] || g.Units != g.Ideal {
			t.Errorf("%s: %d bytes loaded, %d stored, want %v; %d sectors, ideal %d", name, g.LoadBytes, g.StoreBytes, bytes, g.Units, g.Ideal)
		}
	}
}
