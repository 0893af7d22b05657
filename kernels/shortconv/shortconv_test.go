package shortconv_test

import (
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/shortconv"
)

type shape struct {
	segments        []int32
	channels, width int
	silu, bias      bool
}

var shapes = []shape{
	{[]int32{0, 1}, 1, 1, false, false},
	{[]int32{0, 1, 3, 40, 90}, 70, 3, false, true},
	{[]int32{0, 33, 34}, 112, 4, true, false},
	{[]int32{0, 2, 64}, 5, 7, true, true},
}

// data are x, w, bias and dout of a shape.
func (s shape) data() (x, w, bias, dout []float32) {
	r := optest.Rand(uint64(s.channels))
	n := int(s.segments[len(s.segments)-1]) * s.channels
	x, w, dout = optest.Normal(r, n, 1), optest.Normal(r, s.channels*s.width, 1), optest.Normal(r, n, 1)
	if s.bias {
		bias = optest.Normal(r, s.channels, 1)
	}
	return x, w, bias, dout
}

func (s shape) conv() shortconv.Conv {
	return shortconv.Conv{Segments: s.segments, Width: s.width, SiLU: s.silu}
}

func in(t testing.TB, dev driver.Device, x []float32) driver.F32 {
	if x == nil {
		return driver.F32{}
	}
	return optest.In(t, dev, x, 0)
}

// run returns out, dx, dw and db; the sums are added to start.
func (s shape) run(t testing.TB, dev driver.Device, start float32) (out, dx, dw, db []float32) {
	x, w, bias, dout := s.data()
	fill := func(n int) driver.F32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = start
		}
		return optest.In(t, dev, v, 0)
	}
	y, gx, gw, gb := fill(len(x)), fill(len(x)), fill(len(w)), fill(s.channels)
	s.conv().Forward(dev, in(t, dev, x), in(t, dev, w), in(t, dev, bias), y)
	s.conv().Backward(dev, in(t, dev, dout), in(t, dev, x), in(t, dev, w), in(t, dev, bias), gx, gw, gb)
	return optest.Out(t, dev, y), optest.Out(t, dev, gx), optest.Out(t, dev, gw), optest.Out(t, dev, gb)
}

func (s shape) check(t *testing.T, dev driver.Device) {
	x, w, bias, dout := s.data()
	to := optest.To[float64, float32]
	var exactBias []float64
	if bias != nil {
		exactBias = to(bias)
	}
	plain, _ := optest.ShortConv(x, w, bias, s.segments, s.width, s.silu)
	ref, _ := optest.ShortConv(to(x), to(w), exactBias, s.segments, s.width, s.silu)
	px, pw, pb := optest.ShortConvGrad(dout, x, w, bias, s.segments, s.width, s.silu)
	rx, rw, rb := optest.ShortConvGrad(to(dout), to(x), to(w), exactBias, s.segments, s.width, s.silu)
	out, dx, dw, db := s.run(t, dev, 0)
	optest.Within(t, "out", out, plain, ref)
	optest.Within(t, "dx", dx, px, rx)
	optest.Within(t, "dw", dw, pw, rw)
	optest.Within(t, "db", db, pb, rb)
}

func TestCPU(t *testing.T) {
	for _, s := range shapes {
		var first [][]float32
		for _, threads := range optest.Threads {
			dev := optest.CPU(t, threads)
			s.check(t, dev)
			out, dx, dw, db := s.run(t, dev, 1)
			all := [][]float32{out, dx, dw, db}
			if first == nil {
				first = all
			}
			for i := range all {
				optest.Same(t, "with other threads", all[i], first[i])
			}
		}
	}
}

// TestAlone: a sequence has the same bits in a batch of its own as among others.
func TestAlone(t *testing.T) {
	s, dev := shapes[1], optest.CPU(t, 2)
	x, w, bias, _ := s.data()
	out, _, _, _ := s.run(t, dev, 0)
	one := shortconv.Conv{Segments: []int32{0, 37}, Width: s.width, SiLU: s.silu}
	alone := make([]float32, 37*s.channels)
	one.Forward(dev, optest.Dev(x[3*s.channels:40*s.channels]), optest.Dev(w), optest.Dev(bias), optest.Dev(alone))
	optest.Same(t, "out", alone, out[3*s.channels:40*s.channels])
}

// TestSteps: steps token by token after prompts that are shorter and longer than the width
// have the bits of the whole.
func TestSteps(t *testing.T) { steps(t, optest.CPU(t, 2)) }

func steps(t *testing.T, dev driver.Device) {
	for _, s := range shapes[1:] {
		x, w, bias, _ := s.data()
		c, tokens := s.channels, int(s.segments[len(s.segments)-1])
		one := shortconv.Conv{Segments: []int32{0, int32(tokens)}, Width: s.width, SiLU: s.silu}
		whole := optest.In(t, dev, make([]float32, len(x)), 0)
		one.Forward(dev, in(t, dev, x), in(t, dev, w), in(t, dev, bias), whole)
		want := optest.Out(t, dev, whole)
		for _, prompt := range []int{1, s.width, tokens - 2} {
			two := shortconv.Conv{Segments: []int32{0, int32(prompt), int32(2 * prompt)}, Width: s.width, SiLU: s.silu}
			slots := []int32{2, 0}
			tails := optest.In(t, dev, optest.Normal(optest.Rand(1), 3*(s.width-1)*c, 1), 0)
			two.Keep(dev, in(t, dev, append(append([]float32{}, x[:prompt*c]...), x[:prompt*c]...)), slots, tails)
			for row := prompt; row < min(tokens, prompt+s.width+1); row++ {
				next := append(append([]float32{}, x[row*c:(row+1)*c]...), x[row*c:(row+1)*c]...)
				out := optest.In(t, dev, make([]float32, 2*c), 0)
				two.Step(dev, in(t, dev, next), slots, tails, in(t, dev, w), in(t, dev, bias), out)
				got := optest.Out(t, dev, out)
				optest.Same(t, "step", got[:c], want[row*c:(row+1)*c])
				optest.Same(t, "step", got[c:], want[row*c:(row+1)*c])
			}
		}
	}
}
