package rng

import (
	"encoding/json"
	"math"
	"os"
	"reflect"
	"slices"
	"testing"
)

// reference is one seed of testdata/streams.json, made by tools/golden/streams.py with
// torch 2.7.1, NumPy 1.26.4 and Python 3.11.
type reference struct {
	Seed   uint64
	Torch  map[string]json.RawMessage
	PCG    map[string]json.RawMessage
	Legacy map[string]json.RawMessage
	Python map[string]json.RawMessage
}

func references(t *testing.T) []reference {
	t.Helper()
	raw, err := os.ReadFile("testdata/streams.json")
	if err != nil {
		t.Fatal(err)
	}
	var refs []reference
	if err := json.Unmarshal(raw, &refs); err != nil {
		t.Fatal(err)
	}
	return refs
}

// same compares got with the recorded value, exactly or within a relative tolerance.
func same[T any](t *testing.T, m map[string]json.RawMessage, key string, tol float64, got T) {
	t.Helper()
	raw, ok := m[key]
	if !ok {
		t.Fatalf("no reference %q", key)
	}
	var want T
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	if tol == 0 {
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, want %v", key, got, want)
		}
		return
	}
	g, w := floats(got), floats(want)
	if len(g) != len(w) {
		t.Fatalf("%s: %d values, want %d", key, len(g), len(w))
	}
	for i := range w {
		if math.Abs(g[i]-w[i]) > tol*math.Max(1, math.Abs(w[i])) {
			t.Errorf("%s[%d]: got %v, want %v", key, i, g[i], w[i])
		}
	}
}

func floats(v any) []float64 {
	switch x := v.(type) {
	case []float64:
		return x
	case []float32:
		out := make([]float64, len(x))
		for i, f := range x {
			out[i] = float64(f)
		}
		return out
	}
	panic("not floats")
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func fill[T any](n int, draw func() T) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = draw()
	}
	return out
}

func ramp() []float64 {
	p := make([]float64, 40)
	for i := range p {
		p[i] = float64(i+1) / 820
	}
	return p
}

func TestTorch(t *testing.T) {
	w := make([]float32, 50)
	for i := range w {
		w[i] = float32(math.Pow(float64(i+1), 1.5))
	}
	tied := make([]float32, 200)
	for i := range tied {
		tied[i] = float32(i % 3)
	}
	ints := must[[]int](t)
	for _, r := range references(t) {
		g := func() *Torch { return NewTorch(r.Seed) }
		m := r.Torch
		same(t, m, "randint_37", 0, g().Randint(0, 37, 40))
		same(t, m, "randint_2_30", 0, g().Randint(-5, 1<<30, 10))
		same(t, m, "randint_2_40", 0, g().Randint(-5, 1<<40, 10))
		same(t, m, "randperm_7", 0, g().Randperm(7))
		same(t, m, "randperm_300", 0, g().Randperm(300))
		same(t, m, "rand_f32", 0, fill(10, g().Float32))
		same(t, m, "rand_f64", 0, fill(10, g().Double))
		u := make([]float32, 40)
		g().Uniform(u, -0.0883883, 0.0883883)
		same(t, m, "uniform_f32", 0, u)
		g().Normal(u[:6], 0, 1)
		same(t, m, "normal_6", 1e-6, u[:6])
		g().Normal(u, 0.5, 0.02)
		same(t, m, "normal_40", 1e-6, u)
		b := g()
		same(t, m, "bernoulli", 0, fill(64, func() int {
			if b.Bernoulli(0.3) {
				return 1
			}
			return 0
		}))
		e := g()
		same(t, m, "exponential", 0, fill(20, func() float32 { return e.Exponential(1.5) }))
		same(t, m, "multinomial_norepl", 0, ints(g().Multinomial(w, 20, false)))
		same(t, m, "multinomial_repl", 0, ints(g().Multinomial(w, 20, true)))
		same(t, m, "multinomial_one_repl", 0, ints(g().Multinomial(w, 1, true)))
		same(t, m, "multinomial_zeros", 0, ints(g().Multinomial(tied, 100, false)))
		same(t, m, "random_int64", 0, g().Int63())
	}
}

func TestPCG64(t *testing.T) {
	p := ramp()
	ints := must[[]int](t)
	for _, r := range references(t) {
		g := func() *PCG64 { return NewPCG64(r.Seed) }
		m := r.PCG
		same(t, m, "integers_1000", 0, g().Integers(0, 1000, 20))
		same(t, m, "random", 0, g().Random(5))
		same(t, m, "permutation_30", 0, g().Permutation(30))
		same(t, m, "choice_100_10", 0, ints(g().Choice(100, 10, false, nil)))
		same(t, m, "choice_100_10_repl", 0, ints(g().Choice(100, 10, true, nil)))
		same(t, m, "choice_20000_30", 0, ints(g().Choice(20000, 30, false, nil)))
		same(t, m, "choice_20000_500", 0, ints(g().Choice(20000, 500, false, nil)))
		same(t, m, "choice_p", 0, ints(g().Choice(40, 12, false, p)))
		same(t, m, "choice_p_repl", 0, ints(g().Choice(40, 12, true, p)))
		c := g()
		chain := []any{
			c.Integers(0, 10, 1)[0], c.Float64(), c.Permutation(7), c.Integers(0, 1<<40, 3),
			c.Integers(0, 1<<32, 3), ints(c.Choice(9, 4, false, nil)), c.Float64(),
		}
		raw, _ := json.Marshal(chain)
		var got []any
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Fatal(err)
		}
		same(t, m, "chain", 0, got)
	}
}

func TestRandomState(t *testing.T) {
	p := ramp()
	ints := must[[]int](t)
	for _, r := range references(t) {
		g := func() *RandomState { return NewRandomState(uint32(r.Seed)) }
		m := r.Legacy
		same(t, m, "permutation_30", 0, g().Permutation(30))
		same(t, m, "random", 0, g().Random(5))
		same(t, m, "randint_37", 0, g().Randint(0, 37, 20))
		same(t, m, "choice_100_10", 0, ints(g().Choice(100, 10, false, nil)))
		same(t, m, "choice_100_10_repl", 0, ints(g().Choice(100, 10, true, nil)))
		same(t, m, "choice_p", 0, ints(g().Choice(40, 12, false, p)))
		same(t, m, "choice_p_repl", 0, ints(g().Choice(40, 12, true, p)))
		same(t, m, "normal", 1e-14, fill(5, g().Normal))
		same(t, m, "dirichlet_1", 1e-14, g().Dirichlet([]float64{1, 1, 1, 1}))
		same(t, m, "dirichlet", 1e-14, g().Dirichlet([]float64{0.3, 2.5, 1, 7}))
	}
}

func TestPython(t *testing.T) {
	for _, r := range references(t) {
		g := func() *Python { return NewPython(r.Seed) }
		m := r.Python
		same(t, m, "random", 0, g().Float64())
		l := make([]int, 20)
		for i := range l {
			l[i] = i
		}
		g().Shuffle(20, func(i, j int) { l[i], l[j] = l[j], l[i] })
		same(t, m, "shuffle_20", 0, l)
		same(t, m, "sample_50_8", 0, g().Sample(50, 8))
		same(t, m, "sample_5000_8", 0, g().Sample(5000, 8))
		var words []uint64
		for _, k := range []int{1, 7, 32, 48} {
			words = append(words, g().Getrandbits(k))
		}
		same(t, m, "getrandbits", 0, words)
	}
}

// A RandomSampler without a
// generator seeds a fresh one from the global stream (upstream values, seed 42).
func TestRandomSamplerSeed(t *testing.T) {
	seed := NewTorch(42).Int63()
	if seed != 6909045637428952499 {
		t.Fatalf("seed drawn %d", seed)
	}
	got := NewTorch(uint64(seed)).Randperm(37)[:8]
	if want := []int{16, 29, 25, 35, 11, 7, 36, 30}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestStates(t *testing.T) {
	type stream interface {
		State() []byte
		SetState([]byte) error
	}
	draws := map[string]struct {
		fresh func() stream
		draw  func(stream) any
	}{
		"Torch":       {func() stream { return NewTorch(1) }, func(s stream) any { b := make([]float32, 3); s.(*Torch).Normal(b, 0, 1); return b }},
		"PCG64":       {func() stream { return NewPCG64(1) }, func(s stream) any { return s.(*PCG64).Integers(0, 10, 3) }},
		"RandomState": {func() stream { return NewRandomState(1) }, func(s stream) any { return s.(*RandomState).Normal() }},
		"Python":      {func() stream { return NewPython(1) }, func(s stream) any { return s.(*Python).Float64() }},
	}
	for name, d := range draws {
		a := d.fresh()
		for range 301 {
			d.draw(a)
		}
		saved := a.State()
		b := d.fresh()
		if err := b.SetState(saved); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i := range 700 {
			if x, y := d.draw(a), d.draw(b); !reflect.DeepEqual(x, y) {
				t.Fatalf("%s: draw %d after restoring: %v, want %v", name, i, y, x)
			}
		}
		for _, bad := range [][]byte{nil, {saved[0]}, append([]byte{'?'}, saved[1:]...), append(saved[:len(saved):len(saved)], 0)} {
			before := b.State()
			if b.SetState(bad) == nil {
				t.Errorf("%s: accepted a damaged state of %d bytes", name, len(bad))
			}
			if !reflect.DeepEqual(before, b.State()) {
				t.Errorf("%s: a refused state changed the stream", name)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	for name, draw := range map[string]func() error{
		"negative weight":       func() error { _, err := NewTorch(0).Multinomial([]float32{1, -1}, 1, true); return err },
		"NaN weight":            func() error { _, err := NewTorch(0).Multinomial([]float32{float32(math.NaN())}, 1, true); return err },
		"all zero":              func() error { _, err := NewTorch(0).Multinomial([]float32{0, 0}, 1, false); return err },
		"too many":              func() error { _, err := NewTorch(0).Multinomial([]float32{1, 0, 1}, 3, false); return err },
		"sum not 1":             func() error { _, err := NewPCG64(0).Choice(2, 1, true, []float64{0.5, 0.4}); return err },
		"more than population":  func() error { _, err := NewPCG64(0).Choice(2, 3, false, nil); return err },
		"zero probabilities":    func() error { _, err := NewRandomState(0).Choice(3, 3, false, []float64{0.5, 0.5, 0}); return err },
		"probabilities missing": func() error { _, err := NewRandomState(0).Choice(3, 1, false, []float64{1}); return err },
	} {
		if draw() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
