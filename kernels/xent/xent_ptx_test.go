package xent_test

import (
	"fmt"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/xent"
)

func runPTX(t *testing.T, dev driver.Device, x problem) result {
	in := func(x []float32) driver.F32 { return optest.In(t, dev, x, 0) }
	loss, dh, dw := in(make([]float32, x.p.Rows)), in(x.h), in(x.dw)
	if x.lossesOnly {
		xent.Run(dev, x.p, in(x.h), in(x.w), x.targets, driver.F32{}, loss, driver.F32{}, driver.F32{})
	} else {
		xent.Run(dev, x.p, in(x.h), in(x.w), x.targets, in(x.weight), loss, dh, dw)
	}
	return result{optest.Out(t, dev, loss), optest.Out(t, dev, dh), optest.Out(t, dev, dw)}
}

func TestPTX(t *testing.T) {
	dev := optest.Device(t, 80)
	for _, x := range append(problems()[:6], newProblem(20, xent.Params{Rows: 5, Hidden: 8, Vocab: 4099}, 1)) {
		name := fmt.Sprintf("%+v", x.p)
		got := runPTX(t, dev, x)
		sl, sh, sw := plain[float32](x).Run()
		rl, rh, rw := plain[float64](x).Run()
		for i, v := range x.dw {
			sw[i] += v
			rw[i] += float64(v)
		}
		optest.Within(t, name+" loss", got.loss, sl, rl)
		optest.Within(t, name+" dh", got.dh, sh, rh)
		optest.Within(t, name+" dw", got.dw, sw, rw)
		only := x
		only.lossesOnly = true
		optest.Same(t, name+" losses only", runPTX(t, dev, only).loss, got.loss)
	}
}

// TestPTXRowAlone: a row's loss and gradient do not depend on the others.
func TestPTXRowAlone(t *testing.T) {
	dev := optest.Device(t, 80)
	x := newProblem(21, xent.Params{Rows: 9, Hidden: 24, Vocab: 300, Smoothing: 0.1}, 1)
	x.targets[8] = 7
	want := runPTX(t, dev, x)
	one := x
	one.p.Rows, one.h, one.targets, one.weight = 1, x.h[8*24:], x.targets[8:], x.weight[8:]
	got := runPTX(t, dev, one)
	optest.Same(t, "loss", got.loss, want.loss[8:])
	optest.Same(t, "dh", got.dh, want.dh[8*24:])
}

func TestPTXLogits(t *testing.T) {
	dev, host := optest.Device(t, 80), optest.CPU(t, 1)
	p := xent.Params{Rows: 3, Hidden: 16, Vocab: 301, SoftCap: 4, LogitScale: 0.5}
	r := optest.Rand(22)
	h, w, want := optest.Normal(r, 3*16, 1), optest.Normal(r, 301*16, 1), make([]float32, 3*301)
	xent.Logits(host, p, optest.Dev(h), optest.Dev(w), optest.Dev(want))
	z := optest.In(t, dev, want, 0)
	xent.Logits(dev, p, optest.In(t, dev, h, 0), optest.In(t, dev, w, 0), z)
	optest.Near(t, "logits", optest.Out(t, dev, z), want, 5e-7)
}

// TestPTXTraffic: the kernels around the products read a logit twice and write it once, and
// copy rows in full sectors.
func TestPTXTraffic(t *testing.T) {
	dev := optest.Sim(t)
	for _, p := range []xent.Params{{Rows: 16, Hidden: 8, Vocab: 4096}, {Rows: 16, Hidden: 8, Vocab: 4096, SoftCap: 20}, {Rows: 64, Hidden: 512, Vocab: 16}} {
		m, v, k := uint64(p.Rows), uint64(p.Vocab), uint64(p.Hidden)
		x := newProblem(23, p, 0.1)
		for i := range x.targets {
			x.targets[i] = int32(i % p.Vocab)
		}
		dev.ResetCounters()
		runPTX(t, dev, x)
		switch {
		case k > v:
			optest.Frugal(t, dev, "xent_gather", 2*4*m*k)
			optest.Frugal(t, dev, "xent_scatter", 2*4*m*k)
			optest.Frugal(t, dev, "xent_clear", 4*(m+m*k))
		case p.SoftCap > 0:
			optest.Frugal(t, dev, "xent_rows_capped", 3*4*m*v)
		default:
			optest.Frugal(t, dev, "xent_rows", 3*4*m*v)
		}
	}
	const rows, vocab = 16, 512
	z := optest.In(t, dev, make([]float32, rows*vocab), 0)
	xent.Logits(dev, xent.Params{Rows: rows, Hidden: 8, Vocab: vocab, SoftCap: 4}, optest.In(t, dev, make([]float32, rows*8), 0), optest.In(t, dev, make([]float32, vocab*8), 0), z)
	optest.Frugal(t, dev, "xent_cap", 2*4*rows*vocab)
}
