package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/hub"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/tools/recipe"
)

// initOptions are init's flags.
type initOptions struct {
	model, template, valSize string
	data, eval               []string // files
	force                    bool
}

func initCommand() *cobra.Command {
	var o initOptions
	c := &cobra.Command{
		Use:   "init [METHOD]",
		Short: "Write a commented configuration for a method into this folder, and print the next commands",
		Long: "Writes METHOD.yaml, components.yaml and dataset_info.json into the current folder, for your model and your data. METHOD is one of\n" +
			strings.Join(recipe.Names(), ", ") + ",\n" +
			"or doremi for its three steps; less if it is not given. Without --data the only data file of the folder is used, or else small sample data\n" +
			"sets are written. Existing files are kept, unless --force is given; dataset_info.json gets the entries it lacks.",
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: append(recipe.Names(), "doremi"),
		RunE: func(cmd *cobra.Command, args []string) error {
			method := "less"
			if len(args) > 0 {
				method = args[0]
			}
			return initialise(cmd, method, o)
		},
	}
	c.Flags().StringVar(&o.model, "model", "", "a Hugging Face model: its folder or its name")
	c.Flags().StringVar(&o.template, "template", "", "the chat template; if not given, the one that LLaMA-Factory names for a newer model, or else the tokenizer's own")
	c.Flags().StringSliceVar(&o.data, "data", nil, "files of rows to train on")
	c.Flags().StringSliceVar(&o.eval, "eval", nil, "files of rows that the chosen ones should help with")
	c.Flags().StringVar(&o.valSize, "val-size", "0.1", "without --eval: the rows held out where evaluation is needed")
	c.Flags().BoolVar(&o.force, "force", false, "overwrite existing files")
	return c
}

// The model where none is given, and for mixtures of experts.
const (
	usualModel   = "Qwen/Qwen2.5-0.5B-Instruct"
	expertsModel = "Qwen/Qwen1.5-MoE-A2.7B-Chat"
)

func initialise(cmd *cobra.Command, method string, o initOptions) error {
	found, err := recipe.Find(method)
	if err != nil {
		return err
	}
	recipes := recipe.Needed(found)
	if err := o.refuse(found); err != nil {
		return err
	}
	sets, err := o.sets(recipes)
	if err != nil {
		return err
	}
	s, err := o.settings(recipes, sets)
	if err != nil {
		return err
	}
	needed, configurations := map[string]string{"components.yaml": recipe.Components(recipe.All(), s)}, map[string]string{}
	for _, r := range recipes {
		configurations[r.Name+".yaml"] = r.YAML(s)
		for _, f := range r.Files {
			needed[f] = recipe.Programs[f]
		}
	}
	if err := o.write(cmd, needed); err != nil {
		return err
	}
	if err := writeInfo(cmd, slices.Concat(sets.train, sets.eval)); err != nil {
		return err
	}
	if err := o.write(cmd, configurations); err != nil { // last: where they all are, nothing is missing
		return err
	}
	say(cmd, "\nnext:\n")
	if _, err := hub.Model(s.Model, "", ""); err != nil && hub.IsName(s.Model) {
		say(cmd, "  %s download %s\n", s.Program, s.Model)
	}
	for _, line := range nextCommands(recipes, s) {
		say(cmd, "  %s\n", line)
	}
	return nil
}

func say(cmd *cobra.Command, format string, args ...any) {
	fmt.Fprintf(cmd.OutOrStdout(), format, args...)
}

// nextCommands are the commands to run next, each configuration being checked before it is
// used.
func nextCommands(recipes []recipe.Recipe, s recipe.Settings) []string {
	var out []string
	for _, r := range recipes {
		for _, c := range r.Commands(s) {
			if file, ok := strings.CutPrefix(c, s.Program+" train "); ok {
				if slices.Contains(out, c) {
					continue
				}
				out = append(out, s.Program+" check "+file)
			}
			out = append(out, c)
		}
	}
	return out
}

// sets are the data sets of a new configuration.
type sets struct {
	train, eval []dataFile
}

// sets finds the given files, the one in the current folder, or writes samples.
func (o initOptions) sets(recipes []recipe.Recipe) (sets, error) {
	var out sets
	last := recipes[len(recipes)-1]
	files, eval := o.data, o.eval
	if len(files) == 0 {
		here, err := dataFilesHere(eval)
		if err != nil {
			return out, err
		}
		switch {
		case len(here) == 1:
			files = here
		case len(here) > 1:
			return out, fmt.Errorf("there are several data files here: %s: choose the training files with --data", strings.Join(here, ", "))
		default:
			if files, eval, err = writeSamples(last); err != nil {
				return out, err
			}
		}
	}
	for _, list := range []struct {
		files []string
		into  *[]dataFile
	}{{files, &out.train}, {eval, &out.eval}} {
		for _, f := range list.files {
			d, err := describe(f)
			if err != nil {
				return out, err
			}
			*list.into = append(*list.into, d)
		}
	}
	return out, out.fit(last)
}

// fit returns what the data lacks for a method.
func (s sets) fit(r recipe.Recipe) error {
	switch {
	case r.Kind == recipe.Mix && len(s.train) < 2:
		return fmt.Errorf("%s decides between data sets: name two or more with --data A.jsonl --data B.jsonl", r.Name)
	case len(r.Before) > 0 && len(s.eval) == 0:
		return fmt.Errorf("%s compares the rows with those of an evaluation set: name its file with --eval", r.Name)
	case len(r.Before) > 0:
		for _, f := range []dataFile{s.train[0], s.eval[0]} {
			if !f.embeds {
				return fmt.Errorf("%s: `embed` makes sentence vectors of rows with `text`, or with `instruction`, `input` and `output`: convert the file", f.path)
			}
		}
		if len(s.train) > 1 || len(s.eval) > 1 {
			return fmt.Errorf("%s reads one file of vectors: put the rows into one file, and those of the evaluation set into another", r.Name)
		}
	}
	return nil
}

// settings adapts a recipe's settings to the model and the data.
func (o initOptions) settings(recipes []recipe.Recipe, d sets) (recipe.Settings, error) {
	s := recipe.Settings{
		Program: programName(), Saves: "saves", Model: o.model, Template: o.template, Stage: "sft", DatasetDir: ".", ValSize: o.valSize,
		Cutoff: 1024, Micro: 2, Accumulate: 8, Rate: "1.0e-4", Warmup: 10, Update: 10, Updates: 3, Epochs: "1.0",
	}
	if s.Template == "" {
		s.Template = template.ForModel(s.Model)
	}
	if s.Model == "" {
		s.Model, s.Template = usualModel, "qwen"
		if recipes[len(recipes)-1].Name == "dynamic_moe" {
			s.Model = expertsModel
		}
	}
	rows, text := 0, false
	for _, f := range d.train {
		s.Dataset = append(s.Dataset, f.name)
		rows += f.rows
		text = text || f.text
	}
	for _, f := range d.eval {
		s.Eval = append(s.Eval, f.name)
	}
	if text {
		s.Stage = "pt"
	}
	s.RowFiles[0] = d.train[0].path
	if len(d.eval) > 0 {
		s.RowFiles[1] = d.eval[0].path
	}
	s.FitTo(rows)
	return s, nil
}

// dataFilesHere lists the data files of the current folder, except some.
func dataFilesHere(but []string) ([]string, error) {
	entries, err := os.ReadDir(".")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		kind := strings.TrimPrefix(filepath.Ext(e.Name()), ".")
		known := slices.Contains([]string{"jsonl", "json", "csv", "parquet"}, kind)
		if known && !e.IsDir() && e.Name() != "dataset_info.json" && !slices.Contains(but, e.Name()) && !strings.HasPrefix(e.Name(), ".") && !isSample(e.Name()) {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// isSample reports whether init wrote the file.
func isSample(name string) bool {
	sample, err := data.Samples.ReadFile(name)
	if err != nil {
		return false
	}
	have, err := os.ReadFile(name)
	return err == nil && bytes.Equal(have, sample)
}

// writeSamples writes the data sets on which the examples train a recipe.
func writeSamples(r recipe.Recipe) (files, eval []string, err error) {
	sets := [][]string{{"everyday.jsonl"}, {"everyday_eval.jsonl"}}
	switch {
	case r.Kind == recipe.Mix:
		sets = [][]string{{"sums.jsonl", "words.jsonl", "facts.jsonl"}, nil}
	case r.Name == "pretrain":
		sets = [][]string{{"stories.jsonl"}, nil}
	}
	for _, name := range slices.Concat(sets...) {
		text, err := data.Samples.ReadFile(name)
		if err != nil {
			return nil, nil, err
		}
		if err := storage.WriteFile(name, text); err != nil {
			return nil, nil, err
		}
	}
	return sets[0], sets[1], nil
}

// refuse prevents a second init from doing nothing without a word. Where one of several
// configurations is missing, an earlier init was cut short, and this one finishes its work.
func (o initOptions) refuse(recipes []recipe.Recipe) error {
	missing := func(r recipe.Recipe) bool { _, err := os.Stat(r.Name + ".yaml"); return err != nil }
	if o.force || slices.ContainsFunc(recipes, missing) {
		return nil
	}
	return fmt.Errorf("%s.yaml already exists: --force overwrites it", recipes[0].Name)
}

// write writes files that do not exist, or all of them with --force.
func (o initOptions) write(cmd *cobra.Command, files map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		old, err := os.ReadFile(name)
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		case err == nil && string(old) == files[name]:
			continue
		case err == nil && !o.force:
			say(cmd, "kept the existing %s; --force overwrites it\n", name)
			continue
		}
		if err := storage.WriteFile(name, []byte(files[name])); err != nil {
			return err
		}
		say(cmd, "wrote %s\n", name)
	}
	return nil
}

// programName is the name by which the program was called.
func programName() string {
	if name := os.Args[0]; filepath.IsAbs(name) || strings.HasPrefix(filepath.Base(name), "dataflex") {
		return name
	}
	return "dataflex-cli"
}
