package router_test

import (
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/router"
)

func routePTX(t *testing.T, dev driver.Device, p router.Params, logits, dweight, balance []float32) routed {
	choice := ints(t, dev, make([]int32, p.Tokens*p.TopK))
	zeros := func(n int) driver.F32 { return optest.In(t, dev, make([]float32, n), 0) }
	probs, weight, dlogits := zeros(len(logits)), zeros(choice.Len()), zeros(len(logits))
	router.Forward(dev, p, optest.In(t, dev, logits, 0), probs, choice, weight)
	var dw driver.F32
	if dweight != nil {
		dw = optest.In(t, dev, dweight, 0)
	}
	router.Backward(dev, p, probs, choice, weight, dw, balance, dlogits)
	return routed{optest.Out(t, dev, probs), optest.Out(t, dev, weight), optest.Out(t, dev, dlogits), read(t, dev, choice)}
}

// gradient is dlogits at the given choices, by the softmax's definition.
func gradient[F optest.Float](p router.Params, logits []F, choice []int32, dweight, balance []F) []F {
	var out []F
	for t := range p.Tokens {
		row, ids := logits[t*p.Experts:(t+1)*p.Experts], choice[t*p.TopK:(t+1)*p.TopK]
		prob, w := weights(row, seq(p.Experts), false), weights(row, ids, p.Normalize)
		d := make([]F, p.Experts)
		copy(d, balance)
		if dweight != nil {
			scale, mean := F(1), F(0)
			if p.Normalize {
				var sum F
				for k, e := range ids {
					sum += prob[e]
					mean += w[k] * dweight[t*p.TopK+k]
				}
				scale = 1 / sum
			}
			for k, e := range ids {
				d[e] += scale * (dweight[t*p.TopK+k] - mean)
			}
		}
		var dot F
		for e, v := range d {
			dot += v * prob[e]
		}
		for e, v := range d {
			out = append(out, prob[e]*(v-dot))
		}
	}
	return out
}

// TestPTXRoute: the host's choices, and the tolerance rule for the rest.
func TestPTXRoute(t *testing.T) {
	host, dev, r := optest.CPU(t, 1), optest.Device(t, 80), optest.Rand(4)
	for _, p := range []router.Params{
		{Tokens: 37, Experts: 6, TopK: 2, Normalize: true},
		{Tokens: 5, Experts: 60, TopK: 4},
		{Tokens: 9, Experts: 3, TopK: 3, Normalize: true},
		{Tokens: 4, Experts: 1, TopK: 1},
		{Tokens: 3, Experts: 256, TopK: 8, Normalize: true},
		{Tokens: 0, Experts: 4, TopK: 2},
	} {
		logits, dweight, balance := optest.Normal(r, p.Tokens*p.Experts, 2), optest.Normal(r, p.Tokens*p.TopK, 1), optest.Normal(r, p.Experts, 1)
		if p.Tokens > 2 && p.Experts > 2 { // equal ones: the first comes first
			copy(logits[2*p.Experts:3*p.Experts], make([]float32, p.Experts))
		}
		got, want := routePTX(t, dev, p, logits, dweight, balance), route(host, p, logits, dweight, balance)
		if !slices.Equal(got.choice, want.choice) {
			t.Fatalf("%+v: chose %v, want %v", p, got.choice, want.choice)
		}
		var probs, weight []float32
		var probs64, weight64 []float64
		l64 := optest.To[float64](logits)
		for i := range p.Tokens {
			ids, lo, hi := got.choice[i*p.TopK:(i+1)*p.TopK], i*p.Experts, (i+1)*p.Experts
			probs, probs64 = append(probs, weights(logits[lo:hi], seq(p.Experts), false)...), append(probs64, weights(l64[lo:hi], seq(p.Experts), false)...)
			weight, weight64 = append(weight, weights(logits[lo:hi], ids, p.Normalize)...), append(weight64, weights(l64[lo:hi], ids, p.Normalize)...)
		}
		optest.Within(t, "probs", got.probs, probs, probs64)
		optest.Within(t, "weight", got.weight, weight, weight64)
		d64, b64 := optest.To[float64](dweight), optest.To[float64](balance)
		optest.Within(t, "dlogits", got.dlogits, gradient(p, logits, got.choice, dweight, balance), gradient(p, l64, got.choice, d64, b64))
		got = routePTX(t, dev, p, logits, nil, balance)
		optest.Within(t, "dlogits of the balance", got.dlogits, gradient(p, logits, got.choice, nil, balance), gradient(p, l64, got.choice, nil, b64))
		got = routePTX(t, dev, p, logits, dweight, nil)
		optest.Within(t, "dlogits of the weights", got.dlogits, gradient(p, logits, got.choice, dweight, nil), gradient(p, l64, got.choice, d64, nil))
	}
}

// TestPTXPlan: the host's plan, for experts that nobody or everybody chose, that have whole
// tiles and that are more than threads.
func TestPTXPlan(t *testing.T) {
	host, dev, r := optest.CPU(t, 1), optest.Device(t, 80), optest.Rand(7)
	for _, p := range []router.Params{
		{Tokens: 300, Experts: 5, TopK: 2}, {Tokens: 128, Experts: 3, TopK: 1}, {Tokens: 1, Experts: 600, TopK: 3}, {Tokens: 0, Experts: 4, TopK: 2}, {Tokens: 700, Experts: 1, TopK: 1},
	} {
		for name, chosen := range map[string]int{"any": p.Experts, "the first": 1, "few": min(2, p.Experts)} {
			choice := make([]int32, p.Tokens*p.TopK)
			for i := range choice {
				choice[i] = int32(r.IntN(chosen))
			}
			got, token, slot := group(t, dev, p, choice)
			want, wantToken, wantSlot := group(t, host, p, choice)
			if !slices.Equal(token, wantToken) || !slices.Equal(slot, wantSlot) || !slices.Equal(read(t, dev, got.Offsets), want.Offsets.Host()) ||
				!slices.Equal(read(t, dev, got.Tiles), want.Tiles.Host()) {
				t.Errorf("%+v, %s: the device's plan is another", p, name)
			}
		}
	}
}

// way is the experts' way there and back written out.
type way[F optest.Float] struct{ combined, summed, dy, dweight []F }

func walk[F optest.Float](slots []int32, top int, dout, y, weight []F, d int) way[F] {
	w := way[F]{make([]F, len(dout)), make([]F, len(dout)), make([]F, len(y)), make([]F, len(weight))}
	for i, slot := range slots {
		for c := range d {
			at, from := i/top*d+c, int(slot)*d+c
			w.combined[at] += weight[i] * y[from]
			w.summed[at] += y[from]
			w.dy[from] = weight[i] * dout[at]
			w.dweight[i] += dout[at] * y[from]
		}
	}
	return w
}

func TestPTXWay(t *testing.T) {
	dev, r := optest.Device(t, 80), optest.Rand(5)
	for _, c := range []struct{ d, shift int }{{5, 0}, {516, 0}, {64, 1}, {1030, 0}} {
		p := router.Params{Tokens: 7, Experts: 4, TopK: 2}
		choice := make([]int32, 14)
		for i := range choice {
			choice[i] = int32(r.IntN(3))
		}
		plan, token, slot := group(t, dev, p, choice)
		x, y, weight := optest.Normal(r, 7*c.d, 1), optest.Normal(r, 14*c.d, 1), optest.Normal(r, 14, 1)
		in := func(x []float32) driver.F32 { return optest.In(t, dev, x, c.shift) }
		sent, out, dy, dweight, w := in(make([]float32, len(y))), in(make([]float32, len(x))), in(y), in(make([]float32, 14)), in(weight)
		router.Dispatch(dev, plan, in(x), sent, c.d)
		for i, got := range optest.Out(t, dev, sent) {
			if want := x[int(token[i/c.d])*c.d+i%c.d]; got != want {
				t.Fatalf("place %d got %v, want %v", i/c.d, got, want)
			}
		}
		plain := walk(slot, 2, x, y, weight, c.d)
		ref := walk(slot, 2, optest.To[float64](x), optest.To[float64](y), optest.To[float64](weight), c.d)
		router.Combine(dev, plan, dy, w, out, c.d)
		optest.Within(t, "combined", optest.Out(t, dev, out), plain.combined, ref.combined)
		router.DispatchBackward(dev, plan, dy, out, c.d)
		optest.Within(t, "summed", optest.Out(t, dev, out), plain.summed, ref.summed)
		router.CombineBackward(dev, plan, in(x), dy, w, dy, dweight, c.d)
		optest.Within(t, "dy", optest.Out(t, dev, dy), plain.dy, ref.dy)
		optest.Within(t, "dweight", optest.Out(t, dev, dweight), plain.dweight, ref.dweight)
	}
}

func TestPTXGate(t *testing.T) {
	host, dev, r := optest.CPU(t, 1), optest.Device(t, 80), optest.Rand(6)
	for _, d := range []int{7, 520} {
		const rows = 21
		f := optest.Dev
		x, g, dout := optest.Normal(r, rows*d, 1), optest.Normal(r, rows, 2), optest.Normal(r, rows*d, 1)
		out, dx, dg := make([]float32, rows*d), make([]float32, rows*d), make([]float32, rows)
		router.Gate(host, f(x), f(g), f(out), d)
		router.GateBackward(host, f(dout), f(x), f(g), f(dx), f(dg), d)

		in := func(x []float32) driver.F32 { return optest.In(t, dev, x, 0) }
		a, b, c, gate := in(x), in(dout), in(make([]float32, rows)), in(g)
		router.GateBackward(dev, b, a, gate, b, c, d)
		router.Gate(dev, a, gate, a, d)
		optest.Near(t, "out", optest.Out(t, dev, a), out, 1e-6)
		optest.Near(t, "dx", optest.Out(t, dev, b), dx, 1e-6)
		optest.Near(t, "dgate", optest.Out(t, dev, c), dg, 2e-6)
	}
}

func TestPTXTraffic(t *testing.T) {
	dev := optest.Sim(t)
	const d, tokens = 2048, 8
	p := router.Params{Tokens: tokens, Experts: 4, TopK: 2}
	choice := make([]int32, 2*tokens)
	for i := range choice {
		choice[i] = int32(i % 4)
	}
	plan, _, _ := group(t, dev, p, choice)
	zeros := func(n int) driver.F32 { return optest.In(t, dev, make([]float32, n), 0) }
	x, y, weight, dweight := zeros(tokens*d), zeros(2*tokens*d), zeros(2*tokens), zeros(2*tokens)
	router.Dispatch(dev, plan, x, y, d)
	optest.Frugal(t, dev, "router_dispatch", 4*4*tokens*d)
	router.Combine(dev, plan, y, weight, x, d)
	optest.Frugal(t, dev, "router_combine", 3*4*tokens*d)
	router.CombineBackward(dev, plan, x, y, weight, y, dweight, d)
	optest.Frugal(t, dev, "router_combine_backward", 6*4*tokens*d)
	gate := zeros(tokens)
	router.Gate(dev, x, gate, x, d)
	optest.Frugal(t, dev, "router_gate", 2*4*tokens*d)
	router.GateBackward(dev, x, x, gate, x, zeros(tokens), d)
	optest.Frugal(t, dev, "router_gate_backward", 3*4*tokens*d)
}
