package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"dataflex.dev/dataflex/tools/tasks"
)

// Run is one training run on the CPU and on the GPU.
type Run struct {
	Name      string    `json:"name"`
	CPU       []float64 `json:"cpu_losses"`
	GPU       []float64 `json:"gpu_losses"`
	Worst     float64   `json:"worst_relative_difference"`
	Allowed   float64   `json:"allowed"`
	Common    float64   `json:"rows_chosen_alike"` // share of the GPU's selections that the CPU made too; 1 where none are made
	Compared  int       `json:"losses_compared"`   // up to the first selection whose order differs: later batches are others
	CPUTime   float64   `json:"cpu_s"`
	GPUTime   float64   `json:"gpu_s"`
	Succeeded bool      `json:"ok"`
}

// leastCommon is the share of rows that both devices must choose. Rows of nearly the same
// score may change places.
const leastCommon = 0.5

// runs are what is trained. bf16 is allowed what rounding to 8 bits does to a loss.
var runs = []struct {
	name, extra string
	steps       int
	allowed     float64
}{
	{"lora_f32", "", 12, 1e-3},
	{"lora_bf16", "bf16: true\n", 12, 3e-2},
	{"full_f32", "finetuning_type: full\n", 8, 1e-3},
	{"less_f32", less, 12, 1e-3},
	{"less_bf16", less + "bf16: true\n", 12, 5e-2},
}

const less = `train_type: dynamic_select
components_cfg_file: OUT/components.yaml
component_name: less
warmup_step: 4
update_step: 4
update_times: 2
`

const config = `model_name_or_path: %[2]s/model
stage: sft
do_train: true
lora_target: all
lora_rank: 8
dataset_dir: %[1]s
dataset: pool
eval_dataset: eval
template: chatml
cutoff_len: 128
overwrite_output_dir: true
per_device_train_batch_size: 4
gradient_accumulation_steps: 2
learning_rate: 1.0e-3
lr_scheduler_type: cosine
logging_steps: 1
save_steps: 1000
seed: 42
`

const components = `selectors:
  less:
    name: less
    params: {cache_dir: %s/cache, gradient_type: adam, proj_dim: 512, seed: 123}
`

// train makes the same runs on both devices and compares.
func (r *runner) train() error {
	home := filepath.Join(r.raw, "train")
	rows, questions := 40, 8
	if r.tiny {
		rows, questions = 6, 1
	}
	pool := tasks.Make(1, rows, 0.15, tasks.Families)
	eval := tasks.Only(tasks.Make(2, questions, 0, tasks.Families), tasks.Target)
	if err := tasks.Write(home, map[string][]tasks.Row{"pool": pool, "eval": eval}); err != nil {
		return err
	}
	var errs []error
	for _, c := range runs {
		if r.left() < 0 {
			r.res.Notes = append(r.res.Notes, "training: no time was left for "+c.name)
			continue
		}
		if r.tiny && c.name != "lora_bf16" { // an interpreter takes minutes for the others
			continue
		}
		run := Run{Name: c.name, Allowed: c.allowed}
		err := r.both(home, c.extra, c.steps, &run)
		if err == nil && !run.Succeeded {
			err = fmt.Errorf("losses differ by up to %.2g, allowed %.2g; %.0f %% of the rows chosen alike", run.Worst, run.Allowed, 100*run.Common)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c.name, err))
		}
		fmt.Printf("%-10s %d steps, losses of %d within %.2g (allowed %.2g), %.0f %% of the rows chosen alike, %.1f s on the CPU, %.1f s on the GPU\n",
			c.name, len(run.GPU), run.Compared, run.Worst, c.allowed, 100*run.Common, run.CPUTime, run.GPUTime)
		r.res.Runs = append(r.res.Runs, run)
	}
	return errors.Join(errs...)
}

func (r *runner) both(home, extra string, steps int, run *Run) error {
	if r.tiny {
		steps = min(steps, 5)
	}
	var rows [2][]selection
	for i, device := range []string{"cpu", "cuda"} {
		out := filepath.Join(home, run.Name+"_"+device)
		if err := os.MkdirAll(out, 0o755); err != nil {
			return err
		}
		yaml := fmt.Sprintf(config, home, r.dir) + fmt.Sprintf("output_dir: %s/out\nmax_steps: %d\n", out, steps)
		yaml += strings.ReplaceAll(extra, "OUT", out)
		file := filepath.Join(out, "run.yaml")
		err := errors.Join(
			os.WriteFile(filepath.Join(out, "components.yaml"), fmt.Appendf(nil, components, out), 0o644),
			os.WriteFile(file, []byte(yaml), 0o644),
		)
		if err != nil {
			return err
		}
		start := time.Now()
		trainer := exec.Command(filepath.Join(r.dir, "dataflex-train"), "-config", file, "--device", device)
		if _, err := r.command(filepath.Join("train", run.Name+"_"+device+".log"), r.left(), io.Discard, trainer); err != nil {
			return err
		}
		seconds := time.Since(start).Seconds()
		losses, err := losses(filepath.Join(out, "out", "trainer_log.jsonl"))
		if err != nil {
			return err
		}
		if rows[i], err = chosen(filepath.Join(out, "out", "selected_rows.jsonl")); err != nil {
			return err
		}
		if device == "cpu" {
			run.CPU, run.CPUTime = losses, seconds
		} else {
			run.GPU, run.GPUTime = losses, seconds
		}
	}
	return run.compare(rows[0], rows[1])
}

// selection is a row that was chosen before the step after `Step`.
type selection struct {
	Step int `json:"step"`
	Row  int `json:"row"`
}

// compare judges the losses, as long as both devices trained on the same rows, and what
// they chose.
func (run *Run) compare(cpu, gpu []selection) error {
	if len(run.CPU) == 0 || len(run.CPU) != len(run.GPU) || len(cpu) != len(gpu) {
		return fmt.Errorf("%d steps and %d rows chosen on the CPU, %d and %d on the GPU", len(run.CPU), len(cpu), len(run.GPU), len(gpu))
	}
	run.Compared, run.Common = len(run.CPU), 1
	has, alike := map[selection]bool{}, 0
	for i, c := range cpu {
		has[c] = true
		if c != gpu[i] {
			run.Compared = min(run.Compared, c.Step)
		}
	}
	for _, g := range gpu {
		if has[g] {
			alike++
		}
	}
	if len(gpu) > 0 {
		run.Common = float64(alike) / float64(len(gpu))
	}
	run.Succeeded = run.Common >= leastCommon
	for i, want := range run.CPU[:run.Compared] {
		d := math.Abs(run.GPU[i]-want) / math.Abs(want)
		run.Worst = max(run.Worst, d)
		if !(d <= run.Allowed) { // NaN too
			run.Succeeded = false
		}
	}
	return nil
}

// losses reads a trainer_log.jsonl.
func losses(path string) ([]float64, error) {
	var out []float64
	err := eachLine(path, func(line []byte) error {
		var l struct {
			Loss *float64 `json:"loss"`
		}
		if err := json.Unmarshal(line, &l); err != nil {
			return err
		}
		if l.Loss != nil {
			out = append(out, *l.Loss)
		}
		return nil
	})
	return out, err
}

// chosen reads a selected_rows.jsonl, which only runs that select have.
func chosen(path string) ([]selection, error) {
	var out []selection
	err := eachLine(path, func(line []byte) error {
		var s selection
		if err := json.Unmarshal(line, &s); err != nil {
			return err
		}
		out = append(out, s)
		return nil
	})
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return out, err
}

func eachLine(path string, f func([]byte) error) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		if err := f(s.Bytes()); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}
