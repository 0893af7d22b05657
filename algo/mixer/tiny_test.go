package mixer

import (
	"math/rand/v2"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/algotest"
	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/model/decoder"
)

// loaded is a run with the model of a folder.
func loaded(t *testing.T, dir string, train []data.Example) *algo.Run {
	t.Helper()
	dev := cpu.New(1)
	m, err := decoder.Load(dev, dir, decoder.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return &algo.Run{Device: dev, Model: m, Train: train, Seed: 42, Log: algotest.Quiet}
}

// rows are random sequences of two domains' tokens: even rows of the lower half of
// the vocabulary, odd rows of the upper.
func rows(n int) ([]data.Example, []algo.Domain) {
	r := rand.New(rand.NewPCG(7, 3))
	domains := []algo.Domain{{Name: "low"}, {Name: "high"}}
	out := make([]data.Example, n)
	for i := range out {
		ids := make([]int32, 6+r.IntN(6))
		for t := range ids {
			ids[t] = int32(i%2*algotest.Vocab/2 + r.IntN(algotest.Vocab/2))
		}
		out[i] = data.Example{ID: data.ID{Dataset: domains[i%2].Name, Row: i / 2}, InputIDs: ids, Labels: append([]int32(nil), ids...)}
		domains[i%2].Rows = append(domains[i%2].Rows, i)
	}
	return out, domains
}

// micro packs rows of the pool of rows(n).
func micro(train []data.Example, rows ...int) algo.MicroReport {
	m := algo.MicroReport{Micro: batch.Pack(train, rows)}
	for _, r := range rows {
		m.Domain = append(m.Domain, r%2)
	}
	return m
}

// build makes a mixer from its parameters as in components.yaml.
func build(t *testing.T, run *algo.Run, domains []algo.Domain, name, mode string, params ...string) (algo.Mixer, error) {
	t.Helper()
	return algo.BuildMixer(run, domains, algotest.Component(t, "mixers", name, mode, params...))
}

func mustBuild(t *testing.T, run *algo.Run, domains []algo.Domain, name, mode string, params ...string) algo.Mixer {
	t.Helper()
	m, err := build(t, run, domains, name, mode, params...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
