package tsds

import (
	"context"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/neighbor"
	"dataflex.dev/dataflex/data/npy"
	"dataflex.dev/dataflex/driver/cpu"
)

// The probabilities are those of upstream's own offline script with its
// approximate index replaced by exact search in float64 (testdata/derive.py).
func TestUpstreamsProbabilities(t *testing.T) {
	dev := cpu.New(2)
	defer dev.Close()
	candidates, queries := load(t, "candidates"), load(t, "queries")
	for name, o := range map[string]Options{
		"all":    {Sigma: 0.75, Alpha: 0.6, C: 5},
		"some":   {Sigma: 0.75, Alpha: 0.93, C: 5},
		"few":    {Sigma: 0.5, Alpha: 0.97, C: 5},
		"sigma0": {Sigma: 0, Alpha: 0.95, C: 5},
	} {
		o.MaxK, o.KDEK = 5000, 1000 // limited to 20 by the 200 candidates
		p, err := Probabilities(context.Background(), dev, nil, candidates, queries, o)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		a, err := npy.Read(filepath.Join("testdata", name+".npy"))
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range a.Float64s() {
			if math.Abs(p[i]-want) > 1e-9 {
				t.Errorf("%s: p[%d] = %v, want %v", name, i, p[i], want)
			}
		}
	}
}

// With alpha 1, all mass goes to the nearest candidates, even where the paper's code gives some
// queries more than their mass.
func TestDistanceAlone(t *testing.T) {
	dev := cpu.New(2)
	defer dev.Close()
	candidates, queries := load(t, "candidates"), load(t, "queries")
	p, err := Probabilities(context.Background(), dev, nil, candidates, queries, Options{MaxK: 20, KDEK: 20, Sigma: 0.3, Alpha: 0.999, C: 1e-3})
	if err != nil {
		t.Fatal(err)
	}
	near, err := neighbor.Search(context.Background(), dev, nil, "", queries, candidates, 1)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]float64, candidates.N)
	for _, i := range near.Index {
		want[i] += 1 / float64(queries.N)
	}
	for i := range p {
		if math.Abs(p[i]-want[i]) > 1e-12 {
			t.Errorf("p[%d] = %v, want %v", i, p[i], want[i])
		}
	}
}

func load(t *testing.T, name string) neighbor.Vectors {
	t.Helper()
	v, err := neighbor.Read(filepath.Join("testdata", name+".npy"))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestRegression11FewCandidates (of spec/dataflex-upstream.md): with few candidates the sum is 1 and
// every index exists, where upstream reads FAISS's -1 as the last candidate.
func TestRegression11FewCandidates(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	r := rand.New(rand.NewPCG(3, 4))
	upstream := Official()
	upstream.Alpha = 0.6 // DataFlex's
	for _, n := range []int{2, 3, 19, 1000} {
		candidates, queries := random(r, n, 8), random(r, 5, 8)
		p, err := Probabilities(context.Background(), dev, nil, candidates, queries, upstream)
		if err != nil {
			t.Fatalf("%d candidates: %v", n, err)
		}
		var sum float64
		for _, x := range p {
			if x < 0 {
				t.Errorf("%d candidates: a probability of %v", n, x)
			}
			sum += x
		}
		if math.Abs(sum-1) > 1e-12 {
			t.Errorf("%d candidates: the sum is %v", n, sum)
		}
	}
}

// Repetition control: ten copies of a row get together what one would get.
func TestNearDuplicatesShare(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	r := rand.New(rand.NewPCG(5, 6))
	base := random(r, 300, 6)
	base.Normalize()
	query := neighbor.Vectors{N: 1, Dim: 6, Data: append([]float32(nil), base.Row(0)...)}
	copies := neighbor.Vectors{N: 309, Dim: 6, Data: append([]float32(nil), base.Data...)}
	for range 9 {
		copies.Data = append(copies.Data, base.Row(0)...)
	}
	o := Options{MaxK: 30, KDEK: 30, Sigma: 1e-3, Alpha: 0.5, C: 5}
	single, err := Probabilities(context.Background(), dev, nil, base, query, o)
	if err != nil {
		t.Fatal(err)
	}
	many, err := Probabilities(context.Background(), dev, nil, copies, query, o)
	if err != nil {
		t.Fatal(err)
	}
	together := many[0]
	for _, x := range many[300:] {
		together += x
	}
	if math.Abs(together-single[0]) > 0.02*single[0] {
		t.Errorf("ten copies get %v, one row gets %v", together, single[0])
	}
}

func random(r *rand.Rand, n, dim int) neighbor.Vectors {
	v := neighbor.Vectors{N: n, Dim: dim}
	for range n * dim {
		v.Data = append(v.Data, float32(r.NormFloat64()))
	}
	return v
}

func TestWrittenFile(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	path := filepath.Join(t.TempDir(), "tsds_probs.npy")
	p, err := Write(context.Background(), dev, nil, load(t, "candidates"), load(t, "queries"), Official(), path)
	if err != nil {
		t.Fatal(err)
	}
	a, err := npy.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if a.DType != npy.Float64 || len(a.Shape) != 1 || a.Shape[0] != len(p) {
		t.Errorf("the file holds %s of shape %v", a.DType, a.Shape)
	}
}

func TestRefusals(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	r := rand.New(rand.NewPCG(1, 1))
	some, other := random(r, 30, 4), random(r, 30, 5)
	for want, c := range map[string]struct {
		candidates, queries neighbor.Vectors
		change              func(*Options)
	}{
		"at least two":  {random(r, 1, 4), some, func(*Options) {}},
		"dimensions":    {some, other, func(*Options) {}},
		"alpha":         {some, some, func(o *Options) { o.Alpha = 0 }},
		"C 0":           {some, some, func(o *Options) { o.C = 0 }},
		"sigma":         {some, some, func(o *Options) { o.Sigma = math.NaN() }},
		"must be posit": {some, some, func(o *Options) { o.MaxK = 0 }},
	} {
		o := Official()
		c.change(&o)
		if _, err := Probabilities(context.Background(), dev, nil, c.candidates, c.queries, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
}
