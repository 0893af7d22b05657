package decoder

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTransformers5: folders as transformers 5.24 saves them, one of every family, and
// adapters of every shape as peft 0.21 does, have the loss that these compute
// (tools/golden/families5.py).
func TestTransformers5(t *testing.T) {
	const dir = "testdata/transformers5"
	raw, err := os.ReadFile(filepath.Join(dir, "losses.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		IDs    []int32
		Losses map[string]float64
	}
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	n := len(want.IDs)
	targets := append(append([]int32(nil), want.IDs[1:]...), -1)
	for name, loss := range want.Losses {
		t.Run(name, func(t *testing.T) {
			folder := name
			if strings.HasPrefix(name, "adapter_") {
				folder = "llama"
			}
			m := load(t, filepath.Join(dir, folder), Options{})
			if folder != name {
				must(t, m.LoadAdapter(filepath.Join(dir, name)))
			}
			tokens, err := m.Losses(Batch{Tokens: want.IDs, Targets: targets}, 0)
			must(t, err)
			var sum float64
			for i, l := range tokens {
				if targets[i] >= 0 {
					sum += float64(l)
				}
			}
			if got := sum / float64(n-1); math.Abs(got-loss) > 1e-5 {
				t.Errorf("loss %v, want %v", got, loss)
			}
		})
	}
}
