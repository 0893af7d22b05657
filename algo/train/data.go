package train

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/cache"
	"dataflex.dev/dataflex/data/dataset"
	"dataflex.dev/dataflex/data/processor"
	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/data/tokenizer"
)

// Data is the tokenised data of a configuration: what the model will see.
type Data struct {
	Tokenizer *tokenizer.Tokenizer
	Train     []data.Example
	Labels    []int32 // per training row: labels that are trained on
	Eval      []EvalSet
	Domains   []algo.Domain             // of dynamic_mix, in the order of dataset
	MixerEval map[string][]data.Example // mixer_eval_dataset by domain
	Key       string                    // identifies the rows by content
	Stop      []int32                   // tokens that end an answer: EOS and the template's stop words

	options cache.Options                   // with which the data were made
	name    func(hash func() string) string // see cache.Data.Name
	close   func() error
}

// Close frees the memory that holds the rows.
func (d *Data) Close() error { return d.close() }

// LoadData reads the tokenizer and the data sets of a configuration and turns them into
// examples; every dropped row is reported. Data that were tokenised before are found on disk
// by their content.
func LoadData(ctx context.Context, c *config.Config, log *slog.Logger) (*Data, error) {
	tok, tmpl, err := readTokenizer(c, log)
	if err != nil {
		return nil, err
	}
	if apart(c) && c.Data.ValSize > 1e-6 {
		return nil, c.Errorf("val_size", "%s trains on whole data sets: name an eval_dataset instead", c.Dynamic.TrainType)
	}
	options, err := dataOptions(c, tok, tmpl, log)
	if err != nil {
		return nil, err
	}
	got, err := cache.Load(ctx, options)
	var f *cache.Fault
	switch {
	case errors.As(err, &f):
		return nil, c.Errorf(f.Key, "%w", f.Err)
	case err != nil:
		return nil, err
	}
	for _, w := range got.Warnings {
		log.Warn(w)
	}
	log.Info("data", "rows", len(got.Train), "found", got.Found, "path", got.Path)
	d := &Data{Tokenizer: tok, Train: got.Train, Labels: got.Labels, Key: got.Key, Stop: stopTokens(tok, tmpl), options: options, name: got.Name, close: got.Close}
	for _, s := range got.Eval {
		d.Eval = append(d.Eval, EvalSet(s))
	}
	d.domains(got)
	return d, nil
}

// readTokenizer reads the tokenizer and adapts it to the template.
func readTokenizer(c *config.Config, log *slog.Logger) (*tokenizer.Tokenizer, *template.Template, error) {
	if err := c.ModelsHere(); err != nil {
		return nil, nil, err
	}
	tok, err := tokenizer.Load(c.Model.NameOrPath)
	if err != nil {
		return nil, nil, c.Errorf("model_name_or_path", "%w", err)
	}
	tmpl, err := chatTemplate(c, tok, log)
	return tok, tmpl, err
}

func stopTokens(tok *tokenizer.Tokenizer, tmpl *template.Template) (ids []int32) {
	if _, id, ok := tok.EOS(); ok {
		ids = append(ids, id)
	}
	for _, w := range tmpl.StopWords() {
		if id, ok := tok.ID(w); ok {
			ids = append(ids, id)
		}
	}
	return ids
}

func dataOptions(c *config.Config, tok *tokenizer.Tokenizer, tmpl *template.Template, log *slog.Logger) (cache.Options, error) {
	o := cache.Options{
		DatasetDir: c.Data.DatasetDir, Train: c.Data.Dataset, TrainEach: apart(c), Eval: c.Data.EvalDataset, EvalEach: c.Data.EvalOnEachDataset,
		Mixer: c.Data.MixerEvalDataset, ValSize: c.Data.ValSize, MaxSamples: c.Data.MaxSamples, Mix: dataset.Mix(c.Data.MixStrategy),
		Probs: c.Data.InterleaveProbs, Seed: uint64(c.Training.Seed), Streaming: c.Data.Streaming, BufferSize: c.Data.BufferSize,
		Tokenizer: tok, Template: tmpl, Pretrain: c.Tuning.Stage == config.StagePT, Overwrite: c.Data.OverwriteCache, Path: c.Data.TokenizedPath, Log: log,
		Process: processor.Options{
			CutoffLen: c.Data.CutoffLen, Packing: c.Data.Packing, NeatPacking: c.Data.NeatPacking, TrainOnPrompt: c.Data.TrainOnPrompt,
			MaskHistory: c.Data.MaskHistory, Workers: c.Data.PreprocessingWorkers, BatchSize: c.Data.PreprocessingBatchSize,
		},
	}
	if !apart(c) {
		o.Mixer = nil
	}
	if c.Data.DatasetInfo != nil {
		text, err := json.Marshal(c.Data.DatasetInfo.Any())
		if err != nil {
			return o, c.Errorf("dataset_dir", "%w", err)
		}
		o.Info = text
	}
	return o, nil
}

// domains finds which rows of a mixture belong to which data set, and gives the rows of
// mixer_eval_dataset the name of their domain.
func (d *Data) domains(got *cache.Data) {
	next := 0
	for _, s := range got.Each {
		domain := algo.Domain{Name: s.Name}
		for range s.Examples {
			domain.Rows = append(domain.Rows, next)
			next++
		}
		d.Domains = append(d.Domains, domain)
	}
	if len(got.Mixer) > 0 {
		d.MixerEval = map[string][]data.Example{}
	}
	for _, s := range got.Mixer {
		name := strings.ReplaceAll(s.Name, "_eval", "")
		d.MixerEval[name] = append(d.MixerEval[name], s.Examples...)
	}
}

// column reads a column of the training data again, by data set, from its files.
func (d *Data) column(ctx context.Context, field string) (map[string][]float64, error) {
	c, err := dataset.OpenCatalog(d.options.DatasetDir, d.options.Info)
	if err != nil {
		return nil, err
	}
	out := map[string][]float64{}
	for _, ex := range d.Train {
		if _, read := out[ex.Dataset]; read {
			continue
		}
		s, err := c.Source(ex.Dataset)
		if err != nil {
			return nil, err
		}
		if out[ex.Dataset], err = dataset.Numbers(ctx, s, field); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// chatTemplate finds the template and adapts the tokenizer to it.
func chatTemplate(c *config.Config, tok *tokenizer.Tokenizer, log *slog.Logger) (*template.Template, error) {
	tmpl, err := template.Find(c.Data.Template, tok, c.Tuning.Stage == config.StagePT)
	if err != nil {
		return nil, c.Errorf("template", "%w", err)
	}
	tmpl, err = tmpl.With(template.Options{DefaultSystem: c.Data.DefaultSystem, ToolFormat: c.Data.ToolFormat, EnableThinking: c.Data.EnableThinking, PreserveThinking: c.Data.PreserveThinking})
	if err != nil {
		return nil, c.Errorf("template", "%w", err)
	}
	if added := tmpl.FixTokenizer(tok); added > 0 {
		log.Info("the template's tokens are new to the tokenizer", "added", added)
	}
	if added := tok.AddTokens(c.Model.AddTokens...) + tok.AddSpecial(c.Model.AddSpecialTokens...); added > 0 {
		log.Info("tokens were added to the tokenizer", "added", added)
	}
	return tmpl, nil
}

// apart reports whether data sets are loaded separately: they are the domains of a mixture.
func apart(c *config.Config) bool {
	return c.Dynamic.TrainType == config.DynamicMix || c.Dynamic.TrainType == config.DynamicLego
}
