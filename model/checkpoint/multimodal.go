package checkpoint

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/storage"
)

// Multimodal locates the language model in a folder that also has vision or audio towers:
// transformers' …ForConditionalGeneration. Modules have the names of transformers 5, and so
// of PEFT, whatever layout the folder's files have.
type Multimodal struct {
	ModelType string // of the whole model: gemma3, mistral3, …
	Text      string // the language model's module, which replaces "model" in its own names
	Head      string // the module of the head over the vocabulary
}

// multimodal is a row of multimodals.
type multimodal struct {
	text   string // the default model_type of text_config
	module string // "": model.language_model
	head   string // "": lm_head
	tied   bool   // by default the head is tied to the embeddings
	flat   bool   // older files have the text model's keys beside vision_config
}

// multimodals are the multimodal models whose language model can be read (transformers 5.24,
// configuration_<family>.py, conversion_mapping.py).
var multimodals = map[string]multimodal{
	"gemma3":           {text: "gemma3_text", tied: true},
	"gemma4":           {text: "gemma4_text", tied: true},
	"glm4v":            {text: "glm4v_text"},
	"glm_ocr":          {text: "glm_ocr_text"},
	"idefics3":         {text: "llama", module: "model.text_model"},
	"internvl":         {text: "qwen2", tied: true},
	"llama4":           {text: "llama4_text", module: "language_model.model", head: "language_model.lm_head"},
	"llava":            {text: "llama"},
	"llava_next":       {text: "llama"},
	"llava_next_video": {text: "llama"},
	"llava_onevision":  {text: "qwen2"},
	"mistral3":         {text: "mistral", tied: true},
	"qwen2_vl":         {text: "qwen2_vl_text", flat: true},
	"qwen2_5_vl":       {text: "qwen2_5_vl_text", flat: true},
	"qwen3_vl":         {text: "qwen3_vl_text"},
	"qwen3_5":          {text: "qwen3_5_text"},
	"qwen3_5_moe":      {text: "qwen3_5_moe_text"},
	"smolvlm":          {text: "llama", module: "model.text_model"},
}

// Multimodals lists the model types of multimodal models whose language model can be read,
// sorted.
func Multimodals() []string { return slices.Sorted(maps.Keys(multimodals)) }

// TextOf is the default model type of a multimodal model's language model.
func TextOf(whole string) string { return multimodals[whole].text }

// textSizes are the sizes that a text_config may leave out: vocabulary, width, MLP's width,
// layers, heads, and whether the class has a padding token.
var textSizes = map[string]struct {
	vocab, hidden, intermediate, layers, heads int
	pad                                        bool
}{
	"gemma3_text":      {262208, 2304, 9216, 26, 8, true},
	"gemma4_text":      {262144, 2304, 9216, 30, 8, true},
	"glm4v_text":       {151552, 4096, 13696, 40, 32, false},
	"glm_ocr_text":     {59392, 1024, 4096, 16, 16, false},
	"llama":            {32000, 4096, 11008, 32, 32, false},
	"ministral3":       {131072, 4096, 14336, 34, 32, false},
	"mistral":          {32000, 4096, 14336, 32, 32, false},
	"qwen2":            {151936, 4096, 22016, 32, 32, false},
	"qwen2_vl_text":    {152064, 8192, 29568, 80, 64, false},
	"qwen2_5_vl_text":  {152064, 8192, 29568, 80, 64, false},
	"qwen3":            {151936, 4096, 22016, 32, 32, false},
	"qwen3_5_text":     {248320, 4096, 12288, 32, 16, false},
	"qwen3_5_moe_text": {248320, 2048, 0, 40, 16, false}, // it has no MLPs
	"qwen3_vl_text":    {151936, 4096, 22016, 32, 32, false},
}

// languageModel returns the fields of the language model of a multimodal config.json; for
// other models it returns f and nil. The fields are those of text_config, with the sizes of
// its class and the whole model's special tokens as defaults.
func languageModel(f *fields) (*fields, *Multimodal) {
	kind := f.string("model_type", "")
	row, known := multimodals[kind]
	text := f.object("text_config")
	switch {
	case !known:
		return f, nil
	case text == nil && row.flat && f.has("hidden_size"):
		text = &fields{path: f.path, raw: maps.Clone(f.raw)}
		delete(text.raw, "model_type")
	case text == nil:
		f.fail("text_config is missing, and model_type %s has its language model's sizes in it", kind)
		text = &fields{path: f.path, raw: map[string]any{}}
	default:
		text.raw = maps.Clone(text.raw)
	}
	if text.raw["model_type"] == nil {
		text.raw["model_type"] = row.text
	}
	m := &Multimodal{ModelType: kind, Text: "model.language_model", Head: "lm_head"}
	if row.module != "" {
		m.Text = row.module
	}
	if row.head != "" {
		m.Head = row.head
	}
	if f.err != nil && text.err == nil {
		text.err = f.err
	}
	text.fromWhole(f, row)
	return text, m
}

// fromWhole sets keys that the language model leaves out to those of the whole model or to
// the defaults of its own class.
func (f *fields) fromWhole(whole *fields, row multimodal) {
	if v := whole.raw["architectures"]; v != nil {
		f.raw["architectures"] = v
	}
	for _, key := range []string{"bos_token_id", "eos_token_id", "dtype", "torch_dtype", "quantization_config"} {
		if v := whole.raw[key]; v != nil {
			f.raw[key] = v
		}
	}
	// transformers 5 only reads the whole model's; older files have the key in text_config.
	own, _ := f.raw["tie_word_embeddings"].(bool)
	f.raw["tie_word_embeddings"] = whole.bool("tie_word_embeddings", row.tied) || own
	f.take(whole)
	kind, _ := f.raw["model_type"].(string)
	d, ok := textSizes[kind]
	if !ok {
		return
	}
	defaults := map[string]any{"vocab_size": d.vocab, "hidden_size": d.hidden, "intermediate_size": d.intermediate, "num_hidden_layers": d.layers, "num_attention_heads": d.heads}
	if d.pad {
		defaults["pad_token_id"] = 0
	}
	for key, v := range defaults {
		if _, given := f.raw[key]; !given && (v != 0 || key == "pad_token_id") {
			f.raw[key] = v
		}
	}
}

// keepFile stores config.json, to be written unchanged.
func (c *ModelConfig) keepFile() (err error) {
	if text, ok := c.raw["text_config"].(map[string]any); ok {
		c.text = text
	}
	c.file, err = storage.ReadInput(c.Path, maxConfig)
	return err
}

// Tables are the modules of the two tables of the vocabulary.
func (m *Multimodal) Tables() Tables { return Tables{m.Text + ".embed_tokens", m.Head} }

// Module is the path in transformers 5 of a module, or tensor, of the language model whose
// path is that of any layout of the whole model; ok is false if it is not part of it.
func (m *Multimodal) Module(path string) (name string, ok bool) {
	for _, head := range []string{"language_model.lm_head", "lm_head"} {
		if path == head || strings.HasPrefix(path, head+".") {
			return m.Head + path[len(head):], true
		}
	}
	for _, before := range []string{m.Text, "model.language_model.model", "model.language_model", "language_model.model", "language_model", "model.text_model"} {
		if rest, is := strings.CutPrefix(path, before+"."); is {
			return m.Text + "." + rest, true
		}
	}
	rest, is := strings.CutPrefix(path, "model.")
	for _, module := range []string{"embed_tokens.", "layers.", "norm."} {
		if is && strings.HasPrefix(rest, module) {
			return m.Text + "." + rest, true
		}
	}
	return path, false
}

// LanguageModel renames the tensors of the language model as transformers 5 does, after
// prefix, and removes those of the towers from Names; Beside returns these.
func (w *Weights) LanguageModel(m *Multimodal, prefix string) error {
	named := map[string]location{}
	var names []string
	w.beside, w.stored = nil, map[string]string{}
	for _, name := range w.names {
		t := w.tensors[name]
		path, inside := strings.CutPrefix(name, prefix)
		path, part := m.Module(path)
		if !inside || !part {
			w.beside = append(w.beside, name)
			named[name] = t
			continue
		}
		path = prefix + path
		if _, twice := w.stored[path]; twice {
			return fmt.Errorf("%s: tensors %q and %q are the same tensor of the language model", t.file.path, w.stored[path], name)
		}
		w.stored[path] = name
		t.entry.name = path
		names, named[path] = append(names, path), t
	}
	slices.Sort(names)
	w.names, w.tensors = names, named
	return nil
}

// Stored is the name in the file of a tensor, which LanguageModel may have renamed. For
// tensors that do not exist it is derived from the others.
func (w *Weights) Stored(m *Multimodal, name string) string {
	if stored, ok := w.stored[name]; ok {
		return stored
	}
	for _, module := range []string{m.Text, m.Head} {
		rest, is := strings.CutPrefix(name, module+".")
		if !is {
			continue
		}
		for there, stored := range w.stored {
			if end, same := strings.CutPrefix(there, module+"."); same && strings.HasSuffix(stored, "."+end) {
				return strings.TrimSuffix(stored, end) + rest
			}
		}
	}
	if name == m.Head+".weight" && strings.HasPrefix(w.stored[m.Text+".norm.weight"], "language_model.") {
		return "language_model.lm_head.weight"
	}
	return name
}

// Beside returns the tensors that are not part of the language model, with their names in
// the files. Their memory is valid until Close.
func (w *Weights) Beside() []Tensor {
	var list []Tensor
	for _, name := range w.beside {
		t := w.tensors[name]
		list = append(list, Tensor{Name: name, Shape: t.entry.shape, DType: t.entry.dtype, Raw: t.file.data[t.entry.begin:t.entry.end]})
	}
	return list
}

// OwnHead reports whether a head is stored that differs from the embeddings: transformers 5
// does not tie such a head, whatever config.json says.
func (w *Weights) OwnHead(on Tables) bool {
	head, ok := w.tensors[on.Head+".weight"]
	table, both := w.tensors[on.Embedding+".weight"]
	return ok && both && !(head.entry.dtype == table.entry.dtype && bytes.Equal(head.file.data[head.entry.begin:head.entry.end], table.file.data[table.entry.begin:table.entry.end]))
}

// ProcessorFiles returns a folder's files for images, audio and videos, by name.
func ProcessorFiles(dir string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, name := range []string{"preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"} {
		if path := filepath.Join(dir, name); storage.Exists(path) {
			text, err := storage.ReadInput(path, maxConfig)
			if err != nil {
				return nil, err
			}
			files[name] = text
		}
	}
	return files, nil
}

// multimodalOf reads the config.json beside weights; nil if there is none, or it is not that
// of a multimodal model.
func multimodalOf(dir string) (*Multimodal, error) {
	path := filepath.Join(dir, storage.ConfigFile)
	if !storage.Exists(path) {
		return nil, nil
	}
	f, err := readFields(path)
	if err != nil {
		return nil, err
	}
	_, m := languageModel(f)
	return m, f.err
}
