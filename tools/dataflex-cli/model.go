package main

import (
	"os"
	"path/filepath"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/tuning"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/data/tokenizer"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/decoder"
	"dataflex.dev/dataflex/tools/command"
)

// readTokenizer loads the tokenizer of a configuration and adapts it to its template and added
// tokens, as training does.
func readTokenizer(c *config.Config) (*tokenizer.Tokenizer, *template.Template, error) {
	if err := c.ModelsHere(); err != nil {
		return nil, nil, err
	}
	tok, err := tokenizer.Load(c.Model.NameOrPath)
	if err != nil {
		return nil, nil, c.Errorf("model_name_or_path", "%w", err)
	}
	tmpl, err := readTemplate(c, tok)
	if err != nil {
		return tok, nil, c.Errorf("template", "%w", err)
	}
	tmpl.FixTokenizer(tok)
	addTokens(c, tok)
	if own, err := adapterTokenizer(c, tok); err != nil || own != nil {
		if err == nil {
			tmpl.FixTokenizer(own)
			addTokens(c, own)
		}
		return own, tmpl, err
	}
	return tok, tmpl, nil
}

// adapterTokenizer is the tokenizer beside the last adapter, if that adapter was trained with
// tokens that tok does not have: its embeddings include them.
func adapterTokenizer(c *config.Config, tok *tokenizer.Tokenizer) (*tokenizer.Tokenizer, error) {
	folders := adapterFolders(c)
	if len(folders) == 0 {
		return nil, nil
	}
	dir := folders[len(folders)-1]
	if a, err := checkpoint.ReadAdapterConfig(dir); err != nil || len(a.ModulesToSave) == 0 || !storage.Exists(filepath.Join(dir, "tokenizer.json")) {
		return nil, nil // faults of an adapter are reported by its reader
	}
	own, err := tokenizer.Load(dir)
	if err != nil {
		return nil, c.Errorf("adapter_name_or_path", "%w", err)
	}
	if own.Len() <= tok.Len() {
		return nil, nil
	}
	command.Logger(os.Stderr).Info("the adapter's tokenizer is used: it has tokens that were added in training", "folder", dir, "tokens", own.Len(), "model", tok.Len())
	return own, nil
}

func readTemplate(c *config.Config, tok *tokenizer.Tokenizer) (*template.Template, error) {
	tmpl, err := template.Find(c.Data.Template, tok, c.Tuning.Stage == config.StagePT)
	if err != nil {
		return nil, err
	}
	return tmpl.With(template.Options{DefaultSystem: c.Data.DefaultSystem, ToolFormat: c.Data.ToolFormat, EnableThinking: c.Data.EnableThinking, PreserveThinking: c.Data.PreserveThinking})
}

func addTokens(c *config.Config, tok *tokenizer.Tokenizer) {
	tok.AddTokens(c.Model.AddTokens...)
	tok.AddSpecial(c.Model.AddSpecialTokens...)
}

// mergedModel loads the model of a configuration, with its positions scaled as in training, and
// merges its adapters; a quantised model keeps its one adapter unmerged.
func mergedModel(c *config.Config, dev driver.Device) (*decoder.Model, error) {
	options, err := tuning.RopeScaling(c, command.Logger(os.Stderr))
	if err != nil {
		return nil, err
	}
	options.Quantise = tuning.Quantisation(c.Model)
	m, err := decoder.Load(dev, c.Model.NameOrPath, options)
	if err != nil {
		return nil, c.Errorf("model_name_or_path", "%w", err)
	}
	adapters := adapterFolders(c)
	for _, dir := range adapters {
		err := m.LoadAdapter(dir)
		if err == nil && (!m.Quantised() || len(adapters) > 1) { // on quantised weights the one adapter stays separate
			err = m.Merge()
		}
		if err != nil {
			m.Close()
			return nil, c.Errorf("adapter_name_or_path", "%w", err)
		}
	}
	return m, nil
}
