package xent_test

import (
	"fmt"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/xent"
)

// TestBias: a bias is a column of weights whose input is always 1, on the host and on a
// device; without its gradient, and without any gradients, the other results keep their
// bits.
func TestBias(t *testing.T) {
	for i, p := range []xent.Params{{Rows: 40, Hidden: 12, Vocab: 301}, {Rows: 9, Hidden: 5, Vocab: 6, Smoothing: 0.1, SoftCap: 3}} {
		x := newProblem(uint64(30+i), p, 0.5)
		bias, dbias := optest.Normal(optest.Rand(40), p.Vocab, 1), optest.Normal(optest.Rand(41), p.Vocab, 1)
		for _, dev := range []driver.Device{optest.CPU(t, 2), optest.Device(t, 80)} {
			name := fmt.Sprintf("%v %+v", dev.Kind(), p)
			got, db := runBiased(t, dev, x, bias, dbias)
			sl, sh, sw, sb := biased[float32](x, bias, dbias)
			rl, rh, rw, rb := biased[float64](x, bias, dbias)
			optest.Within(t, name+" loss", got.loss, sl, rl)
			optest.Within(t, name+" dh", got.dh, sh, rh)
			optest.Within(t, name+" dw", got.dw, sw, rw)
			optest.Within(t, name+" db", db, sb, rb)
			frozen, _ := runBiased(t, dev, x, bias, nil)
			optest.Same(t, name+" dw, frozen bias", frozen.dw, got.dw)
			only := x
			only.lossesOnly = true
			losses, _ := runBiased(t, dev, only, bias, nil)
			optest.Same(t, name+" losses only", losses.loss, got.loss)
		}
	}
}

// TestBiasedLogits compares with the product of the longer rows.
func TestBiasedLogits(t *testing.T) {
	const rows, hidden, vocab = 3, 16, 301
	r := optest.Rand(42)
	h, w, bias := optest.Normal(r, rows*hidden, 1), optest.Normal(r, vocab*hidden, 1), optest.Normal(r, vocab, 1)
	plain, exact := optest.Mul(h, w, rows, vocab, hidden, false, true), optest.Mul(optest.To[float64](h), optest.To[float64](w), rows, vocab, hidden, false, true)
	for i := range plain {
		plain[i] += bias[i%vocab]
		exact[i] += float64(bias[i%vocab])
	}
	for _, dev := range []driver.Device{optest.CPU(t, 1), optest.Device(t, 80)} {
		on := placed(t, dev)
		z := on(make([]float32, rows*vocab))
		xent.Logits(dev, xent.Params{Rows: rows, Hidden: hidden, Vocab: vocab, Bias: on(bias)}, on(h), on(w), z)
		optest.Within(t, fmt.Sprint(dev.Kind()), taken(t, dev, z), plain, exact)
	}
}

// placed copies tensors to dev, taken copies them back.
func placed(t *testing.T, dev driver.Device) func([]float32) driver.F32 {
	return func(x []float32) driver.F32 {
		switch {
		case x == nil:
			return driver.F32{}
		case dev.Kind() == driver.CPU:
			return optest.Dev(append([]float32(nil), x...))
		}
		return optest.In(t, dev, x, 0)
	}
}

func taken(t *testing.T, dev driver.Device, x driver.F32) []float32 {
	if dev.Kind() == driver.CPU {
		return x.Host()
	}
	return optest.Out(t, dev, x)
}

func runBiased(t *testing.T, dev driver.Device, x problem, bias, dbias []float32) (result, []float32) {
	on := placed(t, dev)
	p, loss, dh, dw := x.p, on(make([]float32, x.p.Rows)), on(x.h), on(x.dw)
	p.Bias, p.DBias = on(bias), on(dbias)
	if x.lossesOnly {
		xent.Run(dev, p, on(x.h), on(x.w), x.targets, driver.F32{}, loss, driver.F32{}, driver.F32{})
	} else {
		xent.Run(dev, p, on(x.h), on(x.w), x.targets, on(x.weight), loss, dh, dw)
	}
	y := result{taken(t, dev, loss), taken(t, dev, dh), taken(t, dev, dw)}
	if dbias == nil {
		return y, nil
	}
	return y, taken(t, dev, p.DBias)
}

// biased is the plain operation with the bias as one more column of w.
func biased[F optest.Float](x problem, bias, dbias []float32) (loss, dh, dw, db []F) {
	wide, d := x, x.p.Hidden
	wide.p.Hidden, wide.h, wide.w = d+1, nil, nil
	for t := range x.p.Rows {
		wide.h = append(append(wide.h, x.h[t*d:(t+1)*d]...), 1)
	}
	for j := range x.p.Vocab {
		wide.w = append(append(wide.w, x.w[j*d:(j+1)*d]...), bias[j])
	}
	loss, h, w := plain[F](wide).Run()
	for t := range x.p.Rows {
		dh = append(dh, h[t*(d+1):t*(d+1)+d]...)
	}
	for j := range x.p.Vocab {
		for i := range d {
			dw = append(dw, F(x.dw[j*d+i])+w[j*(d+1)+i])
		}
		db = append(db, F(dbias[j])+w[j*(d+1)+d])
	}
	return loss, dh, dw, db
}
