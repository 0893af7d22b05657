package gguf

import (
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"testing"

	container "dataflex.dev/dataflex/data/gguf"
)

// Blocks of random bytes with random scales are decoded to the same numbers as by the gguf
// package of PyPI (0.19).
func TestDequantize(t *testing.T) {
	text, err := os.ReadFile("testdata/blocks.json")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]struct {
		Hex    string
		Values []float64
	}
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	types := []container.Type{
		container.F16, container.BF16, container.Q8_0, container.Q4_0, container.Q4_1,
		container.Q5_0, container.Q5_1, container.Q4_K, container.Q5_K, container.Q6_K,
	}
	if len(all) != len(types) {
		t.Fatalf("%d types are recorded, %d tested", len(all), len(types))
	}
	for _, kind := range types {
		recorded := all[kind.String()]
		src, err := hex.DecodeString(recorded.Hex)
		if err != nil || len(src) == 0 {
			t.Fatal(kind, err)
		}
		got := make([]float32, len(recorded.Values))
		if !Dequantize(kind, src, got) {
			t.Fatalf("%s is not read", kind)
		}
		for i, want := range recorded.Values {
			if got[i] != float32(want) || math.IsNaN(want) {
				t.Errorf("%s: number %d is %v, want %v", kind, i, got[i], want)
				break
			}
		}
	}
	if Dequantize(container.Type(10), nil, nil) {
		t.Error("Q2_K is read")
	}
}
