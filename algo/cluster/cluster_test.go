package cluster

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"dataflex.dev/dataflex/algo/neighbor"
	"dataflex.dev/dataflex/data/rng"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/optest"
)

// upstream is the result of upstream's own code on testdata/vectors.npy (derive.py).
type upstream struct {
	Assign          map[string][]int
	Representatives map[string][]int
}

func fixture(t *testing.T) (neighbor.Vectors, upstream) {
	t.Helper()
	v, err := neighbor.Read("testdata/vectors.npy")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("testdata/upstream.json")
	if err != nil {
		t.Fatal(err)
	}
	var u upstream
	if err := json.Unmarshal(raw, &u); err != nil {
		t.Fatal(err)
	}
	return v, u
}

func TestUpstreamsPartitions(t *testing.T) {
	v, want := fixture(t)
	host := cpu.New(2)
	defer host.Close()
	for name, o := range map[string]Options{
		"kmeans":                {Method: KMeans},
		"kmeans30":              {Method: KMeans, K: 30, Seed: 3},
		"spherical_kmeans":      {Method: SphericalKMeans},
		"spherical30":           {Method: SphericalKMeans, K: 30, Seed: 5},
		"farthest_first":        {Method: FarthestFirst},
		"random_projection_lsh": {Method: LSH},
		"lsh7":                  {Method: LSH, Bits: 7},
		"random_partition":      {Method: RandomPartition},
	} {
		if o.Seed == 0 {
			o.Seed = 42
		}
		if o.K == 0 {
			o.K = 10 // 91 rows, 10 to a cluster
		}
		o.Iterations = 6
		for _, dev := range []driver.Device{host, optest.Device(t, 80)} {
			got, err := Assign(context.Background(), dev, v, o)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if !slices.Equal(got, want.Assign[name]) {
				t.Errorf("%s on %v: %v, want %v", name, dev.Kind(), got, want.Assign[name])
			}
		}
	}
}

// Rows at the same distance from the mean, as in any cluster of two, are in the order that
// rounding in torch's kernels gives them: there any order is accepted.
func TestUpstreamsRepresentatives(t *testing.T) {
	v, want := fixture(t)
	ids := want.Assign["kmeans"]
	d := Distances(v, ids)
	for name, rows := range want.Representatives {
		s, err := ParseStrategy(name)
		if err != nil {
			t.Fatal(err)
		}
		got := Representatives(ids, d, s, 3, rng.NewTorch(42+8+17))
		if len(got) != len(rows) {
			t.Fatalf("%s: %v, want %v", name, got, rows)
		}
		for i, r := range rows {
			tie := s != Random && ids[got[i]] == ids[r] && math.Abs(d[got[i]]-d[r]) < 1e-6
			if got[i] != r && !tie {
				t.Errorf("%s: %v, want %v", name, got, rows)
				break
			}
		}
	}
}

// A few points with an obvious partition: two groups far apart.
func TestTwoGroups(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	v := neighbor.Vectors{N: 6, Dim: 2, Data: []float32{0, 0, 0, 1, 1, 0, 9, 9, 9, 8, 8, 9}}
	for _, m := range []Method{KMeans, FarthestFirst} {
		ids, err := Assign(context.Background(), dev, v, Options{Method: m, K: 2, Iterations: 5, Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		if ids[0] != ids[1] || ids[0] != ids[2] || ids[3] != ids[4] || ids[3] != ids[5] || ids[0] == ids[3] {
			t.Errorf("%s: %v", m, ids)
		}
	}
	d := Distances(v, []int{0, 0, 0, 1, 1, 1})
	if want := math.Sqrt(2) / 3; math.Abs(d[0]-want) > 1e-6 {
		t.Errorf("distance %v, want %v", d[0], want)
	}
}

func TestNames(t *testing.T) {
	if m, err := ParseMethod("K_Center"); err != nil || m != FarthestFirst {
		t.Errorf("K_Center: %v, %v", m, err)
	}
	if _, err := ParseMethod("dbscan"); err == nil {
		t.Error("dbscan is taken for a method")
	}
	if s, err := ParseStrategy("boundary"); err != nil || s != Farthest {
		t.Errorf("boundary: %v, %v", s, err)
	}
	if _, err := ParseStrategy("loudest"); err == nil {
		t.Error("loudest is taken for a strategy")
	}
	if _, err := Assign(context.Background(), cpu.New(1), neighbor.Vectors{}, Options{Method: KMeans}); err == nil {
		t.Error("nothing was partitioned")
	}
}
