package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

//go:embed torch_bench.py
var torchBench []byte

// findTorch finds a python3 whose torch computes on the device, or says what is missing.
func findTorch(device string) (python, missing string) {
	if device == "sim" {
		return "", "torch is not asked: nothing is timed on the interpreter"
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		return "", "no torch: no python3 on this machine"
	}
	probe := "import torch"
	if device == "cuda" {
		probe += "; assert torch.cuda.is_available(), 'it sees no GPU'"
	}
	out, err := bounded(time.Minute, python, "-c", probe)
	if err != nil {
		return "", "no torch: " + lastLine(out, err)
	}
	return python, ""
}

// bounded runs a program for that long at most, and returns what it writes.
func bounded(limit time.Duration, name string, args ...string) (string, error) {
	c := exec.Command(name, args...)
	var b strings.Builder
	c.Stdout, c.Stderr = &b, &b
	if err := c.Start(); err != nil {
		return "", err
	}
	timer := time.AfterFunc(limit, func() { c.Process.Kill() })
	err := c.Wait()
	if !timer.Stop() {
		err = fmt.Errorf("no end after %v", limit.Round(time.Second))
	}
	return b.String(), err
}

// torchLimit is how long whole steps may take in torch: its part of the budget, or as long as
// a call at most.
func torchLimit(budget time.Duration) time.Duration {
	if budget == 0 {
		return 10 * time.Minute
	}
	return time.Duration(torchShare * float64(budget))
}

// lastLine is how a program ended, and the last it wrote.
func lastLine(text string, end error) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimSuffix(fmt.Sprintf("%v: %s", end, lines[len(lines)-1]), ": ")
}

// torch times the cases that were measured in PyTorch, and says what went wrong with all of
// them; what one fails for stands in its record.
func (r *Report) torch(python, dir, device string, limit time.Duration, w io.Writer) (missing string) {
	script, shapes, result := filepath.Join(dir, "torch_bench.py"), filepath.Join(dir, "shapes.json"), filepath.Join(dir, "torch.json")
	if err := os.WriteFile(script, torchBench, 0o644); err != nil {
		return err.Error()
	}
	if err := r.write("", shapes); err != nil {
		return err.Error()
	}
	// The script stops by itself before the limit, but for one case that hangs.
	seconds := strconv.FormatFloat(0.9*limit.Seconds(), 'f', 1, 64)
	text, err := bounded(limit, python, script, shapes, result, device, seconds)
	fmt.Fprint(w, text)
	b, rerr := os.ReadFile(result)
	if rerr != nil {
		return "torch: " + lastLine(text, err)
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
