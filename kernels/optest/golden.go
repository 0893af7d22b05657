package optest

import (
	"encoding/json"
	"math"
	"os"
	"testing"
)

// Golden reads testdata/torch.json, written by tools/golden/kernels.py, into v.
func Golden(t testing.TB, v any) {
	t.Helper()
	b, err := os.ReadFile("testdata/torch.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("testdata/torch.json: %v", err)
	}
}

// Near checks that got is within rel of want, relative to want's largest magnitude: both are
// float32 results with different orders of summation.
func Near(t testing.TB, what string, got, want []float32, rel float64) {
	t.Helper()
	if len(got) != len(want) || len(want) == 0 {
		t.Fatalf("%s: lengths %d and %d", what, len(got), len(want))
	}
	var top float64
	for _, v := range want {
		top = max(top, math.Abs(float64(v)))
	}
	for i, v := range want {
		if d := math.Abs(float64(got[i]) - float64(v)); !(d <= rel*top) {
			t.Errorf("%s: element %d is %v, want %v (largest %.3g)", what, i, got[i], v, top)
			return
		}
	}
}
