package train

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"unsafe"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/optim"
)

// identity names, by content, what does not change during a run.
type identity struct {
	modelDir string
	data     string // of the rows
	base     string // of the base model's weights and all rows, once asked for
}

// selectionKey is the content a choice at this step can depend on: base weights,
// rows, the trained weights and their moments, the component and the seed.
func (t *Trainer) selectionKey(r algo.Request) (string, error) {
	if t.ids.base == "" {
		base, err := contentOf(t.ids.modelDir, t.ids.data)
		if err != nil {
			return "", fmt.Errorf("identity of the run: %w", err)
		}
		t.ids.base = base
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s %s %s\nseed %d step %d update %d n %d optimizer steps %d\n",
		t.ids.base, t.component.Name, t.component.Mode, t.component.Raw, t.run.Seed, r.Step, r.Update, r.N, t.optimizer.Steps())
	if t.model.BF16() {
		fmt.Fprintln(h, "bf16")
	}
	for _, p := range t.params {
		inputs := []driver.F32{p.Data}
		if o, ok := t.optimizer.(optim.Adaptive); ok { // no method asks for what others keep
			m, v := o.Moments(p)
			inputs = append(inputs, m, v)
		}
		for _, s := range inputs {
			x, err := driver.Read(t.device, s)
			if err != nil {
				return "", fmt.Errorf("identity of the run: %w", err)
			}
			hashFloats(h, x)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// contentOf hashes the base model's files, and names the rows.
func contentOf(modelDir, data string) (string, error) {
	h := sha256.New()
	files, err := filepath.Glob(filepath.Join(modelDir, "*.safetensors"))
	if err != nil {
		return "", err
	}
	files = append(files, filepath.Join(modelDir, "config.json"))
	slices.Sort(files)
	for _, f := range files {
		if err := hashFile(h, f); err != nil {
			return "", err
		}
	}
	fmt.Fprintf(h, "rows %s\n", data)
	return hex.EncodeToString(h.Sum(nil)), nil
}

func hashFile(h hash.Hash, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	n, err := io.Copy(h, f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	fmt.Fprintf(h, "%s %d\n", filepath.Base(path), n)
	return err
}

// hashFloats hashes the bytes as they stand: a key need not be portable.
func hashFloats(h hash.Hash, x []float32) {
	if len(x) > 0 {
		h.Write(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x)))
	}
}
