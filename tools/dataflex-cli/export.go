package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/data/tokenizer"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/tools/command"
)

func exportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "export CONFIG [key=value ...]",
		Short: "Merge adapters into a model and write it for inference",
		Long: "Merges the adapters of adapter_name_or_path into model_name_or_path and writes the model into export_dir as transformers\n" +
			"reads it: weights in infer_dtype and in files of export_size GB, config.json, generation_config.json, the tokenizer, a Modelfile.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return export(cmd.Context(), args[0], args[1:]) },
	}
}

func export(ctx context.Context, file string, overrides []string) error {
	log := command.Logger(os.Stderr)
	c, err := config.LoadExport(file, overrides)
	if err != nil {
		return err
	}
	for _, n := range c.Notices() {
		log.Info(n)
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
	if err := os.MkdirAll(c.Export.Dir, 0o777); err != nil {
		return c.Errorf("export_dir", "%w", err)
	}
	if err := writeModel(ctx, m, c.Export.Dir, dtype, int64(c.Export.Size)*1e9); err != nil {
		return c.Errorf("export_dir", "%w", err)
	}
	if err := writeCompanions(c, tok, tmpl, dtype, vocab); err != nil {
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
	const embeddings = "model.embed_tokens.weight"
	if _, ok := m.base.Shape(embeddings); !ok {
		return 0, c.Errorf("model_name_or_path", "%s has no tensor %s: it is no causal language model of Hugging Face's", c.Model.NameOrPath, embeddings)
	}
	rows := m.shape(embeddings)[0]
	if n := tok.Len(); n > rows {
		return 0, c.Errorf("model_name_or_path", "with its template and added tokens the tokenizer has %d tokens, the embeddings have %d rows and no adapter brings more: "+
			"export with the template that was trained with", n, rows)
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

// writeCompanions writes what stands beside the weights.
func writeCompanions(c *config.Config, tok *tokenizer.Tokenizer, tmpl *template.Template, dtype string, vocab int) error {
	dir := c.Export.Dir
	if err := writeConfig(c.Model.NameOrPath, dir, dtype, vocab); err != nil {
		return err
	}
	if err := writeGeneration(c.Model.NameOrPath, dir); err != nil {
		return err
	}
	tok.SetPaddingSide("left")
	const upstreamDefault = 2048 // of cutoff_len: that alone changes nothing
	if n := c.Data.CutoffLen; n != upstreamDefault && tok.ModelMaxLength() < n {
		tok.SetModelMaxLength(n)
	}
	if err := tok.Save(dir, storage.WriteFile); err != nil {
		return err
	}
	if tmpl == nil {
		return nil
	}
	text, err := tmpl.Modelfile(tok)
	if err != nil {
		command.Logger(os.Stderr).Warn("no Modelfile: " + err.Error())
		return nil
	}
	return storage.WriteFile(filepath.Join(dir, "Modelfile"), []byte(text))
}

// writeConfig copies config.json with the number format and the vocabulary's size as
// they are now.
func writeConfig(from, dir, dtype string, vocab int) error {
	fields, err := readObject(filepath.Join(from, "config.json"))
	if err != nil {
		return err
	}
	key := "torch_dtype"
	if _, modern := fields["dtype"]; modern {
		key = "dtype"
	}
	fields[key] = dtype
	fields["vocab_size"] = vocab
	return writeObject(filepath.Join(dir, "config.json"), fields)
}

// writeGeneration copies generation_config.json, or makes one as transformers does. A
// temperature without sampling, which transformers refuses to save, gets do_sample.
func writeGeneration(from, dir string) error {
	path := filepath.Join(from, "generation_config.json")
	fields, err := readObject(path)
	if errors.Is(err, fs.ErrNotExist) {
		model, err := readObject(filepath.Join(from, "config.json"))
		if err != nil {
			return err
		}
		fields = map[string]any{"_from_model_config": true}
		for _, key := range []string{"bos_token_id", "eos_token_id", "pad_token_id", "transformers_version"} {
			if v := model[key]; v != nil {
				fields[key] = v
			}
		}
	} else if err != nil {
		return err
	}
	if sample, _ := fields["do_sample"].(bool); !sample {
		for _, key := range []string{"temperature", "top_p", "typical_p"} {
			if n, ok := fields[key].(json.Number); ok {
				if v, err := n.Float64(); err == nil && v != 1 {
					fields["do_sample"] = true
				}
			}
		}
	}
	return writeObject(filepath.Join(dir, "generation_config.json"), fields)
}

func readObject(path string) (map[string]any, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // 1e-05 stays as it is written
	var fields map[string]any
	if err := d.Decode(&fields); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return fields, nil
}

func writeObject(path string, fields map[string]any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(fields); err != nil {
		return err
	}
	return storage.WriteFile(path, b.Bytes())
}
