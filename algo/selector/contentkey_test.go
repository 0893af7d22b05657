package selector

import (
	"os"
	"path/filepath"
	"testing"
)

// TestContentKeyBrackets: the key is that of the tensors, also where the folder's name could be
// read as a pattern; it was the key of no file there, the same for all checkpoints.
func TestContentKeyBrackets(t *testing.T) {
	keys := map[string]bool{}
	for name, text := range map[string]string{"plain": "one", "lr[1e-3]": "one", "lr[2e-3]": "two"} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "model.safetensors"), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		key, err := contentKey(dir)
		if err != nil {
			t.Fatal(err)
		}
		keys[key] = true
	}
	if len(keys) != 2 {
		t.Errorf("%d keys of two contents: %v", len(keys), keys)
	}
}
