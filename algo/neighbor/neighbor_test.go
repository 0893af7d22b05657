package neighbor

import (
	"context"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/npy"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/optest"
)

// This file is what upstream's own offline script writes with its approximate index replaced by
// exact search (algo/tsds/testdata/derive.py).
func TestNearWritesUpstreamsFile(t *testing.T) {
	dev := cpu.New(2)
	defer dev.Close()
	path := filepath.Join(t.TempDir(), "top_indices.npy")
	candidates, queries := load(t, "candidates"), load(t, "queries")
	if _, err := Near(context.Background(), dev, nil, candidates, queries, 50, path); err != nil {
		t.Fatal(err)
	}
	got, want := array(t, path), array(t, filepath.Join("testdata", "indices.npy"))
	if got.DType != want.DType || !slices.Equal(got.Shape, want.Shape) || !slices.Equal(got.Data, want.Data) {
		t.Errorf("%s %v is not upstream's %s %v", got.DType, got.Shape, want.DType, want.Shape)
	}
}

func load(t *testing.T, name string) Vectors {
	t.Helper()
	v, err := Read(filepath.Join("testdata", name+".npy"))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func array(t *testing.T, path string) *npy.Array {
	t.Helper()
	a, err := npy.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Against all distances in float64, across block borders, with duplicates.
func TestSearchIsExact(t *testing.T) {
	dev := cpu.New(2)
	defer dev.Close()
	r := rand.New(rand.NewPCG(7, 8))
	base, queries := random(r, 4300, 12), random(r, 70, 12)
	for i := range 40 {
		copy(base.Row(4200+i), base.Row(i%4)) // equal distances
		copy(queries.Row(i), base.Row(i%4))
	}
	const k = 25
	f, err := Search(context.Background(), dev, nil, "", queries, base, k)
	if err != nil {
		t.Fatal(err)
	}
	for q := range queries.N {
		order := make([]int, base.N)
		squared := make([]float64, base.N)
		for i := range order {
			order[i] = i
			squared[i] = distance(queries.Row(q), base.Row(i))
		}
		slices.SortStableFunc(order, func(a, b int) int {
			switch {
			case squared[a] < squared[b]:
				return -1
			case squared[a] > squared[b]:
				return 1
			}
			return 0
		})
		if !slices.Equal(f.Index[q*k:(q+1)*k], order[:k]) {
			t.Fatalf("query %d: %v, want %v", q, f.Index[q*k:(q+1)*k], order[:k])
		}
		if f.Squared[q*k] != squared[order[0]] {
			t.Errorf("query %d: squared distance %v, want %v", q, f.Squared[q*k], squared[order[0]])
		}
	}
}

// TestSearchOnADevice: the same rows by the kernels.
func TestSearchOnADevice(t *testing.T) {
	host := cpu.New(1)
	defer host.Close()
	r := rand.New(rand.NewPCG(9, 10))
	base, queries := random(r, 300, 6), random(r, 70, 6)
	copy(base.Row(200), base.Row(3))
	want, err := Search(context.Background(), host, nil, "", queries, base, 9)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Search(context.Background(), optest.Device(t, 80), nil, "", queries, base, 9)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Index, want.Index) || !slices.Equal(got.Squared, want.Squared) {
		t.Errorf("%v, want %v", got.Index, want.Index)
	}
}

func random(r *rand.Rand, n, dim int) Vectors {
	v := Vectors{N: n, Dim: dim}
	for range n * dim {
		v.Data = append(v.Data, float32(r.NormFloat64()))
	}
	return v
}

func TestNormalize(t *testing.T) {
	v := Vectors{N: 2, Dim: 2, Data: []float32{3, 4, 0, 0}}
	v.Normalize()
	if want := []float32{0.6, 0.8, 0, 0}; !slices.Equal(v.Data, want) {
		t.Errorf("%v, want %v", v.Data, want)
	}
}

func TestFaults(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(1, 1))
	v := random(r, 3, 2)
	v.Data[3] = float32(math.Inf(1))
	path := filepath.Join(dir, "v.npy")
	if err := v.Write(path); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err == nil || !strings.Contains(err.Error(), "row 1 has +Inf in dimension 1") {
		t.Errorf("infinite vectors: %v", err)
	}
	if _, err := Read("testdata/indices.npy"); err == nil || !strings.Contains(err.Error(), "floats") {
		t.Errorf("integers as vectors: %v", err)
	}
	if _, err := Search(context.Background(), dev, nil, "", v, v, 4); err == nil || !strings.Contains(err.Error(), "4 neighbours of 3") {
		t.Errorf("too many neighbours: %v", err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Search(ended, dev, nil, "", v, v, 1); err == nil {
		t.Error("a search went on after its context had ended")
	}
}

// TestTooLong: vectors whose products are beyond float32 are refused with their row.
func TestTooLong(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	v := Vectors{N: 3, Dim: 2, Data: []float32{1, 0, 0, 1, 1e30, 1e30}}
	fine := Vectors{N: 1, Dim: 2, Data: []float32{9e17, 0}}
	for want, f := range map[string]func() (*Found, error){
		"vector 2 has the length 1.41e+30": func() (*Found, error) { return Search(context.Background(), dev, nil, "", fine, v, 2) },
		"query 2 has the length 1.41e+30":  func() (*Found, error) { return Search(context.Background(), dev, nil, "", v, fine, 1) },
	} {
		if _, err := f(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
	if f, err := Search(context.Background(), dev, nil, "", fine, fine, 1); err != nil || f.Index[0] != 0 {
		t.Errorf("%v, %v", f, err)
	}
}
