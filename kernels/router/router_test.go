package router_test

import (
	"math"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/router"
)

// weights are a token's, of given choices, by their definition.
func weights[F optest.Float](logits []F, choice []int32, normalize bool) []F {
	var all, sum F
	var w []F
	for _, z := range logits {
		all += F(math.Exp(float64(z)))
	}
	for _, e := range choice {
		p := F(math.Exp(float64(logits[e]))) / all
		w, sum = append(w, p), sum+p
	}
	for k := range w {
		if normalize {
			w[k] /= sum
		}
	}
	return w
}

type routed struct {
	probs, weight, dlogits []float32
	choice                 []int32
}

func route(dev driver.Device, p router.Params, logits, dweight, balance []float32) routed {
	r := routed{make([]float32, len(logits)), make([]float32, p.Tokens*p.TopK), make([]float32, len(logits)), make([]int32, p.Tokens*p.TopK)}
	f := optest.Dev
	router.Forward(dev, p, f(logits), f(r.probs), driver.FromHost(r.choice), f(r.weight))
	router.Backward(dev, p, f(r.probs), driver.FromHost(r.choice), f(r.weight), f(dweight), balance, f(r.dlogits))
	return r
}

// TestRoute compares choices with a sort, weights with their definition, and the
// gradient with differences of the definition at fixed choices.
func TestRoute(t *testing.T) {
	r := optest.Rand(1)
	for _, p := range []router.Params{
		{Tokens: 37, Experts: 6, TopK: 2, Normalize: true}, {Tokens: 5, Experts: 60, TopK: 4}, {Tokens: 9, Experts: 3, TopK: 3, Normalize: true}, {Tokens: 4, Experts: 1, TopK: 1},
	} {
		logits, dweight, balance := optest.Normal(r, p.Tokens*p.Experts, 2), optest.Normal(r, p.Tokens*p.TopK, 1), optest.Normal(r, p.Experts, 1)
		got := route(optest.CPU(t, 2), p, logits, dweight, balance)
		var plain []float32
		var ref, gradient []float64
		for i := range p.Tokens {
			row, choice := logits[i*p.Experts:(i+1)*p.Experts], got.choice[i*p.TopK:(i+1)*p.TopK]
			order := make([]int32, p.Experts)
			for e := range order {
				order[e] = int32(e)
			}
			slices.SortStableFunc(order, func(a, b int32) int { return int(math.Copysign(1, float64(row[b]-row[a]))) })
			if !slices.Equal(choice, order[:p.TopK]) {
				t.Fatalf("token %d chose %v, want %v", i, choice, order[:p.TopK])
			}
			row64 := optest.To[float64](row)
			plain, ref = append(plain, weights(row, choice, p.Normalize)...), append(ref, weights(row64, choice, p.Normalize)...)
			f := func() float64 {
				d := optest.Inner(weights(row64, choice, p.Normalize), optest.To[float64](dweight[i*p.TopK:(i+1)*p.TopK]))
				return d + optest.Inner(weights(row64, seq(p.Experts), false), optest.To[float64](balance))
			}
			for e, z := range row64 {
				const h = 1e-5
				row64[e] = z + h
				up := f()
				row64[e] = z - h
				gradient = append(gradient, (up-f())/(2*h))
				row64[e] = z
			}
		}
		optest.Within(t, "weight", got.weight, plain, ref)
		optest.Near(t, "dlogits", got.dlogits, optest.To[float32](gradient), 1e-5)
		for _, threads := range optest.Threads {
			again := route(optest.CPU(t, threads), p, logits, dweight, balance)
			optest.Same(t, "weight", again.weight, got.weight)
			optest.Same(t, "dlogits", again.dlogits, got.dlogits)
		}
	}
}

func seq(n int) []int32 {
	s := make([]int32, n)
	for i := range s {
		s[i] = int32(i)
	}
	return s
}

// ints is x on the device, or itself on the host.
func ints(t testing.TB, dev driver.Device, x []int32) driver.I32 {
	if dev.Kind() == driver.CPU {
		return driver.FromHost(x)
	}
	mem, err := dev.Alloc(4 * len(x))
	if err != nil {
		t.Fatal(err)
	}
	out := driver.View[int32](mem)
	if err := driver.Upload(dev, out, x); err != nil {
		t.Fatal(err)
	}
	return out
}

func read(t testing.TB, dev driver.Device, x driver.I32) []int32 {
	out, err := driver.Read(dev, x)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// group is the plan of choice, and its lists on the host.
func group(t testing.TB, dev driver.Device, p router.Params, choice []int32) (plan router.Plan, token, slot []int32) {
	plan = router.Group(dev, p, ints(t, dev, choice), ints(t, dev, make([]int32, p.PlanSize())))
	return plan, read(t, dev, plan.Token), read(t, dev, plan.Slot)
}

// TestManyExperts: the host's plan has room for more experts than a device's.
func TestManyExperts(t *testing.T) {
	p := router.Params{Tokens: 2, Experts: router.MaxDeviceExperts + 1, TopK: 1}
	plan, token, slot := group(t, optest.CPU(t, 1), p, []int32{router.MaxDeviceExperts, 3})
	if tiles := plan.Tiles.Host(); !slices.Equal(token, []int32{1, 0}) || !slices.Equal(slot, []int32{1, 0}) || !slices.Equal(tiles[:4], []int32{3, 0, router.MaxDeviceExperts, 1}) {
		t.Errorf("tokens %v in places %v, tiles %v", token, slot, tiles)
	}
}

// TestTies: of equal logits the first expert comes first.
func TestTies(t *testing.T) {
	p := router.Params{Tokens: 1, Experts: 4, TopK: 3}
	if got := route(optest.CPU(t, 1), p, []float32{1, 2, 1, 2}, make([]float32, 3), nil); !slices.Equal(got.choice, []int32{1, 3, 0}) {
		t.Errorf("chose %v", got.choice)
	}
}

// TestWay checks the way to the experts and back, and its gradients, against sums over
// tokens and choices, with an expert that nobody chose.
func TestWay(t *testing.T) {
	const d = 5
	p := router.Params{Tokens: 4, Experts: 4, TopK: 2}
	choice := []int32{3, 0, 0, 1, 3, 1, 0, 3}
	plan, token, slot := group(t, optest.CPU(t, 1), p, choice)
	if !slices.Equal(plan.Offsets.Host(), []int32{0, 3, 5, 5, 8}) || !slices.Equal(token, []int32{0, 1, 3, 1, 2, 0, 2, 3}) ||
		!slices.Equal(slot, []int32{5, 0, 1, 3, 6, 4, 2, 7}) || !slices.Equal(plan.Tiles.Host(), []int32{0, 0, 1, 3, 3, 5, -1, -1}) {
		t.Fatalf("plan %+v", plan)
	}
	r, f := optest.Rand(2), optest.Dev
	x, dout, weight := optest.Normal(r, 4*d, 1), optest.Normal(r, 4*d, 1), optest.Normal(r, 8, 1)
	dev := optest.CPU(t, 2)
	sent, out, back := make([]float32, 8*d), make([]float32, 4*d), make([]float32, 4*d)
	router.Dispatch(dev, plan, f(x), f(sent), d)
	for i := range sent {
		if sent[i] != x[int(token[i/d])*d+i%d] {
			t.Fatalf("place %d got %v", i/d, sent[i])
		}
	}
	y := optest.Normal(r, 8*d, 1)
	router.Combine(dev, plan, f(y), f(weight), f(out), d)
	router.DispatchBackward(dev, plan, f(y), f(back), d)
	dy, dweight := append([]float32(nil), y...), make([]float32, 8)
	router.CombineBackward(dev, plan, f(dout), f(dy), f(weight), f(dy), f(dweight), d)
	for i := range 4 * d {
		tok, c := i/d, i%d
		a, b := slot[2*tok], slot[2*tok+1]
		ya, yb := y[int(a)*d+c], y[int(b)*d+c]
		near(t, "combined", out[i], weight[2*tok]*ya+weight[2*tok+1]*yb)
		near(t, "summed", back[i], ya+yb)
		near(t, "dy", dy[int(a)*d+c], weight[2*tok]*dout[i])
	}
	for i := range 8 {
		var dot float32
		for c := range d {
			dot += dout[i/2*d+c] * y[int(slot[i])*d+c]
		}
		near(t, "dweight", dweight[i], dot)
	}
}

func near(t *testing.T, what string, got, want float32) {
	t.Helper()
	if math.Abs(float64(got-want)) > 1e-5 {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// TestGate checks out = σ(g)·x and its gradients by differences in float64.
func TestGate(t *testing.T) {
	const rows, d = 21, 7
	r, f := optest.Rand(3), optest.Dev
	x, g, dout := optest.Normal(r, rows*d, 1), optest.Normal(r, rows, 2), optest.Normal(r, rows*d, 1)
	dev := optest.CPU(t, 2)
	out, dg := make([]float32, rows*d), make([]float32, rows)
	router.Gate(dev, f(x), f(g), f(out), d)
	dx := append([]float32(nil), dout...)
	router.GateBackward(dev, f(dx), f(x), f(g), f(dx), f(dg), d)
	for i := range rows {
		s := 1 / (1 + math.Exp(-float64(g[i])))
		var dot float64
		for c := range d {
			near(t, "out", out[i*d+c], float32(s)*x[i*d+c])
			near(t, "dx", dx[i*d+c], float32(s)*dout[i*d+c])
			dot += float64(x[i*d+c]) * float64(dout[i*d+c])
		}
		near(t, "dgate", dg[i], float32(s*(1-s)*dot))
	}
}

func TestPanics(t *testing.T) {
	dev, f := optest.CPU(t, 1), optest.Dev
	x := f(make([]float32, 8))
	p := router.Params{Tokens: 2, Experts: 4, TopK: 5}
	optest.Panics(t, "router: Tokens < 0, or TopK not within 1 and Experts", func() { router.Forward(dev, p, x, x, driver.I32{}, x) })
	p.TopK = 2
	optest.Panics(t, "router: choice or weight is not [T, K]", func() { router.Forward(dev, p, x, x, driver.FromHost(make([]int32, 4)), x) })
	optest.Panics(t, "router: x or out is not [T, d]", func() { router.Gate(dev, x, x, x, 2) })
	plan, _, _ := group(t, dev, p, []int32{0, 1, 2, 3})
	optest.Panics(t, "router: a tensor is not [T, d] or [T·K, d]", func() { router.Dispatch(dev, plan, x, x, 4) })
}
