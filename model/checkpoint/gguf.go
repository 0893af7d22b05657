package checkpoint

import (
	"fmt"
	"path/filepath"
	"slices"

	container "dataflex.dev/dataflex/data/gguf"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/model/gguf"
)

// openGGUF maps the tensors of a GGUF file under transformers' names.
func openGGUF(path string) (*Weights, error) {
	g, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	file := &mapped{path: path, unmap: g.Close}
	w := &Weights{files: []*mapped{file}, tensors: map[string]location{}}
	for i := range g.Tensors {
		t := &g.Tensors[i]
		// In a safetensors file the tensor would be the only one.
		one := &mapped{path: path, data: t.Data}
		w.tensors[t.Name] = location{file: one, entry: entry{name: t.Name, dtype: t.Type.String(), shape: t.Shape, end: uint64(len(t.Data))}, packed: t}
		w.names = append(w.names, t.Name)
	}
	slices.Sort(w.names)
	return w, nil
}

// unpack converts a tensor of a GGUF file into dst.
func (l location) unpack(dst []float32) error {
	if !gguf.Dequantize(l.packed.Type, l.packed.Data, dst) {
		return fmt.Errorf("%s: tensor %q is %s, which is not read", l.file.path, l.entry.name, l.packed.Type)
	}
	if l.packed.Heads > 0 {
		gguf.InOrder(dst, l.packed.Shape[0], l.packed.Heads)
	}
	return nil
}

// configFields are the config.json of a model's folder, or the corresponding values of a
// GGUF file.
func configFields(dir string) (*fields, error) {
	if !container.Is(dir) {
		return readFields(filepath.Join(dir, storage.ConfigFile))
	}
	g, err := gguf.Open(dir)
	if err != nil {
		return nil, err
	}
	return &fields{path: dir, raw: g.Config}, g.Close()
}
