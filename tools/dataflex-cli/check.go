package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/dataset"
	"dataflex.dev/dataflex/data/processor"
	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/data/tokenizer"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/tools/command"
)

func checkCommand() *cobra.Command {
	return command.TakesConfig(&cobra.Command{
		Use:   "check",
		Short: "Report everything that is wrong with a configuration, without loading the model",
		Long: "Checks the keys, the component with its files and programs, the tokenizer and template, the model's folder (not its weights),\n" +
			"what is to be resumed from, and every dataset's entry, files and first rows. Prints what has no effect, then every\n" +
			"fault; exits 1 if there is one.",
		RunE: func(cmd *cobra.Command, args []string) error {
			out := command.Clean(os.Stdout)
			load, err := loaderOf(args[0], args[1:], out)
			if err != nil {
				return err
			}
			faults := check(cmd.Context(), load, args[0], args[1:], out)
			for _, f := range faults {
				if !errors.Is(f, context.Canceled) {
					fmt.Fprintf(command.Clean(os.Stderr), "error: %v\n", f)
				}
			}
			if err := cmd.Context().Err(); err != nil {
				return fmt.Errorf("not everything was checked: %w", err)
			}
			if len(faults) > 0 {
				return command.ErrSaid
			}
			fmt.Printf("%s: ok\n", cmp.Or(args[0], "the command line"))
			return nil
		},
	})
}

// checker collects faults.
type checker struct {
	ctx    context.Context
	config *config.Config
	out    io.Writer
	faults []error
}

func (c *checker) add(err error) {
	var many config.Faults
	switch {
	case err == nil:
	case errors.As(err, &many):
		c.faults = append(c.faults, many...)
	default:
		c.faults = append(c.faults, err)
	}
}

// loader reads a configuration of one kind: for training, export or generation.
type loader func(file string, overrides []string) (*config.Config, error)

// check returns every fault; notices are written to out.
func check(ctx context.Context, load loader, file string, overrides []string, out io.Writer) []error {
	c := &checker{ctx: ctx, out: out}
	var err error
	if c.config, err = load(file, overrides); err != nil {
		c.add(err)
		return c.faults
	}
	for _, n := range c.config.Notices() {
		fmt.Fprintln(out, n)
	}
	for _, l := range c.config.Unmet() {
		fmt.Fprintln(out, l)
	}
	for _, err := range train.Check(c.config) {
		c.add(err)
	}
	tok, tmpl := c.tokenizer()
	c.vocabulary(tok)
	c.datasets(tok, tmpl)
	return c.faults
}

// loaderOf tells the kinds of configuration apart. One that neither trains nor writes anywhere
// is for eval, generate and chat, which out is told: training needs both keys.
func loaderOf(file string, overrides []string, out io.Writer) (loader, error) {
	root, err := config.Read(file, overrides)
	if err != nil {
		return nil, err
	}
	has := func(key string) bool {
		e, ok := root.Get(key)
		return ok && e.Value.Any() != nil && e.Value.Any() != false
	}
	switch {
	case has("export_dir") && !has("do_train") && !has("dataset"):
		return config.LoadExport, nil
	case !has("do_train") && !has("do_eval") && !has("do_predict") && !has("output_dir"):
		fmt.Fprintln(out, "checked for eval, generate and chat: there is no do_train, do_eval or do_predict, and no output_dir")
		return config.LoadGenerate, nil
	}
	return config.Load, nil
}

func (c *checker) tokenizer() (*tokenizer.Tokenizer, *template.Template) {
	if c.config.ModelsHere() != nil { // it has been reported
		return nil, nil
	}
	tok, tmpl, err := readTokenizer(c.config)
	c.add(err)
	return tok, tmpl
}

// vocabulary checks that the model has an embedding for every token.
func (c *checker) vocabulary(tok *tokenizer.Tokenizer) {
	if tok == nil || c.config.Model.ResizeVocab || len(c.config.Model.AdapterNameOrPath) > 0 {
		return
	}
	m, err := checkpoint.ReadModelConfig(c.config.Model.NameOrPath)
	if err != nil {
		return // reported by train.Check
	}
	if n := tok.Len(); n > m.VocabSize {
		c.add(c.config.Errorf("template", "the tokenizer has %d tokens with it, the model's vocabulary %d: set resize_vocab: true, or choose the model's own template", n, m.VocabSize))
	}
}

// firstRows is how many rows of a dataset are checked.
const firstRows = 32

// datasets checks the entries, files and first rows of every dataset; the rows as far as
// possible without a template.
func (c *checker) datasets(tok *tokenizer.Tokenizer, tmpl *template.Template) {
	d := c.config.Data
	lists := []struct {
		key   string
		names []string
	}{{"dataset", d.Dataset}, {"eval_dataset", d.EvalDataset}, {"mixer_eval_dataset", d.MixerEvalDataset}}
	if len(d.Dataset)+len(d.EvalDataset)+len(d.MixerEvalDataset) == 0 {
		return
	}
	var encoder processor.Encoder
	if tmpl != nil {
		var err error
		if encoder, err = c.encoder(tok, tmpl); err != nil {
			c.add(fmt.Errorf("%s: %w", c.config.File, err))
		}
	}
	catalog, err := openCatalog(d)
	if err != nil {
		c.add(c.config.Errorf("dataset_dir", "%w", err))
		return
	}
	seen := map[string]bool{}
	for _, l := range lists {
		for _, name := range l.names {
			if seen[name] {
				continue
			}
			seen[name] = true
			if c.ctx.Err() != nil {
				return
			}
			if err := c.dataset(catalog, name, encoder); err != nil {
				c.add(c.config.Errorf(l.key, "%w", err))
			}
		}
	}
}

// openCatalog opens dataset_dir: a folder, or a dataset_info given as a map.
func openCatalog(d config.Data) (*dataset.Catalog, error) {
	if d.DatasetInfo == nil {
		return dataset.OpenCatalog(d.DatasetDir, nil)
	}
	text, err := json.Marshal(d.DatasetInfo.Any())
	if err != nil {
		return nil, err
	}
	return dataset.OpenCatalog("", text)
}

func (c *checker) encoder(tok *tokenizer.Tokenizer, tmpl *template.Template) (processor.Encoder, error) {
	d := c.config.Data
	o := processor.Options{CutoffLen: d.CutoffLen, Packing: d.Packing, NeatPacking: d.NeatPacking, TrainOnPrompt: d.TrainOnPrompt, MaskHistory: d.MaskHistory}
	if c.config.Tuning.Stage == config.StagePT {
		return processor.NewPretrain(tok, tmpl, o)
	}
	return processor.NewSFT(tok, tmpl, o)
}

// dataset reads and encodes a dataset's first rows.
func (c *checker) dataset(catalog *dataset.Catalog, name string, encoder processor.Encoder) error {
	s, err := catalog.Source(name)
	if err != nil {
		return err
	}
	for _, w := range s.Warnings {
		fmt.Fprintln(c.out, w)
	}
	rows, tokens := 0, 0
	var dropped []processor.Dropped
	keep := func(samples []data.Sample) ([]data.Sample, error) { return samples, nil }
	err = dataset.Each(c.ctx, s, firstRows, 1, keep, func(samples []data.Sample) error {
		rows += len(samples)
		for i := range samples {
			if encoder == nil {
				break
			}
			ex, d, err := encoder.Encode(&samples[i])
			if err != nil {
				return err
			}
			if d != nil {
				dropped = append(dropped, *d)
			}
			tokens += len(ex.InputIDs)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, w := range processor.Warnings(dropped) {
		fmt.Fprintf(c.out, "among the first %d rows: %s\n", rows, w)
	}
	if encoder != nil && len(dropped) == rows {
		return fmt.Errorf("none of the first rows can be used: %w", encoder.Empty(rows, tokens, dropped))
	}
	return nil
}
