package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"path/filepath"

	"dataflex.dev/dataflex/algo/config"
	_ "dataflex.dev/dataflex/algo/mixer"
	_ "dataflex.dev/dataflex/algo/selector"
	"dataflex.dev/dataflex/algo/train"
	_ "dataflex.dev/dataflex/algo/weighter"
	"dataflex.dev/dataflex/data/storage"
)

// keys are the keys of a configuration, or of a component's parameters.
type keys map[string]any

// lab is the folder of a cell, in which runs are made from files, as by users.
type lab struct {
	dir     string
	store   *store
	log     *slog.Logger
	options options
}

// buckets are the sections of components.yaml for the components of a train_type.
var buckets = map[string]string{"dynamic_select": "selectors", "dynamic_mix": "mixers", "dynamic_weight": "weighters"}

// writeJSON writes a file; JSON is YAML, too.
func writeJSON(path string, v any) error {
	raw, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	if err := storage.MkdirAll(filepath.Dir(path)); err != nil {
		return err
	}
	return storage.WriteFile(path, append(raw, '\n'))
}

// sets writes data sets, by name, and the file that names them.
func (l *lab) sets(sets map[string]any) error {
	info := keys{}
	for name, rows := range sets {
		info[name] = keys{"file_name": name + ".json"}
		if _, texts := rows.([]text); texts {
			info[name] = keys{"file_name": name + ".json", "columns": keys{"prompt": "text"}}
		}
		if err := writeJSON(filepath.Join(l.dir, name+".json"), rows); err != nil {
			return err
		}
	}
	return writeJSON(filepath.Join(l.dir, "dataset_info.json"), info)
}

// load writes a run's files, and reads them as the programs do. component is a name, or empty.
func (l *lab) load(name string, over keys, component string, params keys) (*config.Config, error) {
	dir := filepath.Join(l.dir, name)
	k := keys{
		"model_name_or_path": l.options.model, "template": l.options.template, "stage": "sft", "do_train": true, "do_eval": true,
		"finetuning_type": "lora", "lora_target": "all", "lora_rank": 8, "cutoff_len": 256, "dataset_dir": l.dir, "output_dir": dir,
		"overwrite_output_dir": true, "save_strategy": "no", "logging_steps": 1, "plot_loss": false, "learning_rate": 5e-4,
		"lr_scheduler_type": "cosine", "warmup_ratio": 0.1, "num_train_epochs": 1.0,
	}
	maps.Copy(k, over)
	if component != "" {
		all := maps.Clone(params)
		if all == nil {
			all = keys{}
		}
		if k["train_type"] == "dynamic_select" && all["cache_dir"] == nil {
			all["cache_dir"] = filepath.Join(dir, "cache")
		}
		k["component_name"], k["components_cfg_file"] = component, filepath.Join(dir, "components.yaml")
		bucket := buckets[fmt.Sprint(k["train_type"])]
		if err := writeJSON(filepath.Join(dir, "components.yaml"), keys{bucket: keys{component: keys{"name": component, "params": all}}}); err != nil {
			return nil, err
		}
	}
	path := filepath.Join(dir, "run.yaml")
	if err := writeJSON(path, k); err != nil {
		return nil, err
	}
	return config.Load(path, nil)
}

// ran is a finished run.
type ran struct {
	dir     string
	seconds float64 // of the training, selections included
	choices float64 // of which spent on selections
	perSec  float64 // rows that a selection scored per second
}

func (l *lab) run(ctx context.Context, name string, over keys, component string, params keys) (r ran, err error) {
	c, err := l.load(name, over, component, params)
	if err != nil {
		return r, err
	}
	if err := train.Run(ctx, c, train.Options{Out: io.Discard, Log: l.log}); err != nil {
		return r, fmt.Errorf("%s: %w", c.Training.OutputDir, err)
	}
	r.dir = c.Training.OutputDir
	if !c.Training.DoTrain {
		return r, nil
	}
	return r, r.readTimes()
}

// readTimes reads the time of the training, and the part of it spent on selections.
func (r *ran) readTimes() error {
	var state struct {
		History []struct {
			Runtime float64 `json:"selection_runtime"`
			Rows    float64 `json:"selection_samples_per_second"`
		} `json:"log_history"`
	}
	var results struct {
		Runtime float64 `json:"train_runtime"`
	}
	if err := readJSON(filepath.Join(r.dir, "trainer_state.json"), &state); err != nil {
		return err
	}
	for _, h := range state.History {
		r.choices += h.Runtime
		r.perSec = max(r.perSec, h.Rows)
	}
	if err := readJSON(filepath.Join(r.dir, "train_results.json"), &results); err != nil {
		return err
	}
	r.seconds = results.Runtime
	return nil
}

// tokens is the mean number of tokens of a row that was trained on.
func (r *ran) tokens() (float64, error) {
	var results struct {
		PerSecond float64 `json:"train_tokens_per_second"`
		Rows      float64 `json:"train_samples_per_second"`
	}
	if err := readJSON(filepath.Join(r.dir, "train_results.json"), &results); err != nil {
		return 0, err
	}
	return results.PerSecond / max(results.Rows, 1e-9), nil
}

func readJSON(path string, into any) error {
	raw, err := storage.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// losses are the final losses of the evaluation sets, by name.
func (r ran) losses() (map[string]float64, error) {
	var all map[string]float64
	if err := readJSON(filepath.Join(r.dir, "eval_results.json"), &all); err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for key, v := range all {
		var set string
		if n, _ := fmt.Sscanf(key, "eval_%s", &set); n == 1 && len(set) > 5 && set[len(set)-5:] == "_loss" {
			out[set[:len(set)-5]] = v
		}
	}
	return out, nil
}
