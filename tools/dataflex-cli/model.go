package main

import (
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/data/tokenizer"
)

// readTokenizer loads the tokenizer that a configuration names and fits it to its
// template and added tokens, as training does.
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
	return tok, tmpl, nil
}

func readTemplate(c *config.Config, tok *tokenizer.Tokenizer) (*template.Template, error) {
	tmpl, err := template.Find(c.Data.Template, tok, c.Tuning.Stage == config.StagePT)
	if err != nil {
		return nil, err
	}
	return tmpl.With(template.Options{DefaultSystem: c.Data.DefaultSystem, ToolFormat: c.Data.ToolFormat, EnableThinking: c.Data.EnableThinking})
}

func addTokens(c *config.Config, tok *tokenizer.Tokenizer) {
	tok.AddTokens(c.Model.AddTokens...)
	tok.AddSpecial(c.Model.AddSpecialTokens...)
}
