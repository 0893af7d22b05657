package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
	Records []Record `json:"records"`
	Kernels []Kernel `json:"kernels,omitempty"`
}

// Record is one case of kbench.
type Record struct {
	Name   string  `json:"name"`
	Ops    float64 `json:"floor_operations"`
	First  float64 `json:"first_s"`
	Median float64 `json:"median_s"`
	TFLOPs float64 `json:"tflop_s"`
	GBs    float64 `json:"gb_s"`
	Share  float64 `json:"share"`
	Bound  string  `json:"bound"`
	Error  string  `json:"error,omitempty"`
	Check  string  `json:"check"`
	Torch  float64 `json:"torch_s"`
	How    string  `json:"torch_how"`
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

// Results are everything that was found out.
type Results struct {
	Device    Device      `json:"device"`
	Failures  []string    `json:"failures"`
	Seconds   []Seconds   `json:"seconds"`
	Kernels   []Kernel    `json:"driver_compiled"`
	Tests     []Test      `json:"tests"`
	Runs      []Run       `json:"training"`
	Assembled []Assembled `json:"ptxas"`
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

// write writes results.json and RESULTS.md.
func (r *Results) write(dir string) error {
	b, err := json.MarshalIndent(r, "", " ")
	return errors.Join(
		err,
		os.WriteFile(filepath.Join(dir, "results.json"), append(b, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, "RESULTS.md"), []byte(r.markdown()), 0o644),
	)
}

// markdown is the page for reading: device and ceilings, what failed, and the tables.
func (r *Results) markdown() string {
	var w strings.Builder
	d := &r.Device
	fmt.Fprintf(&w, "# %s, %s\n\nDataFlex %s; compute capability %d.%d, %d multiprocessors, %.0f GiB, driver for CUDA %d.%d.\n",
		d.Name, d.Date, d.Version, d.Capability/10, d.Capability%10, d.Units, float64(d.Memory)/(1<<30), d.Driver/1000, d.Driver%1000/10)
	if c := d.Ceilings; c.Copy > 0 {
		fmt.Fprintf(&w, "Measured ceilings: copies %.0f GB/s, float32 %.1f TFLOP/s, bf16 tensor cores %.0f TFLOP/s, %.2f us of host time a launch.\n",
			c.Copy, c.Multiply, c.Tensor, c.Launch)
	}
	if len(r.Failures) == 0 {
		w.WriteString("\nNothing failed.\n")
	} else {
		w.WriteString("\n## What failed\n\n")
		for _, f := range r.Failures {
			fmt.Fprintf(&w, "- %s\n", strings.ReplaceAll(f, "\n", "\n  "))
		}
	}
	r.testTable(&w)
	r.runTable(&w)
	r.benchTable(&w)
	r.kernelTable(&w)
	return w.String()
}

func (r *Results) testTable(w *strings.Builder) {
	if len(r.Tests) == 0 {
		return
	}
	w.WriteString("\n## Tests on the GPU\n\n| package | pass | fail | crash | skip | seconds |\n|---|---|---|---|---|---|\n")
	for lo := 0; lo < len(r.Tests); {
		count, seconds, hi := map[string]int{}, 0.0, lo
		for ; hi < len(r.Tests) && r.Tests[hi].Package == r.Tests[lo].Package; hi++ {
			count[r.Tests[hi].Result]++
			seconds += r.Tests[hi].Seconds
		}
		fmt.Fprintf(w, "| %s | %d | %d | %d | %d | %.1f |\n", r.Tests[lo].Package, count["PASS"], count["FAIL"], count["CRASH"], count["SKIP"], seconds)
		lo = hi
	}
	for _, t := range r.Tests {
		if t.Output != "" {
			fmt.Fprintf(w, "\n%s %s.%s\n\n```\n%s\n```\n", t.Result, t.Package, t.Name, strings.TrimSpace(t.Output))
		}
	}
}

func (r *Results) runTable(w *strings.Builder) {
	if len(r.Runs) == 0 {
		return
	}
	w.WriteString("\n## Training, CPU against GPU\n\n| run | steps | compared | last loss, CPU | GPU | largest relative difference | allowed | rows chosen alike | CPU s | GPU s |\n|---|---|---|---|---|---|---|---|---|---|\n")
	last := func(x []float64) string {
		if len(x) == 0 {
			return "-"
		}
		return fmt.Sprintf("%.4f", x[len(x)-1])
	}
	for _, t := range r.Runs {
		fmt.Fprintf(w, "| %s | %d | %d | %s | %s | %.2g | %.2g | %.0f %% | %.1f | %.1f |\n",
			t.Name, len(t.GPU), t.Compared, last(t.CPU), last(t.GPU), t.Worst, t.Allowed, 100*t.Common, t.CPUTime, t.GPUTime)
	}
}

func (r *Results) benchTable(w *strings.Builder) {
	if len(r.Device.Records) == 0 {
		return
	}
	w.WriteString("\n## Kernels\n\nMedian on the device, operands out of the cache. The share is the time that the floor takes at the measured ceilings, over the median;\nthe ratio is torch's time over ours in the same run.\n\n")
	switch {
	case r.Device.Torch != "":
		fmt.Fprintf(w, "torch %s.\n\n", r.Device.Torch)
	case r.Device.NoTorch != "":
		fmt.Fprintf(w, "%s.\n\n", r.Device.NoTorch)
	}
	w.WriteString("| case | check | ms | TFLOP/s | GB/s | share of the ceiling | torch ms | ratio | first call ms |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, k := range r.Device.Records {
		if k.Error != "" {
			first, _, _ := strings.Cut(k.Error, "\n")
			fmt.Fprintf(w, "| %s | %s | | | | | | | |\n", k.Name, strings.ReplaceAll(first, "|", "/"))
			continue
		}
		rate := "-"
		if k.Ops > 0 {
			rate = fmt.Sprintf("%.1f", k.TFLOPs)
		}
		torch, ratio := "-", "-"
		if k.Torch > 0 {
			torch, ratio = fmt.Sprintf("%.4g", 1e3*k.Torch), fmt.Sprintf("%.2f (%s)", k.Torch/k.Median, k.How)
		}
		fmt.Fprintf(w, "| %s | %s | %.4g | %s | %.0f | %.0f %% %s | %s | %s | %.0f |\n", k.Name, k.Check, 1e3*k.Median, rate, k.GBs, 100*k.Share, k.Bound, torch, ratio, 1e3*k.First)
	}
}

func (r *Results) kernelTable(w *strings.Builder) {
	if len(r.Kernels) == 0 {
		return
	}
	byPTXAS := map[string]Assembled{}
	for _, a := range r.Assembled {
		byPTXAS[a.File+a.Name] = a
	}
	w.WriteString("\n## What the driver's compiler makes of the kernels\n\n| kernel | file | registers | static shared B | local B | load of the file ms | ptxas registers, spills |\n|---|---|---|---|---|---|---|\n")
	for _, k := range r.Kernels {
		other := "-"
		if a, ok := byPTXAS[k.File+k.Name]; ok {
			other = fmt.Sprintf("%d, %d", a.Registers, a.Spills)
		}
		fmt.Fprintf(w, "| %s | %s | %d | %d | %d | %.0f | %s |\n", k.Name, k.File, k.Registers, k.Shared, k.Local, 1e3*k.Load, other)
	}
}
