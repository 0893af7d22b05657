package train

import (
	"context"
	"fmt"
	"log/slog"

	"dataflex/algo"
	"dataflex/algo/config"
	"dataflex/data"
	"dataflex/data/dataset"
	"dataflex/data/processor"
	"dataflex/data/rng"
	"dataflex/data/template"
	"dataflex/data/tokenizer"
)

// Data is what a configuration names, tokenised: what the model will see.
type Data struct {
	Tokenizer *tokenizer.Tokenizer
	Template  string
	Train     []data.Example
	Eval      []EvalSet
	Domains   []algo.Domain             // of dynamic_mix, in the order of dataset
	MixerEval map[string][]data.Example // mixer_eval_dataset by domain
}

// LoadData reads the tokenizer and the data sets of a configuration and turns
// them into examples, with every dropped row reported.
func LoadData(ctx context.Context, c *config.Config, log *slog.Logger) (*Data, error) {
	tok, err := tokenizer.Load(c.Model.NameOrPath)
	if err != nil {
		return nil, c.Errorf("model_name_or_path", "%w", err)
	}
	tmpl, err := chatTemplate(c, tok, log)
	if err != nil {
		return nil, err
	}
	l := loader{config: c, log: log, tok: tok, tmpl: tmpl, random: rng.NewRandomState(uint32(c.Training.Seed))}
	d := &Data{Tokenizer: tok, Template: tmpl.Name()}
	if mixes(c) {
		if c.Data.ValSize > 1e-6 {
			return nil, c.Errorf("val_size", "dynamic_mix trains on whole data sets: name an eval_dataset instead")
		}
		if err := l.domainRows(ctx, d); err != nil {
			return nil, err
		}
		d.Eval, err = l.evaluation(ctx, nil)
		return d, err
	}
	samples, err := l.load(ctx, "dataset", c.Data.Dataset)
	if err != nil {
		return nil, err
	}
	samples, held, err := dataset.Split(samples, c.Data.ValSize, uint64(c.Training.Seed))
	if err != nil {
		return nil, c.Errorf("val_size", "%w", err)
	}
	if d.Train, err = l.process(ctx, "dataset", samples); err != nil {
		return nil, err
	}
	if d.Eval, err = l.evaluation(ctx, held); err != nil {
		return nil, err
	}
	return d, nil
}

// chatTemplate finds the template and fits the tokenizer to it.
func chatTemplate(c *config.Config, tok *tokenizer.Tokenizer, log *slog.Logger) (*template.Template, error) {
	tmpl, err := namedTemplate(c.Data.Template, tok)
	if err != nil {
		return nil, c.Errorf("template", "%w", err)
	}
	tmpl, err = tmpl.With(template.Options{DefaultSystem: c.Data.DefaultSystem, ToolFormat: c.Data.ToolFormat, EnableThinking: c.Data.EnableThinking})
	if err != nil {
		return nil, c.Errorf("template", "%w", err)
	}
	if added := tmpl.FixTokenizer(tok); added > 0 {
		log.Info("the template's tokens are new to the tokenizer", "added", added)
	}
	return tmpl, nil
}

// namedTemplate is the template of that name; without one the tokenizer's own chat
// template is recognised.
func namedTemplate(name string, tok *tokenizer.Tokenizer) (*template.Template, error) {
	if name == "" {
		return template.FromChatTemplate(tok)
	}
	return template.Get(name)
}

// loader reads and tokenises; the random stream goes on from the training sets to
// the evaluation sets, as upstream's global one does.
type loader struct {
	config *config.Config
	log    *slog.Logger
	tok    *tokenizer.Tokenizer
	tmpl   *template.Template
	random *rng.RandomState
}

func (l loader) options(names []string) dataset.Options {
	c := l.config
	return dataset.Options{
		Dir: c.Data.DatasetDir, Names: names, MaxSamples: c.Data.MaxSamples, Random: l.random, Seed: uint64(c.Training.Seed),
		Mix: dataset.Mix(c.Data.MixStrategy), Probs: c.Data.InterleaveProbs,
	}
}

func (l loader) load(ctx context.Context, key string, names []string) ([]data.Sample, error) {
	set, err := dataset.Load(ctx, l.options(names))
	if err != nil {
		return nil, l.config.Errorf(key, "%w", err)
	}
	l.warn(set.Warnings)
	return set.Samples, nil
}

// each loads and tokenises data sets one by one.
func (l loader) each(ctx context.Context, key string, names []string) ([]EvalSet, error) {
	sets, warnings, err := dataset.LoadEach(ctx, l.options(names))
	if err != nil {
		return nil, l.config.Errorf(key, "%w", err)
	}
	l.warn(warnings)
	var out []EvalSet
	for _, s := range sets {
		examples, err := l.process(ctx, key, s.Samples)
		if err != nil {
			return nil, err
		}
		out = append(out, EvalSet{Name: s.Name, Examples: examples})
	}
	return out, nil
}

// evaluation is the held-out rows, or the sets that eval_dataset names: mixed into
// one, or apart with eval_on_each_dataset.
func (l loader) evaluation(ctx context.Context, held []data.Sample) ([]EvalSet, error) {
	c := l.config
	switch {
	case len(c.Data.EvalDataset) > 0 && c.Data.EvalOnEachDataset:
		return l.each(ctx, "eval_dataset", c.Data.EvalDataset)
	case len(c.Data.EvalDataset) > 0:
		samples, err := l.load(ctx, "eval_dataset", c.Data.EvalDataset)
		if err != nil {
			return nil, err
		}
		held = samples
	case len(held) == 0:
		return nil, nil
	}
	examples, err := l.process(ctx, "eval_dataset", held)
	return []EvalSet{{Examples: examples}}, err
}

// process tokenises samples for the configured stage.
func (l loader) process(ctx context.Context, key string, samples []data.Sample) ([]data.Example, error) {
	c := l.config
	o := processor.Options{
		CutoffLen: c.Data.CutoffLen, Packing: c.Data.Packing, NeatPacking: c.Data.NeatPacking, TrainOnPrompt: c.Data.TrainOnPrompt,
		MaskHistory: c.Data.MaskHistory, Workers: c.Data.PreprocessingWorkers, BatchSize: c.Data.PreprocessingBatchSize,
	}
	var examples []data.Example
	var dropped []processor.Dropped
	var err error
	if c.Tuning.Stage == config.StagePT {
		examples, dropped, err = processor.Pretrain(ctx, l.tok, l.tmpl, samples, o)
	} else {
		examples, dropped, err = processor.SFT(ctx, l.tok, l.tmpl, samples, o)
	}
	l.warn(processor.Warnings(dropped))
	if err != nil {
		return nil, c.Errorf(key, "%w", err)
	}
	l.log.Info(fmt.Sprintf("%d rows tokenised", len(examples)), "dropped", len(dropped), "from", key)
	return examples, nil
}

func (l loader) warn(lines []string) {
	for _, w := range lines {
		l.log.Warn(w)
	}
}
