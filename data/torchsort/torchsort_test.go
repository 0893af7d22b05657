package torchsort

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"strconv"
	"testing"
)

func load[T any](t *testing.T, path string) []T {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var cases []T
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

// lcg and medianKiller are the generators of tools/golden/streams.py.
func lcg(n, levels int, seed uint32) []float32 {
	out := make([]float32, n)
	for i := range out {
		seed = seed*1664525 + 1013904223
		out[i] = float32((seed >> 8) % uint32(levels))
	}
	return out
}

func medianKiller(n int) []float32 {
	a := make([]int, n)
	for i, k := 1, n/2; i <= k; i++ {
		if i%2 == 1 {
			a[i-1], a[i] = i, k+i
		}
		a[k+i-1] = 2 * i
	}
	out := make([]float32, n)
	for i := range a {
		out[i] = float32(n - a[i])
	}
	return out
}

func TestTopKAgainstTorch(t *testing.T) {
	type topk struct {
		Values          string
		N, Levels, Seed int
		K               int
		Head            []int
		Checksum        string
	}
	for _, c := range load[topk](t, "testdata/topk.json") {
		values := medianKiller(c.N)
		if c.Values == "lcg" {
			values = lcg(c.N, c.Levels, uint32(c.Seed))
		}
		got := TopK(values, c.K)
		var sum uint64
		for _, i := range got {
			sum = (sum*1000003 + uint64(i)) % (1 << 61)
		}
		if !slices.Equal(got[:len(c.Head)], c.Head) || strconv.FormatUint(sum, 10) != c.Checksum {
			t.Errorf("%+v: got %v... checksum %d", c, got[:len(c.Head)], sum)
		}
	}
}

func TestTopKNaNFirst(t *testing.T) {
	nan := float32(math.NaN())
	if got := TopK([]float32{1, nan, 3, float32(math.Inf(1))}, 3); !slices.Equal(got, []int{1, 3, 2}) {
		t.Errorf("got %v", got)
	}
	if got := TopK([]float32{1, 2}, 0); len(got) != 0 {
		t.Errorf("k = 0 gave %v", got)
	}
}

func TestQuantileAgainstTorch(t *testing.T) {
	type quantile struct {
		N    int
		Q    float64
		Want float32
	}
	for _, c := range load[quantile](t, "testdata/quantile.json") {
		values := lcg(c.N, 1<<24, uint32(c.N))
		for i := range values {
			values[i] /= 1 << 22
		}
		if got := Quantile(values, c.Q); got != c.Want {
			t.Errorf("n %d q %v: got %v, want %v", c.N, c.Q, got, c.Want)
		}
	}
	if got := Quantile([]float32{1, float32(math.NaN())}, 0.5); got == got {
		t.Errorf("quantile of NaN is %v", got)
	}
}
