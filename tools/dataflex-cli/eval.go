package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/evaluate"
	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/data/cache"
	"dataflex.dev/dataflex/data/dataset"
	"dataflex.dev/dataflex/data/processor"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/data/tokenizer"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/decoder"
	"dataflex.dev/dataflex/tools/command"
)

// evalOptions are eval's flags.
type evalOptions struct {
	mmlu     string
	subjects []string
	shots    int
	limit    int
	output   string
	device   string
}

// evalReport is the output of eval.
type evalReport struct {
	Model      string                         `json:"model"`
	Adapters   []string                       `json:"adapters,omitempty"`
	Perplexity map[string]evaluate.Perplexity `json:"perplexity,omitempty"`
	MMLU       *evaluate.ChoiceResult         `json:"mmlu,omitempty"`

	// Interrupted is set when the program was stopped: unfinished results are missing.
	Interrupted bool `json:"interrupted,omitempty"`
}

func evalCommand() *cobra.Command {
	var o evalOptions
	c := command.TakesConfig(&cobra.Command{
		Use:   "eval",
		Short: "Measure a model: perplexity of each dataset, and multiple choice",
		Long: "Measures model_name_or_path with the adapters of adapter_name_or_path: the perplexity of every dataset of eval_dataset\n" +
			"(dataset where there is none), under template and stage, and with --mmlu multiple choice by the likelihood of the\n" +
			"answers' letters. Prints one JSON object. CONFIG is a training configuration, or one as export takes.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return eval(cmd.Context(), args[0], args[1:], o)
		},
	})
	c.Flags().StringVar(&o.mmlu, "mmlu", "", "folder with MMLU's dev and test")
	c.Flags().StringSliceVar(&o.subjects, "subjects", nil, "subjects of --mmlu; all if not given")
	c.Flags().IntVar(&o.shots, "shots", 5, "answered questions shown before each question")
	c.Flags().IntVar(&o.limit, "limit", 0, "questions of each subject; 0 = all")
	c.Flags().StringVar(&o.device, "device", "", "auto, cpu, cuda, cuda:N, sim or sim:90")
	c.Flags().StringVar(&o.output, "output", "", "file to which the result is also written")
	return c
}

func eval(ctx context.Context, file string, overrides []string, o evalOptions) (err error) {
	if o.shots < 0 || o.limit < 0 {
		return errors.New("--shots and --limit must not be negative")
	}
	// eval needs the same keys of a configuration as export, except the folder.
	c, err := config.LoadExport(file, append([]string{"export_dir=unused"}, overrides...))
	if err != nil {
		return err
	}
	if o.mmlu == "" && len(c.Data.EvalDataset)+len(c.Data.Dataset) == 0 {
		return fmt.Errorf("%s: there is nothing to measure: set eval_dataset, or give --mmlu DIR", file)
	}
	var subjects []evaluate.Subject
	if o.mmlu != "" {
		if subjects, err = evaluate.ReadMMLU(o.mmlu, o.subjects); err != nil {
			return fmt.Errorf("--mmlu: %w", err)
		}
	}
	tok, tmpl, err := readTokenizer(c)
	if tok == nil || err != nil && len(c.Data.EvalDataset)+len(c.Data.Dataset) > 0 {
		return err
	}
	dev, err := train.OpenDevice(o.device, command.Logger(os.Stderr))
	if err != nil {
		return err
	}
	defer train.CloseDevice(dev, &err)
	e := evaluation{config: c, tok: tok, tmpl: tmpl, report: evalReport{Model: c.Model.NameOrPath, Adapters: adapterFolders(c)}}
	if err := e.readData(ctx); err != nil {
		return err
	}
	defer e.Close()
	if e.model, err = mergedModel(c, dev); err != nil {
		return err
	}
	err = e.measure(ctx, subjects, o)
	e.report.Interrupted = err != nil && errors.Is(err, context.Canceled)
	if err != nil && (!e.report.Interrupted || len(e.report.Perplexity) == 0 && e.report.MMLU == nil) {
		return err
	}
	return errors.Join(err, e.print(o.output))
}

// evaluation is a run of eval.
type evaluation struct {
	config *config.Config
	tok    *tokenizer.Tokenizer
	tmpl   *template.Template
	data   *cache.Data
	model  *decoder.Model
	report evalReport
}

func (e *evaluation) Close() {
	if e.data != nil {
		_ = e.data.Close() // it was only read
	}
	if e.model != nil {
		e.model.Close()
	}
}

// readData tokenises the datasets separately.
func (e *evaluation) readData(ctx context.Context) error {
	c, d := e.config, e.config.Data
	names := d.EvalDataset
	if len(names) == 0 {
		names = d.Dataset
	}
	if len(names) == 0 {
		return nil
	}
	o := cache.Options{
		DatasetDir: d.DatasetDir, Eval: names, EvalEach: true, MaxSamples: d.MaxSamples, Mix: dataset.Concat, Seed: uint64(c.Training.Seed),
		Tokenizer: e.tok, Template: e.tmpl, Pretrain: c.Tuning.Stage == config.StagePT, Overwrite: d.OverwriteCache, Log: command.Logger(os.Stderr),
		Process: processor.Options{
			CutoffLen: d.CutoffLen, Packing: d.Packing, NeatPacking: d.NeatPacking, TrainOnPrompt: d.TrainOnPrompt,
			MaskHistory: d.MaskHistory, Workers: d.PreprocessingWorkers, BatchSize: d.PreprocessingBatchSize,
		},
	}
	var err error
	if d.DatasetInfo != nil {
		if o.Info, err = json.Marshal(d.DatasetInfo.Any()); err != nil {
			return err
		}
	}
	e.data, err = cache.Load(ctx, o)
	var f *cache.Fault
	if errors.As(err, &f) {
		return c.Errorf(f.Key, "%w", f.Err)
	}
	if err != nil {
		return err
	}
	for _, w := range e.data.Warnings {
		o.Log.Warn(w)
	}
	return nil
}

func (e *evaluation) measure(ctx context.Context, subjects []evaluate.Subject, o evalOptions) error {
	if e.data != nil {
		e.report.Perplexity = map[string]evaluate.Perplexity{}
		for _, s := range e.data.Eval {
			p, err := evaluate.Measure(ctx, e.model, s.Examples)
			if err != nil {
				return fmt.Errorf("dataset %s: %w", s.Name, err)
			}
			if math.IsNaN(p.Loss) || math.IsInf(p.Loss, 0) {
				return fmt.Errorf("dataset %s: the loss is %v: %w", s.Name, p.Loss, e.brokenWeights())
			}
			e.report.Perplexity[s.Name] = p
		}
	}
	if subjects == nil {
		return nil
	}
	log := command.Logger(os.Stderr)
	r, err := evaluate.MultipleChoice(ctx, e.model, e.tok, subjects, evaluate.ChoiceOptions{
		Shots: o.shots, Limit: o.limit, MaxLength: e.model.Config().MaxPositions,
		BOS:      strings.Contains(e.model.Config().ModelType, "gemma"), // as lm-evaluation-harness does; for other models none
		Progress: func(subject string, done, of int) { log.Info("mmlu", "subject", subject, "done", done, "of", of) },
	})
	if len(r.Subjects) > 0 {
		e.report.MMLU = &r
	}
	return err
}

// brokenWeights reports which of the folders read contain NaN or Inf.
func (e *evaluation) brokenWeights() error {
	for _, dir := range append([]string{e.config.Model.NameOrPath}, adapterFolders(e.config)...) {
		if err := checkpoint.Finite(dir); err != nil {
			return err
		}
	}
	return errors.New("the weights are finite, so that activations overflow: is this the base model of these adapters?")
}

// print writes the report to standard output, and to a file if one is given.
func (e *evaluation) print(file string) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(e.report); err != nil {
		return err
	}
	if file != "" {
		if err := storage.WriteFile(file, b.Bytes()); err != nil {
			return err
		}
	}
	_, err := os.Stdout.Write(b.Bytes())
	return err
}
