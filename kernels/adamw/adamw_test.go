package adamw_test

import (
	"math"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/adamw"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/simd"
)

// TestGolden: six steps with clipping have the bits of torch 2.7.1.
func TestGolden(t *testing.T) {
	var g struct {
		LR          float64
		Betas       [2]float64
		Eps         float64
		WeightDecay float64 `json:"weight_decay"`
		Start       []float32
		Steps       []struct {
			G, P, M, V []float32
			GradScale  float32 `json:"grad_scale"`
		}
	}
	optest.Golden(t, &g)
	dev, f := optest.CPU(t, 2), optest.Dev
	for _, level := range simd.Levels() {
		simd.Force(level)
		p, m, v := optest.To[float32](g.Start), make([]float32, len(g.Start)), make([]float32, len(g.Start))
		for i, s := range g.Steps {
			h := adamw.Hyper{
				LR: g.LR, Beta1: g.Betas[0], Beta2: g.Betas[1], Eps: g.Eps, WeightDecay: g.WeightDecay,
				Step: i + 1, GradScale: s.GradScale,
			}
			adamw.Step(dev, h, adamw.Param{P: f(p), G: f(s.G), M: f(m), V: f(v)})
			optest.Same(t, level+" m", m, s.M)
			optest.Same(t, level+" v", v, s.V)
			optest.Same(t, level+" p", p, s.P)
		}
	}
}

// plain is the textbook step.
func plain[F optest.Float](p, g, m, v []F, h adamw.Hyper) {
	b1, b2 := F(h.Beta1), F(h.Beta2)
	for i := range p {
		gi := F(h.GradScale) * g[i]
		p[i] -= F(h.LR*h.WeightDecay) * p[i]
		m[i] = b1*m[i] + (1-b1)*gi
		v[i] = b2*v[i] + (1-b2)*gi*gi
		mh := m[i] / F(1-math.Pow(h.Beta1, float64(h.Step)))
		vh := v[i] / F(1-math.Pow(h.Beta2, float64(h.Step)))
		p[i] -= F(h.LR) * mh / (F(math.Sqrt(float64(vh))) + F(h.Eps))
	}
}

func TestAgainstFloat64(t *testing.T) {
	r := optest.Rand(1)
	for _, n := range []int{0, 1, 9, 40001} {
		p, m := optest.Normal(r, n, 1), optest.Normal(r, n, 0.1)
		v := optest.Normal(r, n, 0.1)
		for i := range v {
			v[i] *= v[i]
		}
		p2, m2, v2 := optest.To[float32](p), optest.To[float32](m), optest.To[float32](v)
		p3, m3, v3 := optest.To[float64](p), optest.To[float64](m), optest.To[float64](v)
		one, many := optest.CPU(t, 1), optest.CPU(t, 5)
		p4, m4, v4 := optest.To[float32](p), optest.To[float32](m), optest.To[float32](v)
		for step := 3; step < 6; step++ {
			g := optest.Normal(r, n, 1)
			h := adamw.Hyper{LR: 0.01, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.1, Step: step, GradScale: 0.5}
			step := func(dev driver.Device, p, m, v []float32) {
				adamw.Step(dev, h, adamw.Param{P: optest.Dev(p), G: optest.Dev(g), M: optest.Dev(m), V: optest.Dev(v)})
			}
			step(one, p, m, v)
			step(many, p4, m4, v4)
			plain(p2, g, m2, v2, h)
			plain(p3, optest.To[float64](g), m3, v3, h)
		}
		optest.Within(t, "p", p, p2, p3)
		optest.Within(t, "m", m, m2, m3)
		optest.Within(t, "v", v, v2, v3)
		optest.Same(t, "p on 5 threads", p4, p)
		optest.Same(t, "m on 5 threads", m4, m)
		optest.Same(t, "v on 5 threads", v4, v)
	}
}
