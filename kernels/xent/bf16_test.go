package xent_test

import (
	"fmt"
	"math"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/simd"
	"dataflex.dev/dataflex/kernels/xent"
)

// nearest rounds to bf16, to nearest even.
func nearest(x float32) float32 {
	b := math.Float32bits(x)
	return math.Float32frombits((b + 0x7fff + b>>16&1) &^ 0xffff)
}

// newBF16 is newProblem with h and w that are exact in bf16.
func newBF16(seed uint64, p xent.Params, std float64) problem {
	x := newProblem(seed, p, std)
	for _, s := range [][]float32{x.h, x.w} {
		for i, v := range s {
			s[i] = nearest(v)
		}
	}
	return x
}

func bf16Problems() []problem {
	return []problem{
		newBF16(1, xent.Params{Rows: 1, Hidden: 8, Vocab: 1}, 1),
		newBF16(2, xent.Params{Rows: 40, Hidden: 32, Vocab: 1500}, 0.3),
		newBF16(3, xent.Params{Rows: 30, Hidden: 24, Vocab: 257, Smoothing: 0.1}, 1),
		newBF16(4, xent.Params{Rows: 30, Hidden: 24, Vocab: 1100, SoftCap: 5, Smoothing: 0.05}, 1),
		newBF16(5, xent.Params{Rows: 30, Hidden: 40, Vocab: 1101, SoftCap: 30, LogitScale: 0.25}, 1),
		// Logits of several hundred: nothing may overflow.
		newBF16(6, xent.Params{Rows: 20, Hidden: 56, Vocab: 300}, 20),
		newBF16(7, xent.Params{Rows: 3, Hidden: 8, Vocab: 5003}, 1),
		newBF16(8, xent.Params{Rows: 140, Hidden: 72, Vocab: 130}, 0.5),
	}
}

// put copies bf16 numbers to the device.
func put(t testing.TB, dev driver.Device, x []float32) driver.Slice[driver.BF16] {
	m, err := dev.Alloc(2 * len(x))
	if err != nil {
		t.Fatal(err)
	}
	s := driver.View[driver.BF16](m)
	err = driver.Write(dev, s, func(y []driver.BF16) error {
		for i, v := range x {
			y[i] = driver.BF16(math.Float32bits(v) >> 16)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// in copies a tensor to any device, including the host.
func in(t testing.TB, dev driver.Device, x []float32) driver.F32 {
	m, err := dev.Alloc(4 * len(x))
	if err != nil {
		t.Fatal(err)
	}
	s := driver.View[float32](m)
	if err := driver.Upload(dev, s, x); err != nil {
		t.Fatal(err)
	}
	return s
}

func out(t testing.TB, dev driver.Device, s driver.F32) []float32 {
	x, err := driver.Read(dev, s)
	if err != nil {
		t.Fatal(err)
	}
	return append([]float32(nil), x...)
}

func runBF16(t testing.TB, dev driver.Device, x problem) result {
	loss, dh, dw := in(t, dev, make([]float32, x.p.Rows)), in(t, dev, make([]float32, len(x.h))), in(t, dev, x.dw)
	h, w := put(t, dev, x.h), put(t, dev, x.w)
	if x.lossesOnly {
		xent.RunBF16(dev, x.p, h, w, x.targets, driver.F32{}, loss, driver.F32{}, driver.F32{})
	} else {
		xent.RunBF16(dev, x.p, h, w, x.targets, in(t, dev, x.weight), loss, dh, dw)
	}
	return result{out(t, dev, loss), out(t, dev, dh), out(t, dev, dw)}
}

// verifyBF16 compares with float64. The straightforward implementation rounds dz to bf16 and
// is otherwise float32.
func verifyBF16(t *testing.T, name string, x problem, got result) {
	t.Helper()
	plain32, plain64 := plain[float32](x), plain[float64](x)
	plain32.Narrow = nearest
	sl, sh, sw := plain32.Run()
	rl, rh, rw := plain64.Run()
	for i, v := range x.dw {
		sw[i] += v
		rw[i] += float64(v)
	}
	optest.Within(t, name+" loss", got.loss, sl, rl)
	optest.Within(t, name+" dh", got.dh, sh, rh)
	optest.Within(t, name+" dw", got.dw, sw, rw)
}

func TestBF16(t *testing.T) {
	for _, capability := range []int{80, 90} {
		dev := optest.Device(t, capability)
		for _, x := range bf16Problems() {
			name := fmt.Sprintf("%d %+v", capability, x.p)
			got := runBF16(t, dev, x)
			verifyBF16(t, name, x, got)
			only := x
			only.lossesOnly = true
			optest.Same(t, name+" losses only", runBF16(t, dev, only).loss, got.loss)
		}
	}
}

// TestBF16Units: the bits do not depend on the number of tiles per block.
func TestBF16Units(t *testing.T) {
	x := newBF16(40, xent.Params{Rows: 140, Hidden: 72, Vocab: 1100, Smoothing: 0.1}, 0.5)
	var want result
	for i, units := range optest.Units {
		got := runBF16(t, optest.Multiprocessors(t, 90, units), x)
		if i == 0 {
			verifyBF16(t, "2 multiprocessors", x, got)
			want = got
		}
		optest.Same(t, fmt.Sprint(units, " loss"), got.loss, want.loss)
		optest.Same(t, fmt.Sprint(units, " dh"), got.dh, want.dh)
		optest.Same(t, fmt.Sprint(units, " dw"), got.dw, want.dw)
	}
}

// TestBF16Host: with each of the processor's units for bf16, and without, with one thread
// and with three.
func TestBF16Host(t *testing.T) {
	defer simd.ForceUnit(simd.Unit())
	one, three := optest.CPU(t, 1), optest.CPU(t, 3)
	for _, unit := range append(simd.Units(), "") {
		simd.ForceUnit(unit)
		for _, x := range bf16Problems() {
			name := fmt.Sprintf("%s %+v", unit, x.p)
			got, only := runBF16(t, one, x), x
			verifyBF16(t, name, x, got)
			only.lossesOnly = true
			optest.Same(t, name+" losses only", runBF16(t, one, only).loss, got.loss)
			again := runBF16(t, three, x)
			optest.Same(t, name+" loss", again.loss, got.loss)
			optest.Same(t, name+" dh", again.dh, got.dh)
			optest.Same(t, name+" dw", again.dw, got.dw)
		}
	}
}

// row is the problem of one row of x.
func (x problem) row(i int) problem {
	hid := x.p.Hidden
	x.p.Rows, x.h, x.weight, x.targets = 1, x.h[i*hid:(i+1)*hid], x.weight[i:i+1], x.targets[i:i+1]
	return x
}

// TestBF16RowAlone: a row's loss and dh do not depend on the other rows, nor on how many are
// processed at a time, and a row without a target is not read.
func TestBF16RowAlone(t *testing.T) {
	for _, capability := range []int{80, 90} {
		dev := optest.Device(t, capability)
		x := newBF16(31, xent.Params{Rows: 300, Hidden: 24, Vocab: 500, Smoothing: 0.1}, 1)
		x.targets[0], x.targets[150], x.targets[299], x.targets[7] = 5, 499, 0, -1
		x.h[7*24] = float32(math.Inf(1))
		want := runBF16(t, dev, x)
		for _, i := range []int{0, 150, 299} {
			got := runBF16(t, dev, x.row(i))
			optest.Same(t, "loss alone", got.loss, want.loss[i:i+1])
			optest.Same(t, "dh alone", got.dh, want.dh[i*24:(i+1)*24])
		}
		optest.Same(t, "no target", append(want.loss[7:8:8], want.dh[7*24:8*24]...), make([]float32, 25))
		t.Run("blocks", func(t *testing.T) {
			xent.SmallBlocks(t)
			got := runBF16(t, dev, x)
			optest.Same(t, "loss in blocks", got.loss, want.loss)
			optest.Same(t, "dh in blocks", got.dh, want.dh)
		})
	}
}

func TestBF16Logits(t *testing.T) {
	x := newBF16(34, xent.Params{Rows: 3, Hidden: 16, Vocab: 301, SoftCap: 4, LogitScale: 0.5}, 1)
	want := make([]float32, 3*301)
	host := optest.CPU(t, 1)
	xent.Logits(host, x.p, optest.Dev(x.h), optest.Dev(x.w), optest.Dev(want))
	for _, dev := range []driver.Device{host, optest.Device(t, 80)} {
		z := in(t, dev, make([]float32, len(want)))
		xent.LogitsBF16(dev, x.p, put(t, dev, x.h), put(t, dev, x.w), z)
		optest.Near(t, "logits", out(t, dev, z), want, 5e-7)
	}
}

// TestNaN: one bad number in the head makes every loss NaN, on every device.
func TestNaN(t *testing.T) {
	x := labelledBF16(36, xent.Params{Rows: 3, Hidden: 16, Vocab: 400})
	x.w[333*16] = float32(math.NaN())
	check := func(what string, got result) {
		t.Helper()
		for i, v := range got.loss {
			if v == v || got.dh[i*16] == got.dh[i*16] {
				t.Errorf("%s: row %d has loss %v, dh %v", what, i, v, got.dh[i*16])
			}
		}
	}
	check("host", run(optest.CPU(t, 1), x))
	check("float32", runPTX(t, optest.Device(t, 80), x))
	for _, capability := range []int{80, 90} {
		check(fmt.Sprint("bf16, ", capability), runBF16(t, optest.Device(t, capability), x))
	}
}
