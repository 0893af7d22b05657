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

	"github.com/spf13/cobra"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/data/tokenizer"
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
			"The folder is whole or not there; an earlier export of the same model is replaced, another model is not unless --overwrite is given.",
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
	for _, l := range c.Losses() {
		log.Warn(l)
	}
	adapters := adapterFolders(c)
	if err := refuseSources(c, adapters); err != nil {
		return err
	}
	for _, dir := range adapters {
		if _, err := checkpoint.ReadAdapterConfig(dir); err != nil {
			return c.Errorf("adapter_name_or_path", "%w", err)
		}
	}
	model, err := checkpoint.ReadModelConfig(c.Model.NameOrPath)
	if err != nil {
		return c.Errorf("model_name_or_path", "%w", err)
	}
	tok, tmpl, err := readTokenizer(c)
	if tok == nil {
		return err
	}
	if err != nil {
		if c.Data.Template != "" {
			return err
		}
		log.Warn("the tokenizer is exported as it is, without a Modelfile: " + err.Error())
		addTokens(c, tok)
	}
	dev := cpu.New(0)
	defer dev.Close()
	m, err := openMerger(dev, c.Model.NameOrPath, adapters, model.TieWordEmbeddings)
	if err != nil {
		return c.Errorf("model_name_or_path", "%w", err)
	}
	defer m.Close()
	vocab, err := fits(c, m, tok)
	if err != nil {
		return err
	}
	dtype := c.Model.InferDType
	if dtype == "auto" {
		dtype = storedDType(model, m)
	}
	files, err := companions(c, tok, tmpl, savedModel{model, dtype, vocab, model.TieWordEmbeddings && !m.untied})
	if err != nil {
		return c.Errorf("export_dir", "%w", err)
	}
	shards, total := plan(m, dtypes[dtype].size, int64(c.Export.Size)*1e9)
	out, err := openTarget(c.Export.Dir, append([]string{c.Model.NameOrPath}, adapters...), slices.Concat(slices.Collect(maps.Keys(files)), shardNames(len(shards))), overwrite)
	if err != nil {
		return c.Errorf("export_dir", "%w", err)
	}
	defer func() { err = errors.Join(err, out.abort()) }()
	if err := writeModel(ctx, m, out.path(), dtype, shards, total); err != nil {
		return c.Errorf("export_dir", "%w", err)
	}
	for name, text := range files {
		if err := storage.WriteFile(filepath.Join(out.path(), name), text); err != nil {
			return c.Errorf("export_dir", "%w", err)
		}
	}
	if err := out.install(); err != nil {
		return c.Errorf("export_dir", "%w", err)
	}
	log.Info("exported", "folder", c.Export.Dir, "dtype", dtype, "adapters", len(adapters))
	return nil
}

// adapterFolders are adapter_name_or_path below adapter_folder.
func adapterFolders(c *config.Config) []string {
	var out []string
	for _, dir := range c.Model.AdapterNameOrPath {
		out = append(out, filepath.Join(dir, c.Model.AdapterFolder))
	}
	return out
}

// refuseSources keeps export from writing over what it reads.
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
			return c.Errorf("export_dir", "it is the folder %s that is read from: name another one", dir)
		}
	}
	return nil
}

// fits checks the tokenizer against the embeddings and returns their rows.
func fits(c *config.Config, m *merger, tok *tokenizer.Tokenizer) (int, error) {
	if _, ok := m.base.Shape(embeddingsName); !ok {
		return 0, c.Errorf("model_name_or_path", "%s has no tensor %s: it is no causal language model of Hugging Face's", c.Model.NameOrPath, embeddingsName)
	}
	rows := m.shape(embeddingsName)[0]
	if n := tok.Len(); n > rows {
		return 0, c.Errorf("model_name_or_path", "with its template and added tokens the tokenizer has %d tokens, the embeddings have %d rows and no adapter brings more: "+
			"export with the template that was trained with", n, rows)
	}
	if m.tied && !m.untied {
		return rows, nil
	}
	if head := m.shape(headName)[0]; head != rows {
		return 0, c.Errorf("adapter_name_or_path", "the embeddings have %d rows and the head %d: the adapter was trained with added tokens and brings one of the two: train it with additional_target: embed_tokens,lm_head", rows, head)
	}
	return rows, nil
}

// storedDType is the number format of the model's config.json, or of its weights where
// that says nothing known.
func storedDType(c *checkpoint.ModelConfig, m *merger) string {
	if _, ok := dtypes[c.TorchDType]; ok {
		return c.TorchDType
	}
	for name, d := range dtypes {
		if d.name == m.base.DType("model.embed_tokens.weight") {
			return name
		}
	}
	return "float32"
}

// companions are the files beside the weights, by name.
func companions(c *config.Config, tok *tokenizer.Tokenizer, tmpl *template.Template, saved savedModel) (map[string][]byte, error) {
	files := map[string][]byte{}
	var err error
	if files[storage.ConfigFile], err = saved.config(c); err != nil {
		return nil, err
	}
	generation, err := checkpoint.ReadGenerationConfig(c.Model.NameOrPath)
	if err != nil {
		return nil, err
	}
	files[checkpoint.GenerationFile] = generation.Encode()
	tok.SetPaddingSide("left")
	const upstreamDefault = 2048 // of cutoff_len: that alone changes nothing
	if n := c.Data.CutoffLen; n != upstreamDefault && tok.ModelMaxLength() < n {
		tok.SetModelMaxLength(n)
	}
	err = tok.Save("", func(name string, text []byte) error {
		files[name] = text
		return nil
	})
	if err != nil || tmpl == nil {
		return files, err
	}
	text, err := tmpl.Modelfile(tok)
	if err != nil {
		command.Logger(os.Stderr).Warn("no Modelfile: " + err.Error())
		return files, nil
	}
	files["Modelfile"] = []byte(text)
	return files, nil
}

// savedModel is what of an exported model's config.json is not the base's.
type savedModel struct {
	base  *checkpoint.ModelConfig
	dtype string
	vocab int
	tied  bool
}

// config is config.json with the number format, the vocabulary's size and the head as
// they are now, and with the positions that rope_scaling stretches.
func (s savedModel) config(c *config.Config) ([]byte, error) {
	fields, err := pyjson.DecodeObject(s.base.Text())
	if err != nil {
		return nil, err
	}
	key := "torch_dtype"
	if _, modern := fields.Lookup("dtype"); modern {
		key = "dtype"
	}
	fields.Set(key, s.dtype)
	fields.Set("vocab_size", s.vocab)
	if s.tied != s.base.TieWordEmbeddings {
		fields.Set("tie_word_embeddings", s.tied)
	}
	if c.Model.RopeScaling != "" {
		s.stretch(c, &fields)
	}
	return dumpObject(fields), nil
}

// stretch writes rope_scaling as LLaMA-Factory does where nothing is trained: twice the
// positions, or as many as a cutoff_len beyond them asks for.
func (s savedModel) stretch(c *config.Config, fields *pyjson.Object) {
	old, factor := s.base.MaxPositionEmbeddings, 2.0
	if r := s.base.RopeScaling; r != nil && r.OriginalMaxPositionEmbeddings > 0 {
		old = r.OriginalMaxPositionEmbeddings
	}
	if n := c.Data.CutoffLen; c.Given("cutoff_len") && n > old {
		factor = math.Ceil(float64(n) / float64(old))
	}
	scaling := checkpoint.RopeScaling{Type: c.Model.RopeScaling, Factor: factor, OriginalMaxPositionEmbeddings: old}
	if scaling.Type == "llama3" {
		scaling.LowFreqFactor, scaling.HighFreqFactor = 1, 4
	}
	s.base.SetRopeScaling(scaling)
	for _, key := range []string{"rope_scaling", "rope_parameters"} {
		if v, ok := s.base.Value(key); ok {
			fields.Set(key, v)
		}
	}
	fields.Set("max_position_embeddings", int(float64(old)*factor))
}

// dumpObject writes as transformers writes its configs.
func dumpObject(fields pyjson.Object) []byte {
	return []byte(pyjson.EncodeASCII(fields.Sorted(), 2) + "\n")
}
