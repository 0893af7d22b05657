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

//go:embed torch_bench.py
var torchBench []byte

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

// torchLimit is how long whole steps may take in torch: its part of the budget, or as long as
// a call at most.
func torchLimit(budget time.Duration) time.Duration {
	if budget == 0 {
		return 10 * time.Minute
	}
	return time.Duration(torchShare * float64(budget))
}

// torch times the cases that were measured in PyTorch, and says what went wrong with all of
// them; what one fails for stands in its record.
func (r *Report) torch(interpreter, dir, device string, limit time.Duration, w io.Writer) (missing string) {
	script, shapes, result := filepath.Join(dir, "torch_bench.py"), filepath.Join(dir, "shapes.json"), filepath.Join(dir, "torch.json")
	if err := os.WriteFile(script, torchBench, 0o644); err != nil {
		return err.Error()
	}
	if err := r.write("", shapes); err != nil {
		return err.Error()
	}
	// The script stops by itself before the limit, but for one case that hangs.
	seconds := strconv.FormatFloat(0.9*limit.Seconds(), 'f', 1, 64)
	text, err := python(limit, interpreter, script, shapes, result, device, seconds)
	fmt.Fprint(w, text)
	b, rerr := os.ReadFile(result)
	if rerr != nil {
		return "torch: " + watch.LastLine(text, err)
	}
	var t struct {
		Version string             `json:"torch"`
		Median  map[string]float64 `json:"median_s"`
		How     map[string]string  `json:"how"`
		Errors  map[string]string  `json:"errors"`
	}
	if err := json.Unmarshal(b, &t); err != nil {
		return "torch: " + err.Error()
	}
	r.Torch = t.Version
	for i := range r.Records {
		k := &r.Records[i]
		k.Torch, k.TorchHow, k.TorchError = t.Median[k.Name], t.How[k.Name], t.Errors[k.Name]
	}
	return ""
}
