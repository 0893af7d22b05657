package selector

import (
	"math/rand/v2"
	"os"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/algotest"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/model/decoder"
	"dataflex.dev/dataflex/model/optim"
)

// rows are random sequences in families: each family repeats two tokens, so that the gradients
// of its rows are similar. Row i belongs to family i%families.
func rows(n, families int, seed uint64) []data.Example {
	r := rand.New(rand.NewPCG(seed, 3))
	out := make([]data.Example, n)
	for i := range out {
		f := int32(i % families)
		length := 8 + r.IntN(6)
		ids := make([]int32, length)
		for t := range ids {
			ids[t] = 4*f + int32(t%2)
			if r.IntN(4) == 0 {
				ids[t] = int32(r.IntN(algotest.Vocab))
			}
		}
		out[i] = data.Example{ID: data.ID{Dataset: "pool", Row: i}, InputIDs: ids, Labels: append([]int32(nil), ids...)}
	}
	return out
}

// bare is a run without a model, of a pool of n rows.
func bare(n int) *algo.Run {
	return &algo.Run{Train: make([]data.Example, n), Seed: 42, Updates: 4, Log: algotest.Quiet}
}

// whole is a run with a model, adapters and moments that are not zero.
func whole(t *testing.T, pool, eval []data.Example) *algo.Run {
	t.Helper()
	dev := cpu.New(2)
	m, err := decoder.Load(dev, algotest.Model(t, 3, modelKeys), decoder.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(4, 5))
	if err := m.AddLoRA(decoder.LoRA{Rank: 2, Alpha: 4, Targets: []string{"all"}}, r.Float64); err != nil {
		t.Fatal(err)
	}
	params := m.Trainable()
	for _, p := range params {
		for i, x := range p.Data.Host() {
			p.Data.Host()[i] = x + float32(0.1*r.NormFloat64())
		}
	}
	o, err := optim.NewAdamW(dev, optim.Groups(params, 0), 0.9, 0.999, 1e-8)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for _, p := range params {
			for i := range p.Grad.Host() {
				p.Grad.Host()[i] = float32(0.01 * r.NormFloat64())
			}
		}
		o.Step(1e-3, 1)
	}
	for _, p := range params {
		clear(p.Grad.Host())
	}
	t.Cleanup(func() { o.Close(); m.Close(); dev.Close() })
	return &algo.Run{Device: dev, Model: m, Optimizer: o, Train: pool, Eval: eval, Seed: 42, Updates: 4, Log: algotest.Quiet}
}

// build makes a selector from its parameters as in components.yaml.
func build(t *testing.T, run *algo.Run, name, mode string, params ...string) (algo.Selector, error) {
	t.Helper()
	return algo.BuildSelector(run, algotest.Component(t, "selectors", name, mode, params...))
}

func mustBuild(t *testing.T, run *algo.Run, name, mode string, params ...string) algo.Selector {
	t.Helper()
	s, err := build(t, run, name, mode, params...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func writeFile(path string, raw []byte) error { return os.WriteFile(path, raw, 0o644) }

// modelKeys make a model whose answers earn rewards: its outputs are nearly uniform.
var modelKeys = map[string]any{"initializer_range": 0.1}
