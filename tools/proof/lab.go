package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"dataflex.dev/dataflex/algo/config"
	_ "dataflex.dev/dataflex/algo/mixer"
	_ "dataflex.dev/dataflex/algo/selector"
	"dataflex.dev/dataflex/algo/train"
	_ "dataflex.dev/dataflex/algo/weighter"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/tools/tasks"
)

// keys are the keys of a configuration, or of a component's parameters.
type keys map[string]any

// component is an entry of components.yaml; without a name there is none.
type component struct {
	name   string
	params keys
}

// lab is the folder in which the runs of one trial are made, each by the real trainer from
// files as a user writes them.
type lab struct {
	dir   string
	model string
	seed  int
	base  keys // shared by every run of the trial
	parts keys // the components used by pipelines
	log   *slog.Logger
}

// data writes the trial's data sets.
func (l *lab) data(sets map[string][]tasks.Row) error { return tasks.Write(l.dir, sets) }

// buckets are the sections of components.yaml for the components of a train_type.
var buckets = map[string]string{config.DynamicSelect: "selectors", config.DynamicMix: "mixers", config.DynamicWeight: "weighters", config.DynamicReorder: "reorders", config.DynamicLego: "pipelines"}

// load writes a run's files and reads them as the programs do.
func (l *lab) load(name string, over keys, c component) (*config.Config, error) {
	dir := filepath.Join(l.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	k := keys{
		"model_name_or_path": l.model, "stage": "sft", "do_train": true, "do_eval": true, "template": "chatml", "cutoff_len": 128,
		"dataset_dir": l.dir, "output_dir": dir, "overwrite_output_dir": true, "save_strategy": "no", "logging_steps": 10, "seed": l.seed,
	}
	maps.Copy(k, l.base)
	maps.Copy(k, over)
	if c.name != "" {
		bucket := buckets[fmt.Sprint(k["train_type"])]
		params := maps.Clone(c.params)
		if bucket == "selectors" {
			params = keys{"cache_dir": filepath.Join(dir, "cache")}
			maps.Copy(params, c.params)
		}
		k["component_name"], k["components_cfg_file"] = c.name, filepath.Join(dir, "components.yaml")
		file := keys{}
		if bucket == "pipelines" {
			maps.Copy(file, l.parts)
		}
		file[bucket] = keys{c.name: keys{"name": c.name, "params": params}}
		if err := writeYAML(filepath.Join(dir, "components.yaml"), file); err != nil {
			return nil, err
		}
	}
	path := filepath.Join(dir, "run.yaml")
	if err := writeYAML(path, k); err != nil {
		return nil, err
	}
	return config.Load(path, nil)
}

// run trains and returns where the results are.
func (l *lab) run(ctx context.Context, name string, over keys, c component) (result, error) {
	cfg, err := l.load(name, over, c)
	if err != nil {
		return result{}, err
	}
	r := result{dir: cfg.Training.OutputDir}
	if err := train.Run(ctx, cfg, train.Options{Out: os.Stdout, Log: l.log}); err != nil {
		return r, fmt.Errorf("%s: %w", r.dir, err)
	}
	return r, nil
}

func writeYAML(path string, v any) error {
	raw, err := yaml.Marshal(v)
	if err != nil {
		return err
	}
	return storage.WriteFile(path, raw)
}

// result is the output folder of a finished run.
type result struct{ dir string }

// evalLoss reads eval_loss, or with several sets that of the named one.
func (r result) evalLoss(set string) (float64, error) {
	name := "eval_loss"
	if set != "" {
		name = "eval_" + set + "_loss"
	}
	raw, err := os.ReadFile(filepath.Join(r.dir, "eval_results.json"))
	if err != nil {
		return 0, err
	}
	var metrics map[string]float64
	if err := json.Unmarshal(raw, &metrics); err != nil {
		return 0, fmt.Errorf("%s: %w", r.dir, err)
	}
	loss, ok := metrics[name]
	if !ok {
		return 0, fmt.Errorf("%s: no %s among its results", r.dir, name)
	}
	return loss, nil
}

// pick is a row that was selected.
type pick struct{ Step, Update, Row int }

// picks reads the selected rows, in order.
func (r result) picks() ([]pick, error) {
	var out []pick
	err := readLines(filepath.Join(r.dir, "selected_rows.jsonl"), func(line []byte) error {
		var p pick
		err := json.Unmarshal(line, &p)
		out = append(out, p)
		return err
	})
	return out, err
}

func readLines(path string, f func([]byte) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	s := bufio.NewScanner(file)
	for s.Scan() {
		if strings.TrimSpace(s.Text()) == "" {
			continue
		}
		if err := f(s.Bytes()); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return s.Err()
}
