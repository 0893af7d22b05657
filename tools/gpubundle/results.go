package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Device is the part of kbench's report that the tables tell.
type Device struct {
	Date       string `json:"date"`
	Version    string `json:"version"`
	Name       string `json:"device"`
	Capability int    `json:"capability"`
	Units      int    `json:"units"`
	Memory     uint64 `json:"memory_bytes"`
	Driver     int    `json:"driver_cuda"`
	Ceilings   struct {
		Copy     float64 `json:"copy_gb_s"`
		Multiply float64 `json:"multiply_tflop_s"`
		Tensor   float64 `json:"tensor_tflop_s"`
		Launch   float64 `json:"launch_us"`
	} `json:"ceilings"`
	Torch   string   `json:"torch"`
	NoTorch string   `json:"no_torch"`
	Probe   string   `json:"probe"`
	Records []Record `json:"records"`
	Kernels []Kernel `json:"kernels,omitempty"`
	Steps   []Step   `json:"steps"`
}

// Step is one of kbench's whole steps.
type Step struct {
	Model      string  `json:"model"`
	Tokens     int     `json:"tokens"`
	Again      bool    `json:"checkpointed"` // layers were computed again in the backward pass
	Rate       float64 `json:"tokens_per_s"`
	Seconds    float64 `json:"median_s"`
	TFLOPs     float64 `json:"tflop_s"`
	Peak       uint64  `json:"peak_bytes"`
	Planned    uint64  `json:"planned_bytes"`
	Launches   int     `json:"launches"`
	InKernels  float64 `json:"in_kernels"`
	Check      string  `json:"check"`
	TorchRate  float64 `json:"torch_tokens_per_s"`
	TorchError string  `json:"torch_error"`
	Error      string  `json:"error"`
	Kernels    []struct {
		Kernel   string  `json:"kernel"`
		Launches int     `json:"launches"`
		Seconds  float64 `json:"seconds"`
		Share    float64 `json:"share"`
	} `json:"kernels"`
	Select []struct {
		Tokens int     `json:"tokens"`
		Length int     `json:"length"`
		Rate   float64 `json:"rows_per_s"`
	} `json:"select"`
}

// Record is one case of kbench.
type Record struct {
	Name    string  `json:"name"`
	Variant string  `json:"variant"` // of the case before it, with other kernels
	Ops     float64 `json:"floor_operations"`
	First   float64 `json:"first_s"`
	Median  float64 `json:"median_s"`
	TFLOPs  float64 `json:"tflop_s"`
	GBs     float64 `json:"gb_s"`
	Share   float64 `json:"share"`
	Bound   string  `json:"bound"`
	Error   string  `json:"error,omitempty"`
	Check   string  `json:"check"`
	Torch   float64 `json:"torch_s"`
	How     string  `json:"torch_how"`
}

// Kernel is what the driver's compiler made of one.
type Kernel struct {
	Name      string  `json:"name"`
	File      string  `json:"file"`
	Registers int     `json:"registers"`
	Shared    int     `json:"static_shared_bytes"`
	Local     int     `json:"local_bytes"`
	Load      float64 `json:"module_load_s"`
}

// Seconds is what a part took.
type Seconds struct {
	Part    string  `json:"part"`
	Seconds float64 `json:"seconds"`
}

// Results are everything that a part found out.
type Results struct {
	Part     string    `json:"part"`
	Device   Device    `json:"device"`
	Failures []string  `json:"failures"`
	Notes    []string  `json:"notes"`
	Seconds  []Seconds `json:"seconds"`
	Tests    []Test    `json:"tests"`
	Runs     []Run     `json:"training"`
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// write writes results.json among what the programs wrote, and RESULTS.md.
func (r *Results) write(raw, out string) error {
	b, err := json.MarshalIndent(r, "", " ")
	return errors.Join(
		err,
		os.WriteFile(filepath.Join(raw, "results.json"), append(b, '\n'), 0o644),
		os.WriteFile(filepath.Join(out, "RESULTS.md"), []byte(r.markdown()), 0o644),
	)
}
