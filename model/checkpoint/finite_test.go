package checkpoint

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/storage"
)

func TestFinite(t *testing.T) {
	for name, want := range map[string]string{"a": "", "b": `tensor "w" holds NaN (element 2)`, "c": `tensor "w" holds -Inf (element 0)`} {
		values := map[string][]float32{"a": {1, 2, 3}, "b": {1, 2, float32(math.NaN())}, "c": {float32(math.Inf(-1)), 0, 0}}[name]
		dir := t.TempDir()
		err := WriteSafetensors(filepath.Join(dir, storage.ModelFile), nil, []Tensor{{Name: "w", Shape: []int{3}, F32: values}})
		if err != nil {
			t.Fatal(err)
		}
		if err := Finite(dir); (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", values, err)
		}
	}
}
