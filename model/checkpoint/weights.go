// Package checkpoint reads and writes the formats of models on disk: safetensors weights,
// Hugging Face's config.json, PEFT's adapter_config.json; and it finds the checkpoints of a
// run. It never reads pickle files.
package checkpoint

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	container "dataflex.dev/dataflex/data/gguf"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/gguf"
)

// Weights is the tensors of one safetensors file or of a sharded model, mapped into memory.
// Its methods, except Close, may be called from many goroutines.
type Weights struct {
	files   []*mapped
	tensors map[string]location
	names   []string

	beside []string          // tensors of a multimodal folder's towers, which are not in names
	stored map[string]string // names in the file of tensors that LanguageModel renamed

	activations bool // the folder requests quantised activations
}

// location is where a tensor is stored.
type location struct {
	file   *mapped
	entry  entry
	packed *gguf.Tensor // of a GGUF file; nil in safetensors
	codes  *codedMatrix // nil if the tensor is not in bitsandbytes' codes
	scaled *microscaled // nil if it is not in MXFP4

	grouped *grouped // nil if it is not in codes with scales for groups
}

// mapped is a file mapped into memory.
type mapped struct {
	path     string
	bytes    []byte // the whole file
	data     []byte // the bytes after the header
	metadata map[string]string
	unmap    func() error
}

// OpenFile maps one safetensors file and validates its header. The error names the file, the
// tensor and what to do.
func OpenFile(path string) (*Weights, error) {
	w := &Weights{tensors: map[string]location{}}
	entries, m, err := openMapped(path)
	if err != nil {
		return nil, err
	}
	w.files = append(w.files, m)
	for _, e := range entries {
		w.add(m, e)
	}
	slices.Sort(w.names)
	return w, nil
}

// OpenWeights maps the weights of a folder: model.safetensors, or the shards that
// model.safetensors.index.json lists, or if there is no model an adapter's
// adapter_model.safetensors. A quantised matrix is a tensor of its shape; unsupported
// formats are refused. The tensors of a folder of only a model's layers get the names of the
// whole model. Of a multimodal folder only the tensors of its language model are listed,
// with the names given by LanguageModel. dir may be a GGUF file, whose quantised tensors
// become float32 when they are read.
func OpenWeights(dir string) (*Weights, error) {
	if container.Is(dir) {
		if err := checkFolder(dir); err != nil {
			return nil, err
		}
		return openGGUF(dir)
	}
	w, err := openWeights(dir)
	if err != nil {
		return nil, err
	}
	if err = w.foldCodes(); err == nil {
		err = w.foldMicroscaled()
	}
	if err == nil {
		err = w.foldGrouped(dir)
	}
	if err == nil {
		err = w.checkQuantised()
	}
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	m, err := multimodalOf(dir)
	if err == nil && m != nil {
		err = w.LanguageModel(m, "")
	}
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	if m == nil {
		w.withBackbone()
	}
	return w, nil
}

func openWeights(dir string) (*Weights, error) {
	if err := checkFolder(dir); err != nil {
		return nil, err
	}
	if single := filepath.Join(dir, storage.ModelFile); storage.Exists(single) {
		return OpenFile(single)
	}
	if index := filepath.Join(dir, storage.ModelIndexFile); storage.Exists(index) {
		shards, err := readIndex(index)
		if err != nil {
			return nil, err
		}
		return openShards(dir, shards)
	}
	if adapter := filepath.Join(dir, storage.AdapterFile); storage.Exists(adapter) {
		return OpenFile(adapter)
	}
	return nil, noWeights(dir)
}

// OpenAdapter maps the weights of a PEFT adapter's folder.
func OpenAdapter(dir string) (*Weights, error) {
	path := filepath.Join(dir, storage.AdapterFile)
	if !storage.Exists(path) {
		return nil, noWeights(dir)
	}
	return OpenFile(path)
}

// checkFolder explains a path that is not a folder: users also write hub names.
func checkFolder(dir string) error {
	info, err := storage.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		way := "give the folder of one that is here"
		if name := filepath.ToSlash(dir); strings.Count(name, "/") == 1 && !strings.ContainsAny(name[:1], "./~") {
			way = "models are not downloaded by training: `dataflex-cli download " + name + "` once, or " + way
		}
		return fmt.Errorf("%s: no such model folder (%s): %w", dir, way, err)
	case err != nil:
		return err
	case container.Is(dir) && !info.IsDir():
		return nil
	case !info.IsDir():
		return fmt.Errorf("%s is a file, want the folder with config.json and %s, or a .gguf file", dir, storage.ModelFile)
	}
	return nil
}

// noWeights explains why a folder has no readable weights, and the way out.
func noWeights(dir string) error {
	for _, f := range []string{"pytorch_model.bin", "pytorch_model.bin.index.json"} {
		if storage.Exists(filepath.Join(dir, f)) {
			return fmt.Errorf("%s has %s but no %s: pickle files can run code and are never read; convert once with\n"+
				"  python -c \"from transformers import AutoModelForCausalLM as M; M.from_pretrained('%s', torch_dtype='auto').save_pretrained('%s', safe_serialization=True)\"",
				dir, f, storage.ModelFile, dir, dir)
		}
	}
	if storage.Exists(filepath.Join(dir, "adapter_model.bin")) {
		return fmt.Errorf("%s has adapter_model.bin but no %s: pickle files can run code and are never read; convert once with\n"+
			"  python -c \"import torch; from safetensors.torch import save_file; save_file(torch.load('%s/adapter_model.bin', map_location='cpu', weights_only=True), '%s/%s')\"",
			dir, storage.AdapterFile, dir, dir, storage.AdapterFile)
	}
	return fmt.Errorf("%s has no weights: neither %s nor %s nor %s", dir, storage.ModelFile, storage.ModelIndexFile, storage.AdapterFile)
}

// readIndex returns the tensor -> shard map of model.safetensors.index.json.
func readIndex(path string) (map[string]string, error) {
	text, err := storage.ReadInput(path, maxConfig)
	if err != nil {
		return nil, err
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(index.WeightMap) == 0 {
		return nil, fmt.Errorf("%s: weight_map is missing or empty", path)
	}
	for name, shard := range index.WeightMap {
		if shard != filepath.Base(shard) || !filepath.IsLocal(shard) {
			return nil, fmt.Errorf("%s: weight_map puts %q into %q, want the name of a file in the same folder", path, name, shard)
		}
	}
	return index.WeightMap, nil
}

func openShards(dir string, weightMap map[string]string) (_ *Weights, err error) {
	w := &Weights{tensors: map[string]location{}}
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	shards := map[string]bool{}
	for _, shard := range weightMap {
		shards[shard] = true
	}
	for _, shard := range slices.Sorted(maps.Keys(shards)) {
		path := filepath.Join(dir, shard)
		entries, m, err := openMapped(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s: %s lists %d shards and this one is missing: the download is incomplete: %w", path, storage.ModelIndexFile, len(shards), err)
		}
		if err != nil {
			return nil, err
		}
		w.files = append(w.files, m)
		for _, e := range entries {
			if weightMap[e.name] == shard {
				w.add(m, e)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(weightMap)) {
		if _, ok := w.tensors[name]; !ok {
			return nil, fmt.Errorf("%s: tensor %q is listed in %s but not in the file", filepath.Join(dir, weightMap[name]), name, storage.ModelIndexFile)
		}
	}
	slices.Sort(w.names)
	return w, nil
}

func openMapped(path string) ([]entry, *mapped, error) {
	b, unmap, err := storage.Map(path)
	if err != nil {
		return nil, nil, err
	}
	m := &mapped{path: path, bytes: b, unmap: unmap}
	entries, start, err := m.parse()
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%s: %w", path, err), unmap())
	}
	m.data = b[start:]
	return entries, m, nil
}

func (m *mapped) parse() (entries []entry, start uint64, err error) {
	defer storage.CatchFault(&err)()
	entries, m.metadata, start, err = parseHeader(m.bytes)
	return entries, start, err
}

func (w *Weights) add(m *mapped, e entry) {
	w.tensors[e.name] = location{file: m, entry: e}
	w.names = append(w.names, e.name)
}

// Names lists the tensors, sorted.
func (w *Weights) Names() []string { return w.names }

// Shape is a tensor's shape; false if there is no such tensor.
func (w *Weights) Shape(name string) ([]int, bool) {
	t, ok := w.tensors[name]
	return t.entry.shape, ok
}

// DType is a tensor's dtype as safetensors (F32, BF16, F16, …) or ggml (Q4_K, …) spells it;
// "" if there is no such tensor.
func (w *Weights) DType(name string) string { return w.tensors[name].entry.dtype }

// Path is the file that contains a tensor, for messages; "" if there is no such tensor.
func (w *Weights) Path(name string) string {
	t, ok := w.tensors[name]
	if !ok {
		return ""
	}
	return t.file.path
}

// Metadata is the __metadata__ of the (first) safetensors file.
func (w *Weights) Metadata() map[string]string { return w.files[0].metadata }

// ReadFloat32 converts a tensor into dst, which must have its number of elements. F32, BF16,
// F16, F64, BOOL and integers are supported; F64 and large integers are rounded to float32.
func (w *Weights) ReadFloat32(name string, dst []float32) (err error) {
	t, err := w.find(name, len(dst))
	if err != nil {
		return err
	}
	e := t.entry
	defer storage.CatchFault(&err)()
	switch {
	case t.packed != nil:
		return t.unpack(dst)
	case t.codes != nil:
		return t.decode(dst)
	case t.scaled != nil:
		t.scaled.read(dst)
		return nil
	case t.grouped != nil:
		return t.grouped.float32s(dst)
	}
	if !toFloat32(e.dtype, t.file.data[e.begin:e.end], dst) {
		return fmt.Errorf("%s: tensor %q is %s, which is not read (F32, BF16, F16, F64 and integers are): convert the model to bf16 first", t.file.path, name, e.dtype)
	}
	return nil
}

// ReadPart copies elements of a tensor of dtype F32 and size elements into dst, from one on.
func (w *Weights) ReadPart(name string, size, from int, dst []float32) (err error) {
	t, err := w.find(name, size)
	if err != nil {
		return err
	}
	e := t.entry
	if e.dtype != "F32" || from < 0 || from+len(dst) > size {
		return fmt.Errorf("%s: tensor %q is %s, want F32 and %d elements from %d on", t.file.path, name, e.dtype, len(dst), from)
	}
	defer storage.CatchFault(&err)()
	toFloat32(e.dtype, t.file.data[e.begin:e.end][4*from:4*(from+len(dst))], dst)
	return nil
}

// ReadBF16 copies a tensor of dtype BF16 into dst, which must have its number of elements,
// or rounds one that is Decoded to nearest even.
func (w *Weights) ReadBF16(name string, dst []driver.BF16) (err error) {
	t, err := w.find(name, len(dst))
	if err != nil {
		return err
	}
	if t.grouped != nil {
		return t.grouped.bf16s(dst)
	}
	if t.entry.dtype != "BF16" {
		return fmt.Errorf("%s: tensor %q is %s, not BF16", t.file.path, name, t.entry.dtype)
	}
	defer storage.CatchFault(&err)()
	src := t.file.data[t.entry.begin:t.entry.end]
	for i := range dst {
		dst[i] = driver.BF16(binary.LittleEndian.Uint16(src[2*i:]))
	}
	if t.packed != nil && t.packed.Heads > 0 {
		gguf.InOrder(dst, t.entry.shape[0], t.packed.Heads)
	}
	return nil
}

// find returns the tensor, which must have n elements.
func (w *Weights) find(name string, n int) (location, error) {
	t, ok := w.tensors[name]
	if !ok {
		return t, fmt.Errorf("%s: no tensor %q%s", w.where(), name, w.near(name))
	}
	e := t.entry
	has := 1
	for _, d := range e.shape {
		has *= d
	}
	if has != n {
		return t, fmt.Errorf("%s: tensor %q has shape %v (%d elements), want %d: config.json and the weights belong to different models",
			t.file.path, name, e.shape, has, n)
	}
	return t, nil
}

// where names the file, or the folder of a sharded model.
func (w *Weights) where() string {
	if len(w.files) == 1 {
		return w.files[0].path
	}
	return filepath.Dir(w.files[0].path)
}

// near lists tensors with the same last components, for messages.
func (w *Weights) near(name string) string {
	parts := strings.Split(name, ".")
	tail := strings.Join(parts[max(0, len(parts)-2):], ".")
	for _, n := range w.names {
		if strings.HasSuffix(n, tail) {
			return fmt.Sprintf(" (it has %d tensors, for example %q)", len(w.names), n)
		}
	}
	if len(w.names) == 0 {
		return " (it has no tensors)"
	}
	return fmt.Sprintf(" (it has %d tensors, for example %q)", len(w.names), w.names[0])
}

// Close unmaps the files. Data read by ReadFloat32 remain valid.
func (w *Weights) Close() error {
	var errs []error
	for _, m := range w.files {
		errs = append(errs, m.unmap())
	}
	w.files, w.tensors, w.names = nil, nil, nil
	return errors.Join(errs...)
}
