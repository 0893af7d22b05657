package weighter

import (
	"math"
	"math/rand/v2"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/algotest"
	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/model/decoder"
)

// rows are random sequences; every seventh has no labelled token.
func rows(n int, seed uint64) []data.Example {
	r := rand.New(rand.NewPCG(seed, 3))
	out := make([]data.Example, n)
	for i := range out {
		ids := make([]int32, 6+r.IntN(6))
		for t := range ids {
			ids[t] = int32(r.IntN(algotest.Vocab))
		}
		labels := append([]int32(nil), ids...)
		if i%7 == 6 {
			for t := range labels {
				labels[t] = data.IgnoreIndex
			}
		}
		out[i] = data.Example{ID: data.ID{Dataset: "pool", Row: i}, InputIDs: ids, Labels: labels}
	}
	return out
}

// loaded is a run with a random tiny llama.
func loaded(t *testing.T, train, eval []data.Example) *algo.Run {
	t.Helper()
	dev := cpu.New(1)
	m, err := decoder.Load(dev, algotest.Model(t, 1, nil), decoder.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return &algo.Run{Device: dev, Model: m, Train: train, Eval: eval, Seed: 42, Log: algotest.Quiet}
}

// request asks for the weights of groups of rows, whose losses loss gives.
func request(train []data.Example, loss func(row int) float64, groups ...[]int) algo.WeightRequest {
	r := algo.WeightRequest{Step: 3, Total: 12}
	for _, g := range groups {
		m := batch.Pack(train, g)
		losses := make([]float64, len(g))
		for i, row := range g {
			if losses[i] = loss(row); m.Labelled[i] == 0 {
				losses[i] = math.NaN()
			}
		}
		r.Micros, r.Loss = append(r.Micros, m), append(r.Loss, losses)
	}
	return r
}

// build makes a weighter from its parameters as in components.yaml.
func build(t *testing.T, run *algo.Run, name, mode string, params ...string) (algo.Weighter, error) {
	t.Helper()
	return algo.BuildWeighter(run, algotest.Component(t, "weighters", name, mode, params...))
}

func mustBuild(t *testing.T, run *algo.Run, name, mode string, params ...string) algo.Weighter {
	t.Helper()
	w, err := build(t, run, name, mode, params...)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func weigh(t *testing.T, w algo.Weighter, r algo.WeightRequest) ([][]float64, algo.Reduction) {
	t.Helper()
	weights, how, err := w.Weigh(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return weights, how
}

// flat is one list of all micro-batches' numbers.
func flat(x [][]float64) (out []float64) {
	for _, m := range x {
		out = append(out, m...)
	}
	return out
}
