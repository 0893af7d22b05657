package main

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/gguf"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/data/tokenizer"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/tools/command"
)

func exportCommand() *cobra.Command {
	var overwrite bool
	cmd := command.TakesConfig(&cobra.Command{
		Use:   "export",
		Short: "Merge adapters into a model and write it for inference",
		Long: "Merges the adapters of adapter_name_or_path into model_name_or_path and writes the model into export_dir as transformers\n" +
			"reads it: weights in infer_dtype and in files of export_size GB, config.json, generation_config.json, the tokenizer, a Modelfile.\n" +
			"export_dir: NAME.gguf writes a file for llama.cpp and Ollama instead, its matrices as export_gguf says: f32, f16, bf16 or q8_0.\n" +
			"The result appears complete or not at all; an earlier export of the same model is replaced, another model only with --overwrite.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return export(cmd.Context(), args[0], args[1:], overwrite)
		},
	})
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "replace another model in export_dir")
	return cmd
}

func export(ctx context.Context, file string, overrides []string, overwrite bool) (err error) {
	log := command.Logger(os.Stderr)
	c, err := config.LoadExport(file, overrides)
	if err != nil {
		return err
	}
	for _, n := range c.Notices() {
		log.Info(n)
	}
	for _, l := range c.Unmet() {
		log.Warn(l)
	}
	e := &exported{config: c, adapters: adapterFolders(c), overwrite: overwrite}
	if err := refuseSources(c, e.adapters); err != nil {
		return err
	}
	dev := cpu.New(0)
	defer dev.Close()
	if err := e.open(dev); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.merger.Close()) }()
	if gguf.Is(c.Export.Dir) {
		return e.toGGUF(ctx)
	}
	return e.toFolder(ctx)
}

// exported is a model that is being exported.
type exported struct {
	config    *config.Config
	adapters  []string
	overwrite bool
	model     *checkpoint.ModelConfig
	tok       *tokenizer.Tokenizer
	tmpl      *template.Template // nil: the tokenizer has none
	merger    *merger
	vocab     int    // number of rows of the embeddings
	dtype     string // of the weights
}

// open opens the sources.
func (e *exported) open(dev driver.Device) (err error) {
	c := e.config
	for _, dir := range e.adapters {
		if _, err := checkpoint.ReadAdapterConfig(dir); err != nil {
			return c.Errorf("adapter_name_or_path", "%w", err)
		}
	}
	if e.model, err = checkpoint.ReadModelConfig(c.Model.NameOrPath); err != nil {
		return c.Errorf("model_name_or_path", "%w", err)
	}
	e.tok, e.tmpl, err = readTokenizer(c)
	if e.tok == nil {
		return err
	}
	if err != nil {
		if c.Data.Template != "" {
			return err
		}
		command.Logger(os.Stderr).Warn("the tokenizer is exported as it is, without a Modelfile: " + err.Error())
		addTokens(c, e.tok)
	}
	if e.merger, err = openMerger(dev, c.Model.NameOrPath, e.model, e.adapters); err != nil {
		return c.Errorf("model_name_or_path", "%w", err)
	}
	if e.vocab, err = fits(c, e.merger, e.tok); err != nil {
		return errors.Join(err, e.merger.Close())
	}
	if e.dtype = c.Model.InferDType; e.dtype == "auto" {
		e.dtype = storedDType(e.model, e.merger)
	}
	return nil
}

// sources are the folders read.
func (e *exported) sources() []string {
	return append([]string{e.config.Model.NameOrPath}, e.adapters...)
}

// toFolder writes a Hugging Face folder.
func (e *exported) toFolder(ctx context.Context) (err error) {
	c := e.config
	files, err := companions(c, e.tok, e.tmpl, savedModel{e.model, e.dtype, e.vocab, e.merger.untied})
	if err != nil {
		return c.Errorf("export_dir", "%w", err)
	}
	shards, total := plan(e.merger, dtypes[e.dtype].size, int64(c.Export.Size)*1e9)
	out, err := openTarget(c.Export.Dir, e.sources(), slices.Concat(slices.Collect(maps.Keys(files)), shardNames(len(shards))), e.overwrite)
	if err != nil {
		return c.Errorf("export_dir", "%w", err)
	}
	defer func() { err = errors.Join(err, out.abort()) }()
	if err := writeModel(ctx, e.merger, out.path(), e.dtype, shards, total); err != nil {
		return c.Errorf("export_dir", "%w", err)
	}
	for name, text := range files {
		file := filepath.Join(out.path(), name)
		if err := errors.Join(storage.MkdirAll(filepath.Dir(file)), storage.WriteFile(file, text)); err != nil {
			return c.Errorf("export_dir", "%w", err)
		}
	}
	if err := out.install(); err != nil {
		return c.Errorf("export_dir", "%w", err)
	}
	command.Logger(os.Stderr).Info("exported", "folder", c.Export.Dir, "dtype", e.dtype, "adapters", len(e.adapters))
	return nil
}

// adapterFolders are the folders in adapter_name_or_path, relative to adapter_folder.
func adapterFolders(c *config.Config) []string {
	var out []string
	for _, dir := range c.Model.AdapterNameOrPath {
		out = append(out, filepath.Join(dir, c.Model.AdapterFolder))
	}
	return out
}

// refuseSources prevents export from overwriting its sources.
func refuseSources(c *config.Config, adapters []string) error {
	target, err := os.Stat(c.Export.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return c.Errorf("export_dir", "%w", err)
	}
	for _, dir := range append([]string{c.Model.NameOrPath}, adapters...) {
		if source, err := os.Stat(dir); err == nil && os.SameFile(source, target) {
			return c.Errorf("export_dir", "it is the source folder %s: name another one", dir)
		}
	}
	return nil
}

// fits checks the tokenizer against the embeddings and returns the number of their rows.
func fits(c *config.Config, m *merger, tok *tokenizer.Tokenizer) (int, error) {
	if _, ok := m.base.Shape(m.embeddingsName()); !ok {
		return 0, c.Errorf("model_name_or_path", "%s has no tensor %s: it is not a causal language model of Hugging Face's", c.Model.NameOrPath, m.embeddingsName())
	}
	rows := m.shape(m.embeddingsName())[0]
	if n := tok.Len(); n > rows {
		return 0, c.Errorf("model_name_or_path", "with its template and added tokens the tokenizer has %d tokens, the embeddings have %d rows and no adapter has more: "+
			"export with the template used in training", n, rows)
	}
	if m.tied && !m.untied {
		return rows, nil
	}
	if head := m.shape(m.headName())[0]; head != rows {
		return 0, c.Errorf("adapter_name_or_path", "the embeddings have %d rows and the head %d: the adapter was trained with added tokens and has only one of the two: train it with additional_target: %s", rows, head, strings.Join(m.tables.Names(), ","))
	}
	return rows, nil
}

// storedDType is the number format in the model's config.json, or that of its weights where
// that is missing or unknown.
func storedDType(c *checkpoint.ModelConfig, m *merger) string {
	if _, ok := dtypes[c.TorchDType]; ok {
		return c.TorchDType
	}
	for name, d := range dtypes {
		if d.name == m.base.DType(m.embeddingsName()) {
			return name
		}
	}
	return "float32"
}

// companions are the files beside the weights, by name.
func companions(c *config.Config, tok *tokenizer.Tokenizer, tmpl *template.Template, saved savedModel) (map[string][]byte, error) {
	files := map[string][]byte{}
	if saved.base.Multimodal != nil {
		var err error
		if files, err = checkpoint.ProcessorFiles(c.Model.NameOrPath); err != nil {
			return nil, err
		}
	}
	files[storage.ConfigFile] = saved.config(c)
	generation, err := checkpoint.ReadGenerationConfig(c.Model.NameOrPath)
	if err != nil {
		return nil, err
	}
	files[checkpoint.GenerationFile] = generation.Encode()
	tok.SetPaddingSide("left")
	const upstreamDefault = 2048 // of cutoff_len: by itself it changes nothing
	if n := c.Data.CutoffLen; n != upstreamDefault && tok.ModelMaxLength() < n {
		tok.SetModelMaxLength(n)
	}
	err = tok.Save("", func(name string, text []byte) error {
		files[filepath.ToSlash(name)] = text
		return nil
	})
	if err != nil || tmpl == nil {
		return files, err
	}
	text, err := tmpl.Modelfile(tok, ".")
	if err != nil {
		command.Logger(os.Stderr).Warn("no Modelfile: " + err.Error())
		return files, nil
	}
	files["Modelfile"] = []byte(text)
	return files, nil
}

// savedModel is the part of an exported model's config.json that differs from the base's.
type savedModel struct {
	base   *checkpoint.ModelConfig
	dtype  string
	vocab  int
	untied bool // an adapter parted the head from the embeddings
}

// config is config.json with the current number format, vocabulary size and head, and with the
// positions scaled by rope_scaling. A multimodal model's is kept byte for byte where it already
// says so.
func (s savedModel) config(c *config.Config) []byte {
	if s.base.Multimodal == nil || s.dtype != s.base.TorchDType {
		s.base.SetDType(s.dtype)
	}
	if s.base.Multimodal == nil || s.vocab != s.base.VocabSize {
		s.base.Set("vocab_size", s.vocab)
	}
	if s.untied {
		s.base.Set("tie_word_embeddings", false)
	}
	if c.Model.RopeScaling != "" {
		scaling, positions := stretched(c, s.base)
		s.base.SetRopeScaling(scaling)
		s.base.Set("max_position_embeddings", positions)
	}
	return s.base.Text()
}

// stretched is LLaMA-Factory's scaling of a model that is not trained: to twice the positions,
// or as many as a larger cutoff_len requires.
func stretched(c *config.Config, base *checkpoint.ModelConfig) (scaling checkpoint.RopeScaling, positions int) {
	old, factor := base.MaxPositionEmbeddings, 2.0
	if r := base.RopeScaling; r != nil && r.OriginalMaxPositionEmbeddings > 0 {
		old = r.OriginalMaxPositionEmbeddings
	}
	if n := c.Data.CutoffLen; c.Given("cutoff_len") && n > old {
		factor = math.Ceil(float64(n) / float64(old))
	}
	scaling = checkpoint.RopeScaling{Type: c.Model.RopeScaling, Factor: factor, OriginalMaxPositionEmbeddings: old}
	if scaling.Type == "llama3" {
		scaling.LowFreqFactor, scaling.HighFreqFactor = 1, 4
	}
	return scaling, int(float64(old) * factor)
}
