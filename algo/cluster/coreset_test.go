package cluster

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"dataflex.dev/dataflex/algo/neighbor"
	"dataflex.dev/dataflex/driver/cpu"
)

// The results of upstream's own _allocate_budget (DataFlex 1.1.0, on these numbers).
func TestRegression26Budgets(t *testing.T) {
	s, d, sizes := []float64{.3, .2, .1, .05}, []float64{.8, .5, 1, .6}, []int{2, 5, 1, 6}
	for temperature, want := range map[float64][]int{1: {2, 4, 1, 3}, .1: {2, 5, 1, 2}} {
		if got := LargestRemainder(Shares(s, d, temperature), 10, sizes); !slices.Equal(got, want) {
			t.Errorf("τ %v: %v, want %v", temperature, got, want)
		}
	}
	// From the largest share down: round(10·0.5), round(5·0.6), what is left.
	if got := InTurn([]float64{.2, .5, .3}, 10, []int{9, 9, 9}); !slices.Equal(got, []int{2, 5, 3}) {
		t.Errorf("in turn %v", got)
	}
	// What a full cluster leaves goes to the next.
	if got := InTurn([]float64{.2, .5, .3}, 10, []int{9, 2, 9}); !slices.Equal(got, []int{3, 2, 5}) {
		t.Errorf("in turn %v", got)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		shares, room := make([]float64, 1+r.IntN(9)), []int(nil)
		for i := range shares {
			shares[i] = math.Exp(20 * r.NormFloat64())
			room = append(room, r.IntN(5))
		}
		for name, deal := range map[string]func([]float64, int, []int) []int{"largest remainder": LargestRemainder, "in turn": InTurn} {
			n, all, sum := r.IntN(30), 0, 0
			out := deal(shares, n, room)
			for i, m := range out {
				if m > room[i] || m < 0 {
					t.Fatalf("%s: %v, room %v", name, out, room)
				}
				all, sum = all+room[i], sum+m
			}
			if name == "in turn" && sum != min(n, all) {
				t.Fatalf("%s: %v of %d, room %v, shares %v", name, out, n, room, shares)
			}
		}
	}
}

func unitRows(n, dim int, seed uint64) neighbor.Vectors {
	r := rand.New(rand.NewPCG(seed, 1))
	v := neighbor.Vectors{N: n, Dim: dim, Data: make([]float32, n*dim)}
	for i := range v.Data {
		v.Data[i] = float32(r.NormFloat64())
	}
	v.Normalize()
	return v
}

// kernelOf is e^(-scale·|x-y|²) by its definition.
func kernelOf(v neighbor.Vectors, scale float64, i, j int) float64 {
	return math.Exp(-scale * squared(v.Row(i), v.Row(j)))
}

// Regression 26: each next row of the greedy order minimises the squared discrepancy, computed
// by its definition.
func TestRegression26GreedyIsBruteForce(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	v := unitRows(12, 4, 3)
	k, err := NewKernel(dev, v, 1)
	if err != nil {
		t.Fatal(err)
	}
	discrepancy := func(taken []int) float64 {
		mean := func(a, b []int) (sum float64) {
			for _, i := range a {
				for _, j := range b {
					sum += kernelOf(v, 1, i, j) / float64(len(a)*len(b))
				}
			}
			return sum
		}
		all := make([]int, v.N)
		for i := range all {
			all[i] = i
		}
		return mean(all, all) + mean(taken, taken) - 2*mean(all, taken)
	}
	var taken []int
	for _, next := range k.Order() {
		best := discrepancy(append(slices.Clone(taken), next))
		for j := range v.N {
			if !slices.Contains(taken, j) && discrepancy(append(slices.Clone(taken), j)) < best-1e-6 {
				t.Errorf("after %v comes %d, but %d is better", taken, next, j)
			}
		}
		taken = append(taken, next)
	}
	slices.Sort(taken)
	if !slices.Equal(taken, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}) {
		t.Errorf("order %v", taken)
	}
}

func TestDensityAndTransferability(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	v := unitRows(9, 4, 5)
	k, err := NewKernel(dev, v, .5)
	if err != nil {
		t.Fatal(err)
	}
	var all float64
	for i := range v.N {
		for j := range v.N {
			all += kernelOf(v, .5, i, j)
		}
	}
	if got := k.Density(true, 1); math.Abs(got-all/81) > 1e-6 {
		t.Errorf("density %v, want %v", got, all/81)
	}
	if got := k.Density(false, 1); math.Abs(got-(all-9)/72) > 1e-6 {
		t.Errorf("density without the diagonal %v, want %v", got, (all-9)/72)
	}
	one, err := NewKernel(dev, unitRows(1, 4, 5), 1)
	if err != nil || one.Density(false, .7) != .7 {
		t.Errorf("density of one row %v, %v", one.Density(false, .7), err)
	}
	// Three clusters of one row: (1,0), (0,1) and (1,1)/√2.
	rows := neighbor.Vectors{N: 3, Dim: 2, Data: []float32{1, 0, 0, 1, .70710678, .70710678}}
	for nearest, want := range map[float64][]float64{2: {.35355, .35355, .70711}, .5: {0, 0, 0}} {
		s, err := Transferability(t.Context(), dev, rows, []int{0, 1, 2}, 3, nearest)
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if math.Abs(s[i]-want[i]) > 1e-5 {
				t.Errorf("transferability %v, want %v", s, want)
			}
		}
	}
}
