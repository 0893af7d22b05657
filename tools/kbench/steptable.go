package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"dataflex.dev/dataflex/tools/watch"
)

// line is a record for reading.
func (r StepRecord) line() string {
	name := fmt.Sprintf("%s, %d tokens", r.Model, r.Tokens)
	if r.Vary {
		name = fmt.Sprintf("%s, %d to %d tokens", r.Model, r.Tokens-r.Tokens/2, r.Tokens)
	}
	if r.Error != "" {
		first, _, _ := strings.Cut(r.Error, "\n")
		return fmt.Sprintf("%-36s %s", name, first)
	}
	if r.Checkpointed {
		name += ", checkpointed"
	}
	check, worst, _ := strings.Cut(r.Check, ": ")
	torch := ""
	switch {
	case r.TorchRate > 0:
		torch = fmt.Sprintf(", torch %.0f tok/s (ours / torch's %.2f) and %.1f GiB", r.TorchRate, r.Rate/r.TorchRate, gib(r.TorchPeak))
	case r.TorchError != "":
		torch = ", torch: " + r.TorchError
	}
	return strings.TrimRight(fmt.Sprintf("%-36s %-3s %9.0f tok/s %9.1f ms a step %6.1f TFLOP/s, peak %.2f GiB (planned %.2f), %d launches%s %s",
		name, check, r.Rate, 1e3*r.Seconds, r.TFLOPs, gib(r.Peak), gib(r.Planned), r.Launches, torch, worst), " ")
}

// kernelRows are the kernels of a step that are told.
const kernelRows = 12

// stepTable is every step, LESS's passes, and what each kernel takes.
func (r *Report) stepTable(w io.Writer) {
	fmt.Fprintf(w, "\n%s: LoRA of rank %d on every linear layer, bf16, one sequence a step\n", r.Device, rank)
	if r.NoTorch != "" {
		fmt.Fprintln(w, r.NoTorch)
	}
	fmt.Fprintln(w)
	for _, s := range r.Steps {
		fmt.Fprintln(w, s.line())
		for _, l := range s.Select {
			fmt.Fprintf(w, "    LESS: %.1f rows of %d tokens a second, in passes of %d tokens\n", l.Rate, l.Length, l.Tokens)
		}
	}
	for _, s := range r.Steps {
		if len(s.Kernels) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s, %d tokens: %d launches, kernels are %.0f %% of the step's time\n", s.Model, s.Tokens, s.Launches, 100*s.InKernels)
		rest, launches := 0.0, 0
		for i, k := range s.Kernels {
			if i < kernelRows {
				fmt.Fprintf(w, "    %5.1f %%  %9.3f ms  %5d  %s\n", 100*k.Share, 1e3*k.Seconds, k.Launches, k.Kernel)
				continue
			}
			rest, launches = rest+k.Seconds, launches+k.Launches
		}
		if launches > 0 {
			fmt.Fprintf(w, "    the rest  %7.3f ms  %5d\n", 1e3*rest, launches)
		}
	}
}

//go:embed torch_step.py
var torchStep []byte

// torchSteps times the same steps in PyTorch, PEFT and its attention, in the part of the
// budget that is kept for it; missing says why it does not.
func (r *Report) torchSteps(dir string, o options, w io.Writer) (missing string) {
	interpreter, missing := findTorch(o.device)
	if missing != "" {
		return missing
	}
	script, list, result := filepath.Join(dir, "torch_step.py"), filepath.Join(dir, "steps.json"), filepath.Join(dir, "torch.json")
	if err := os.WriteFile(script, torchStep, 0o644); err != nil {
		return err.Error()
	}
	if err := r.write("", list); err != nil {
		return err.Error()
	}
	limit := torchLimit(o.budget)
	text, err := python(limit, interpreter, script, list, result, dir, o.device, strconv.FormatFloat(0.9*limit.Seconds(), 'f', 1, 64))
	fmt.Fprint(w, text)
	b, rerr := os.ReadFile(result)
	if rerr != nil {
		return "torch: " + watch.LastLine(text, err)
	}
	var t struct {
		Version string `json:"torch"`
		Steps   []struct {
			Rate  float64 `json:"tokens_per_s"`
			Peak  uint64  `json:"peak_bytes"`
			Error string  `json:"error"`
		} `json:"steps"`
	}
	if err := json.Unmarshal(b, &t); err != nil {
		return "torch: " + err.Error()
	}
	r.Torch = t.Version
	for i, s := range t.Steps {
		if i < len(r.Steps) {
			r.Steps[i].TorchRate, r.Steps[i].TorchPeak, r.Steps[i].TorchError = s.Rate, s.Peak, s.Error
		}
	}
	return ""
}
