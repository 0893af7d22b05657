// Package predict generates answers to the prompts of data sets and measures them as
// LLaMA-Factory's do_predict does (0.9.5: data/processor/unsupervised.py, train/sft/trainer.py,
// train/sft/metric.py).
package predict

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/dataset"
	"dataflex.dev/dataflex/data/processor"
	"dataflex.dev/dataflex/data/rng"
	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/data/tokenizer"
)

// Row is a prompt, and the data set's answer to it.
type Row struct {
	data.ID
	Prompt, Label []int32
}

// Encode converts a conversation that ends with a question to a prompt's ids; label is the
// known answer, "" if there is none.
type Encode func(messages []data.Message, system, tools, label string) (prompt, answer []int32, err error)

// Templated formats conversations with a template, and truncates prompt and answer together to
// cutoff tokens.
func Templated(tok *tokenizer.Tokenizer, tmpl *template.Template, cutoff int) Encode {
	return func(messages []data.Message, system, tools, label string) (prompt, answer []int32, err error) {
		all := append(slices.Clone(messages), data.Message{Role: data.Assistant, Content: label})
		pair, err := tmpl.EncodeOne(tok, all, system, tools)
		if err != nil {
			return nil, nil, err
		}
		if _, eos, ok := tok.EOS(); ok && tmpl.EfficientEOS() {
			pair.Target = append(pair.Target, eos)
		}
		source, target := processor.InferLengths(len(pair.Source), len(pair.Target), cutoff)
		return pair.Source[:source], pair.Target[:target], nil
	}
}

// Rows reads the rows to be answered: those of eval_dataset; or those that val_size holds out
// of dataset; or, if neither is set, those of dataset. Rows without a question are left out,
// with a warning.
func Rows(ctx context.Context, c *config.Config, encode Encode) (rows []Row, warnings []string, err error) {
	samples, key, err := samples(ctx, c)
	if err != nil {
		return nil, nil, c.Errorf(key, "%w", err)
	}
	var dropped []processor.Dropped
	for _, s := range samples {
		if s.Fault != nil {
			return nil, nil, c.Errorf(key, "%w", dataset.Locate(s.Fault))
		}
		if len(s.Prompt)%2 != 1 {
			dropped = append(dropped, processor.Dropped{ID: s.ID, Kind: "the prompt does not end with a question"})
			continue
		}
		label := ""
		if len(s.Response) == 1 {
			label = s.Response[0].Content
		}
		row := Row{ID: s.ID}
		if row.Prompt, row.Label, err = encode(s.Prompt, s.System, s.Tools, label); err == nil && len(row.Prompt) == 0 {
			err = fmt.Errorf("the prompt is empty")
		}
		if err != nil {
			return nil, nil, c.Errorf(key, "dataset %s, row %d: %w", s.Dataset, s.Row, err)
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return nil, nil, c.Errorf(key, "there is no row to answer: %d were read", len(samples))
	}
	return rows, processor.Warnings(dropped), nil
}

// samples reads the rows, and returns the configuration key that names their data sets.
func samples(ctx context.Context, c *config.Config) ([]data.Sample, string, error) {
	d := c.Data
	var info []byte
	if d.DatasetInfo != nil {
		var err error
		if info, err = json.Marshal(d.DatasetInfo.Any()); err != nil {
			return nil, "dataset_dir", err
		}
	}
	catalog, err := dataset.OpenCatalog(d.DatasetDir, info)
	if err != nil {
		return nil, "dataset_dir", err
	}
	r := reader{catalog: catalog, config: c, random: rng.NewRandomState(uint32(c.Training.Seed))}
	if len(d.EvalDataset) == 0 {
		train, err := r.read(ctx, d.Dataset)
		if err != nil || d.ValSize < 1e-6 {
			return train, "dataset", err
		}
		_, held, err := dataset.Split(train, d.ValSize, uint64(c.Training.Seed))
		return held, "val_size", err
	}
	// The training sets only matter if num_samples draws from them first.
	if drawn, err := r.draws(d.EvalDataset); err != nil {
		return nil, "eval_dataset", err
	} else if drawn {
		if _, err := r.read(ctx, d.Dataset); err != nil {
			return nil, "dataset", err
		}
	}
	eval, err := r.read(ctx, d.EvalDataset)
	return eval, "eval_dataset", err
}

type reader struct {
	catalog *dataset.Catalog
	config  *config.Config
	random  *rng.RandomState // NumPy's global stream, from which num_samples draws
}

// draws reports whether one of the data sets has num_samples.
func (r reader) draws(names []string) (bool, error) {
	for _, name := range names {
		s, err := r.catalog.Source(name)
		if err != nil || s.NumSamples > 0 {
			return err == nil, err
		}
	}
	return false, nil
}

// read reads the data sets' rows, mixed as the configuration says.
func (r reader) read(ctx context.Context, names []string) ([]data.Sample, error) {
	if len(names) == 0 {
		return nil, nil
	}
	d := r.config.Data
	groups, err := dataset.Collect(names, func(name string) ([]data.Sample, error) {
		s, err := r.catalog.Source(name)
		if err != nil {
			return nil, err
		}
		var all []data.Sample
		keep := func(some []data.Sample) ([]data.Sample, error) { return some, nil }
		err = dataset.Each(ctx, s, s.Limit(d.MaxSamples), 0, keep, func(some []data.Sample) error {
			all = append(all, some...)
			return nil
		})
		if err != nil {
			return nil, err
		}
		if all, err = dataset.Sliced(s, all); err != nil {
			return nil, fmt.Errorf("dataset %s: %w", name, err)
		}
		return dataset.Sampled(all, s.NumSamples, d.MaxSamples, r.random), nil
	})
	if err != nil {
		return nil, err
	}
	return dataset.Merge(groups, dataset.Mix(d.MixStrategy), d.InterleaveProbs, uint64(r.config.Training.Seed))
}
