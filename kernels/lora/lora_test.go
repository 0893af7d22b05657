package lora_test

import (
	"fmt"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/lora"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/simd"
)

// problem is one random call; y, dx, da and db hold something before.
type problem struct {
	t, in, out, r              int
	scale                      float32
	x, a, b, y, dy, dx, da, db []float32
}

func newProblem(seed uint64, t, in, out, r int) problem {
	rnd := optest.Rand(seed)
	n := func(n int) []float32 { return optest.Normal(rnd, n, 1) }
	return problem{t, in, out, r, 1.7, n(t * in), n(r * in), n(out * r), n(t * out), n(t * out), n(t * in), n(r * in), n(out * r)}
}

type result struct{ u, y, v, dx, da, db []float32 }

func run(dev driver.Device, p problem) result {
	c := func(x []float32) []float32 { return append([]float32(nil), x...) }
	r := result{make([]float32, p.t*p.r), c(p.y), make([]float32, p.t*p.r), c(p.dx), c(p.da), c(p.db)}
	p.on(dev, optest.Dev, r)
	return r
}

// on runs forwards and backwards in memory that place gives.
func (p problem) on(dev driver.Device, place func([]float32) driver.F32, r result) {
	w := lora.Branch{
		A: gemm.Dense(place(p.a), p.r, p.in), B: gemm.Dense(place(p.b), p.out, p.r), Scale: p.scale,
		DA: gemm.Dense(place(r.da), p.r, p.in), DB: gemm.Dense(place(r.db), p.out, p.r),
	}
	x, u := gemm.Dense(place(p.x), p.t, p.in), gemm.Dense(place(r.u), p.t, p.r)
	w.Forward(dev, x, u, gemm.Dense(place(r.y), p.t, p.out))
	dy, v := gemm.Dense(place(p.dy), p.t, p.out), gemm.Dense(place(r.v), p.t, p.r)
	w.Backward(dev, dy, v, gemm.Dense(place(r.dx), p.t, p.in))
	w.Gradient(dev, dy, x, u, v)
}

// plain is the op written out.
func plain[F optest.Float](p problem) map[string][]F {
	x, a, b, dy := optest.To[F](p.x), optest.To[F](p.a), optest.To[F](p.b), optest.To[F](p.dy)
	u, y := optest.LoRA(x, a, b, optest.To[F](p.y), F(p.scale), p.t, p.in, p.out, p.r)
	v, dx, da, db := optest.LoRAGrad(dy, x, a, b, F(p.scale), p.t, p.in, p.out, p.r)
	add := func(g []F, before []float32) []F {
		for i, w := range before {
			g[i] += F(w)
		}
		return g
	}
	return map[string][]F{"u": u, "y": y, "v": v, "dx": add(dx, p.dx), "da": add(da, p.da), "db": add(db, p.db)}
}

func (r result) named() map[string][]float32 {
	return map[string][]float32{"u": r.u, "y": r.y, "v": r.v, "dx": r.dx, "da": r.da, "db": r.db}
}

func TestAgainstFloat64(t *testing.T) {
	for _, level := range simd.Levels() {
		simd.Force(level)
		for i, s := range [][4]int{{1, 1, 1, 1}, {65, 40, 24, 8}, {33, 128, 96, 16}, {7, 65, 300, 3}, {130, 48, 50, 64}} {
			p := newProblem(uint64(i), s[0], s[1], s[2], s[3])
			got := run(optest.CPU(t, 1), p)
			small, ref := plain[float32](p), plain[float64](p)
			for what, g := range got.named() {
				optest.Within(t, fmt.Sprintf("%s %v %s", level, s, what), g, small[what], ref[what])
			}
			for _, threads := range optest.Threads {
				again := run(optest.CPU(t, threads), p).named()
				for what, g := range got.named() {
					optest.Same(t, fmt.Sprintf("%s %v %s", level, s, what), again[what], g)
				}
			}
		}
	}
}

func TestReferenceGradient(t *testing.T) {
	p := newProblem(9, 3, 4, 5, 2)
	x, a, b, y := optest.To[float64](p.x), optest.To[float64](p.a), optest.To[float64](p.b), optest.To[float64](p.y)
	dy := optest.To[float64](p.dy)
	_, dx, da, db := optest.LoRAGrad(dy, x, a, b, 1.7, 3, 4, 5, 2)
	f := func() float64 { _, out := optest.LoRA(x, a, b, y, 1.7, 3, 4, 5, 2); return optest.Inner(out, dy) }
	optest.FiniteDifference(t, "dx", f, x, dx)
	optest.FiniteDifference(t, "da", f, a, da)
	optest.FiniteDifference(t, "db", f, b, db)
}

// TestRowAlone: u, y, v and dx of a token do not depend on the tokens beside it.
func TestRowAlone(t *testing.T) {
	dev := optest.CPU(t, 2)
	p := newProblem(4, 50, 96, 80, 8)
	all := run(dev, p)
	for _, i := range []int{0, 17, 49} {
		one := p
		one.t, one.x, one.y = 1, p.x[i*p.in:(i+1)*p.in], p.y[i*p.out:(i+1)*p.out]
		one.dy, one.dx = p.dy[i*p.out:(i+1)*p.out], p.dx[i*p.in:(i+1)*p.in]
		got := run(dev, one)
		optest.Same(t, "u", got.u, all.u[i*p.r:(i+1)*p.r])
		optest.Same(t, "y", got.y, all.y[i*p.out:(i+1)*p.out])
		optest.Same(t, "v", got.v, all.v[i*p.r:(i+1)*p.r])
		optest.Same(t, "dx", got.dx, all.dx[i*p.in:(i+1)*p.in])
	}
}

func TestNotWanted(t *testing.T) {
	dev := optest.CPU(t, 1)
	p := newProblem(5, 9, 12, 10, 4)
	want := run(dev, p)
	v, f := make([]float32, 36), optest.Dev
	var none gemm.F32
	w := lora.Branch{A: gemm.Dense(f(p.a), p.r, p.in), B: gemm.Dense(f(p.b), p.out, p.r), Scale: p.scale}
	dy, into := gemm.Dense(f(p.dy), p.t, p.out), gemm.Dense(f(v), p.t, p.r)
	w.Backward(dev, dy, into, none)
	w.Gradient(dev, dy, none, none, into)
	optest.Same(t, "v", v, want.v)
	optest.Panics(t, "lora: one of dA and dB is nil", func() {
		w.DA = gemm.Dense(f(p.da), p.r, p.in)
		w.Gradient(dev, dy, gemm.Dense(f(p.x), p.t, p.in), gemm.Dense(f(want.u), p.t, p.r), into)
	})
}
