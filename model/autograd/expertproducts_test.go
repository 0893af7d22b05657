package autograd

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/router"
	"dataflex.dev/dataflex/model/tensor"
)

// expertSet is layers of one kind, which sixteen experts compute on a device.
type expertSet struct {
	half, lora, trains, bias bool
}

const setTokens, setTop, setExperts, setIn, setOut, setRank = 90, 2, 16, 24, 40, 5

func (s expertSet) layers(t *testing.T, dev driver.Device, r *rand.Rand) (layers []*Linear, trained []*tensor.Param) {
	make := func(half, trains bool, shape ...int) *tensor.Param {
		form := tensor.New
		if half {
			form = tensor.NewBF16
		}
		p, err := form(dev, "p", shape...)
		if err == nil {
			err = p.Write(dev, func(w []float32) error {
				for i := range w {
					w[i] = r.Float32() - 0.5
				}
				return nil
			})
		}
		if err == nil && trains {
			trained, err = append(trained, p), p.Train(dev)
		}
		if err == nil && trains {
			err = driver.Upload(dev, p.Grad, optest.Normal(r, p.Size(), 1))
		}
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for range setExperts {
		l := &Linear{In: setIn, Out: setOut, Weight: make(s.half, s.trains, setOut, setIn)}
		if s.bias {
			l.Bias = make(false, s.trains, setOut)
		}
		if s.lora {
			l.LoRA = &LoRA{A: make(false, true, setRank, setIn), B: make(false, true, setOut, setRank), Rank: setRank, Scale: 1.5}
		}
		layers = append(layers, l)
	}
	return layers, trained
}

// pass computes y, dx and the gradients of what trains, all experts together or one by one.
func (s expertSet) pass(t *testing.T, dev driver.Device, together bool) (out [][]float32) {
	r := optest.Rand(17)
	layers, trained := s.layers(t, dev, r)
	tape := New(dev)
	defer tape.Close()
	tape.Begin(Mode{Record: true})
	p := router.Params{Tokens: setTokens, Experts: setExperts, TopK: setTop}
	choice := make([]int32, setTokens*setTop)
	for i := range choice {
		choice[i] = int32(r.IntN(4) * r.IntN(5)) // some have no rows, the first has many
	}
	numbers := tape.buffer(len(choice) + p.PlanSize()).ints()
	upload(t, dev, numbers.Sub(0, len(choice)), choice)
	routed := &Routing{params: p, dev: dev, plan: router.Group(dev, p, numbers.Sub(0, len(choice)), numbers.Sub(len(choice), numbers.Len()))}
	x := tape.value(len(choice), setIn, true)
	upload(t, dev, x.data.mem, optest.Normal(r, len(choice)*setIn, 1))
	l := linears{layers: layers, routed: routed}
	if !tape.together(l) {
		t.Fatal("the device does not compute these experts together")
	}
	if !together {
		if err := l.apart(); err != nil {
			t.Fatal(err)
		}
	}
	y := tape.linear(x, l)
	y.grad = tape.buffer(y.Rows * y.Cols)
	upload(t, dev, y.grad.mem, optest.Normal(r, y.Rows*y.Cols, 1))
	out = append(out, download(t, dev, y.Data()))
	if err := tape.Backward(); err != nil {
		t.Fatal(err)
	}
	if together && routed.offsets != nil {
		t.Error("the host has read the experts' rows")
	}
	out = append(out, download(t, dev, x.grad.mem))
	for _, p := range trained {
		out = append(out, download(t, dev, p.Grad))
	}
	return out
}

func upload[T driver.Element](t *testing.T, dev driver.Device, to driver.Slice[T], x []T) {
	t.Helper()
	if err := driver.Upload(dev, to, x); err != nil {
		t.Fatal(err)
	}
}

func download(t *testing.T, dev driver.Device, x driver.F32) []float32 {
	t.Helper()
	out, err := driver.Read(dev, x)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestExpertsTogether: outputs and gradients of experts that share launches have the bits of
// experts computed one by one, and the host reads nothing.
func TestExpertsTogether(t *testing.T) {
	for name, s := range map[string]expertSet{
		"full":       {trains: true},
		"biases":     {trains: true, bias: true},
		"LoRA":       {lora: true, bias: true},
		"frozen":     {},
		"full, bf16": {half: true, trains: true, bias: true},
		"LoRA, bf16": {half: true, lora: true},
	} {
		for _, capability := range []int{80, 90} {
			t.Run(fmt.Sprintf("%s, sm_%d", name, capability), func(t *testing.T) {
				dev := optest.Device(t, capability)
				got, want := s.pass(t, dev, true), s.pass(t, dev, false)
				for i := range want {
					optest.Same(t, fmt.Sprint("value ", i), got[i], want[i])
				}
			})
		}
	}
}
