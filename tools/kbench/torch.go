package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"dataflex.dev/dataflex/tools/watch"
)

// What times kernels and whole steps there.
var (
	//go:embed torch_bench.py
	torchBench []byte
	//go:embed torch_step.py
	torchStep []byte
)

// torchShare is the part of a budget that is kept for PyTorch, where there is one.
const torchShare = 0.3

// divided finds PyTorch, or says what is missing, and divides a budget: ours may measure until
// the first end, torch until the second.
func divided(device string, budget time.Duration) (interpreter, missing string, ours, torch time.Time) {
	torch = time.Now().Add(budget)
	interpreter, missing = findTorch(device)
	if ours = torch; missing == "" {
		ours = torch.Add(-time.Duration(torchShare * float64(budget)))
	}
	return interpreter, missing, ours, torch
}

// findTorch finds a python3 whose torch computes on the device, or says what is missing.
func findTorch(device string) (path, missing string) {
	if device == "sim" {
		return "", "torch is not asked: nothing is timed on the interpreter"
	}
	path, err := exec.LookPath("python3")
	if err != nil {
		return "", "no torch: no python3 on this machine"
	}
	probe := "import torch"
	if device == "cuda" {
		probe += "; assert torch.cuda.is_available(), 'it sees no GPU'"
	}
	out, err := python(time.Minute, path, "-c", probe)
	if err != nil {
		return "", "no torch: " + watch.LastLine(out, err)
	}
	return path, ""
}

// python runs a script for that long at most.
func python(limit time.Duration, name string, args ...string) (string, error) {
	text, why, err := watch.Run(exec.Command(name, args...), watch.Limits{First: limit, Silence: limit, Deadline: time.Now().Add(limit)}, io.Discard)
	if why != "" {
		err = errors.New(why)
	}
	return text, err
}

// asked is one question to PyTorch: a script that is given the report so far in a file, with
// more arguments, and leaves its answer in another.
type asked struct {
	name   string // of the script
	script []byte
	args   []string
}

// torch runs the script for that long at most, and reads what it has found out into answer.
// What went wrong with all of it is missing.
func (r *Report) torch(interpreter, dir string, q asked, limit time.Duration, w io.Writer, answer any) (missing string) {
	script, list, result := filepath.Join(dir, q.name), filepath.Join(dir, "report.json"), filepath.Join(dir, "torch.json")
	if err := os.WriteFile(script, q.script, 0o644); err != nil {
		return err.Error()
	}
	if err := r.write("", list); err != nil {
		return err.Error()
	}
	// The script stops by itself before the limit, but for a case that hangs.
	seconds := strconv.FormatFloat(0.9*limit.Seconds(), 'f', 1, 64)
	text, err := python(limit, interpreter, append(append([]string{script, list, result}, q.args...), seconds)...)
	fmt.Fprint(w, text)
	b, rerr := os.ReadFile(result)
	if rerr != nil {
		return "torch: " + watch.LastLine(text, err)
	}
	if err := json.Unmarshal(b, answer); err != nil {
		return "torch: " + err.Error()
	}
	return ""
}

// torchCases times the cases that were measured; what one fails for stands in its record.
func (r *Report) torchCases(interpreter, dir, device string, limit time.Duration, w io.Writer) (missing string) {
	var t struct {
		Version string             `json:"torch"`
		Median  map[string]float64 `json:"median_s"`
		How     map[string]string  `json:"how"`
		Errors  map[string]string  `json:"errors"`
	}
	if missing := r.torch(interpreter, dir, asked{"torch_bench.py", torchBench, []string{device}}, limit, w, &t); missing != "" {
		return missing
	}
	r.Torch = t.Version
	for i := range r.Records {
		k := &r.Records[i]
		k.Torch, k.TorchHow, k.TorchError = t.Median[k.Name], t.How[k.Name], t.Errors[k.Name]
	}
	return ""
}

// torchSteps times the same steps in PyTorch, PEFT and its attention.
func (r *Report) torchSteps(interpreter, dir, device string, limit time.Duration, w io.Writer) (missing string) {
	var t struct {
		Version string `json:"torch"`
		Steps   []struct {
			Rate  float64 `json:"tokens_per_s"`
			Peak  uint64  `json:"peak_bytes"`
			Error string  `json:"error"`
		} `json:"steps"`
	}
	if missing := r.torch(interpreter, dir, asked{"torch_step.py", torchStep, []string{dir, device}}, limit, w, &t); missing != "" {
		return missing
	}
	r.Torch = t.Version
	for i, s := range t.Steps {
		if i < len(r.Steps) {
			r.Steps[i].TorchRate, r.Steps[i].TorchPeak, r.Steps[i].TorchError = s.Rate, s.Peak, s.Error
		}
	}
	return ""
}
