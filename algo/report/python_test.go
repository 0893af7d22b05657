package report

import (
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"testing"
)

// python is testdata/python.json: what Python 3 makes of numbers (tools/golden/report.py).
type python struct {
	Rounds [][3]any `json:"rounds"`
	Clocks [][2]any `json:"clocks"`
	Shares [][3]any `json:"shares"`
}

func readPython(t *testing.T) (p python) {
	t.Helper()
	raw, err := os.ReadFile("testdata/python.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

func fromBits(t *testing.T, s string) float64 {
	t.Helper()
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != 8 {
		t.Fatalf("%q is no float's bits", s)
	}
	var bits uint64
	for _, b := range raw {
		bits = bits<<8 | uint64(b)
	}
	return math.Float64frombits(bits)
}

func TestRoundIsPythons(t *testing.T) {
	for _, r := range readPython(t).Rounds {
		x, digits, want := fromBits(t, r[0].(string)), int(r[1].(float64)), fromBits(t, r[2].(string))
		if got := Round(x, digits); math.Float64bits(got) != math.Float64bits(want) {
			t.Errorf("round(%v, %d) = %v, Python's is %v", x, digits, got, want)
		}
	}
	if !math.IsNaN(Round(math.NaN(), 2)) || !math.IsInf(Round(math.Inf(-1), 2), -1) {
		t.Error("NaN or infinity did not stay")
	}
}
