package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	container "dataflex.dev/dataflex/data/gguf"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/model/gguf"
	"dataflex.dev/dataflex/model/gguf/convert"
	"dataflex.dev/dataflex/tools/command"
)

// ggufTypes are the types of a GGUF file's matrices by the values of export_gguf and
// infer_dtype.
var ggufTypes = map[string]container.Type{
	"f32": container.F32, "f16": container.F16, "bf16": container.BF16, "q8_0": container.Q8_0,
	"float32": container.F32, "float16": container.F16, "bfloat16": container.BF16,
}

// sourcesKey holds a hash of what the file was made from, so that the file does not reveal
// folder names.
const sourcesKey = "dataflex.export.sources"

// toGGUF writes a GGUF file for llama.cpp, and a Modelfile for Ollama beside it.
func (e *exported) toGGUF(ctx context.Context) (err error) {
	c := e.config
	path, err := filepath.Abs(c.Export.Dir)
	if err != nil {
		return c.Errorf("export_dir", "%w", err)
	}
	kind := ggufTypes[c.Export.GGUF]
	if c.Export.GGUF == "auto" {
		kind = ggufTypes[e.dtype]
	}
	model, err := e.asGGUF(kind)
	if err != nil {
		return c.Errorf("export_dir", "%w", err)
	}
	model.Values = append(model.Values, container.Value{Key: sourcesKey, Value: e.sourcesHash()})
	dir, name := filepath.Split(path)
	if err := storage.MkdirAll(dir); err != nil {
		return c.Errorf("export_dir", "%w", err)
	}
	lock, err := storage.TakeLock(filepath.Join(dir, "."+name+".lock"))
	if err != nil {
		return c.Errorf("export_dir", "%w", err)
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	modelfile := strings.TrimSuffix(path, filepath.Ext(path)) + ".Modelfile"
	if err := errors.Join(e.mayReplace(path), e.mayReplaceModelfile(modelfile)); err != nil {
		return c.Errorf("export_dir", "%w", err)
	}
	err = storage.Write(path, -1, func(file io.Writer) error {
		w := bufio.NewWriterSize(file, 1<<20)
		if err := e.writeGGUF(ctx, w, model); err != nil {
			return err
		}
		return w.Flush()
	})
	if err == nil {
		err = e.writeModelfile(modelfile, name)
	}
	if err != nil {
		return c.Errorf("export_dir", "%w", err)
	}
	log := command.Logger(os.Stderr)
	for _, n := range model.Notes {
		log.Warn(n)
	}
	log.Info("exported", "file", c.Export.Dir, "matrices", kind, "tensors", len(model.Tensors), "adapters", len(e.adapters))
	return nil
}

// asGGUF is the content of the file: the model, and its tokenizer.
func (e *exported) asGGUF(kind container.Type) (*convert.Model, error) {
	if whole := e.model.Multimodal; whole != nil {
		return nil, fmt.Errorf("GGUF files are written of language models alone, and this is the one of a %s model: export a Hugging Face folder, and convert it with llama.cpp's convert_hf_to_gguf.py, which also writes the towers (--mmproj)", whole.ModelType)
	}
	config := *e.model
	if e.config.Model.RopeScaling != "" {
		scaling, positions := stretched(e.config, e.model)
		config.RopeScaling, config.MaxPositionEmbeddings = &scaling, positions
	}
	model, err := convert.New(&config, e.merger.names(), e.merger.shape, kind)
	if err != nil {
		return nil, err
	}
	model.Values = append(model.Values, container.Value{Key: "general.name", Value: e.ggufName()})
	tokens, err := e.tok.GGUF(e.vocab)
	if err != nil {
		return nil, err
	}
	model.Values = append(model.Values, tokens...)
	for key, id := range map[string]int{"tokenizer.ggml.bos_token_id": config.BOSTokenID, "tokenizer.ggml.padding_token_id": config.PadTokenID} {
		named := slices.ContainsFunc(tokens, func(v container.Value) bool { return v.Key == key })
		if !named && id >= 0 && id < e.vocab {
			model.Values = append(model.Values, container.Value{Key: key, Value: uint32(id)})
		}
	}
	return model, nil
}

// phi3 matches names by which llama.cpp recognises a tokenizer whose special tokens absorb the
// spaces after them (llama-vocab.cpp): it recognises Phi-3's only by general.name.
var phi3 = regexp.MustCompile(`(?i)phi-?3`)

// phi3Tokens are tokens without which llama.cpp does not load such a file.
var phi3Tokens = []string{"</s>", "<unk>", "<s>", "<|endoftext|>"}

// ggufName is the file's general.name, made to contain Phi-3's if and only if the tokenizer is
// Phi-3's.
func (e *exported) ggufName() string {
	name := strings.TrimSuffix(filepath.Base(e.config.Export.Dir), filepath.Ext(e.config.Export.Dir))
	is := e.model.ModelType == "phi3" && !slices.ContainsFunc(phi3Tokens, func(t string) bool { _, ok := e.tok.ID(t); return !ok })
	switch {
	case is && !phi3.MatchString(name):
		return name + " phi-3"
	case !is:
		return phi3.ReplaceAllString(name, "phi 3")
	}
	return name
}

// writeGGUF writes the file, tensor by tensor.
func (e *exported) writeGGUF(ctx context.Context, w io.Writer, model *convert.Model) error {
	tensors := make([]container.Tensor, len(model.Tensors))
	for i, t := range model.Tensors {
		tensors[i] = container.Tensor{Name: t.Name, Type: t.Type, Shape: t.Shape}
	}
	return container.Write(w, model.Values, tensors, func(i int, w io.Writer) error {
		t := &model.Tensors[i]
		if t.Fixed != nil {
			return writeNumbers(w, t.Type, t.Fixed)
		}
		for _, source := range t.Sources {
			if err := ctx.Err(); err != nil {
				return err
			}
			x, err := e.merger.read(source)
			if err != nil {
				return err
			}
			if at := slices.IndexFunc(x, func(v float32) bool { return v != v }); at >= 0 {
				return fmt.Errorf("it holds NaN (element %d) after merging: the adapter does not belong to this model, or its training diverged", at)
			}
			t.Arrange(x)
			if err := writeNumbers(w, t.Type, x); err != nil {
				return err
			}
		}
		return nil
	})
}

func writeNumbers(w io.Writer, kind container.Type, x []float32) error {
	var buf []byte
	for part := range slices.Chunk(x, 1<<14) { // whole blocks for every type
		buf, _ = gguf.Append(kind, buf[:0], part)
		if _, err := w.Write(buf); err != nil {
			return err
		}
	}
	return nil
}

func (e *exported) sourcesHash() string {
	sum := sha256.Sum256([]byte(strings.Join(e.sources(), " + ")))
	return hex.EncodeToString(sum[:])
}

// mayReplace refuses to overwrite anything except an earlier export of the same model.
func (e *exported) mayReplace(path string) error {
	info, err := storage.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file: name another one", path)
	case e.overwrite:
		return nil
	}
	old, err := container.Open(path)
	if err == nil {
		var hash string
		hash, _, err = container.Get[string](old, sourcesKey)
		if err = errors.Join(err, old.Close()); err == nil && hash == e.sourcesHash() {
			return nil
		}
	}
	return fmt.Errorf("%s is another model: name another file, or give --overwrite to replace it", path)
}

// modelfileHead is the beginning of every Modelfile that export writes.
const modelfileHead = "# ollama modelfile auto-generated"

func (e *exported) mayReplaceModelfile(path string) error {
	text, err := storage.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (e.overwrite || e.tmpl == nil || strings.HasPrefix(string(text), modelfileHead)) {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("%s was not written by export: move it, or give --overwrite to replace it", path)
	}
	return err
}

// writeModelfile writes the file from which Ollama takes the template, as it supports few of
// the templates in GGUF files.
func (e *exported) writeModelfile(path, gguf string) error {
	if e.tmpl == nil {
		return nil
	}
	text, err := e.tmpl.Modelfile(e.tok, "./"+gguf)
	if err != nil {
		command.Logger(os.Stderr).Warn("no Modelfile: " + err.Error())
		return nil
	}
	return storage.WriteFile(path, []byte(text))
}
