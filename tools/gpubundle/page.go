package main

import (
	"fmt"
	"strings"
)

// pageLines are the lines of a RESULTS.md: what a reader of a call's last output sees.
const pageLines = 100

// markdown is the page for reading: device and ceilings, what failed, and the part's table,
// what matters most first. What does not fit is in the archive.
func (r *Results) markdown() string {
	var p page
	d := &r.Device
	p.add("# %s on %s, %s", r.Part, d.Name, d.Date)
	p.add("")
	p.add("DataFlex %s; compute capability %d.%d, %d multiprocessors, %.0f GiB, driver for CUDA %d.%d.", d.Version, d.Capability/10, d.Capability%10, d.Units, float64(d.Memory)/(1<<30), d.Driver/1000, d.Driver%1000/10)
	if c := d.Ceilings; c.Copy > 0 {
		p.add("Measured ceilings: copies %.0f GB/s, float32 %.1f TFLOP/s, bf16 tensor cores %.0f TFLOP/s, %.2f us of host time a launch.", c.Copy, c.Multiply, c.Tensor, c.Launch)
	}
	var took []string
	for _, s := range r.Seconds {
		took = append(took, fmt.Sprintf("%s %.0f s", s.Part, s.Seconds))
	}
	p.add("Took: %s.", strings.Join(took, ", "))
	for _, n := range r.Notes {
		p.add("%s.", n)
	}
	p.add("")
	if len(r.Failures) == 0 {
		p.add("Nothing failed.")
	}
	for _, f := range r.Failures {
		p.add("- FAILED %s", strings.ReplaceAll(cut(f, 400), "\n", " "))
	}
	r.testTable(&p)
	r.stepTable(&p)
	r.runTable(&p)
	r.benchTable(&p)
	r.spillTable(&p)
	return p.String()
}

// page holds lines up to its limit and says how many there were.
type page struct {
	lines   []string
	dropped int
}

func (p *page) add(format string, args ...any) {
	if len(p.lines) >= pageLines-2 {
		p.dropped++
		return
	}
	p.lines = append(p.lines, fmt.Sprintf(format, args...))
}

func (p *page) String() string {
	if p.dropped > 0 {
		return strings.Join(append(p.lines, "", fmt.Sprintf("%d lines more are in all.tgz.", p.dropped)), "\n") + "\n"
	}
	return strings.Join(p.lines, "\n") + "\n"
}

// cut is the beginning of a text.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}

func (r *Results) testTable(p *page) {
	if len(r.Tests) == 0 {
		return
	}
	for _, t := range r.Tests {
		if t.Result == "FAIL" || t.Result == "CRASH" || t.Result == "HANG" {
			p.add("- %s %s.%s: %s", t.Result, t.Package, t.Name, cut(strings.Join(strings.Fields(t.Output), " "), 300))
		}
	}
	p.add("")
	p.add("| package | pass | fail | crash | hang | skip | not run | seconds |")
	p.add("|---|---|---|---|---|---|---|---|")
	for lo := 0; lo < len(r.Tests); {
		count, seconds, hi := map[string]int{}, 0.0, lo
		for ; hi < len(r.Tests) && r.Tests[hi].Package == r.Tests[lo].Package; hi++ {
			count[r.Tests[hi].Result]++
			seconds += r.Tests[hi].Seconds
		}
		p.add("| %s | %d | %d | %d | %d | %d | %d | %.1f |", r.Tests[lo].Package, count["PASS"], count["FAIL"], count["CRASH"], count["HANG"], count["SKIP"], count["NOT RUN"], seconds)
		lo = hi
	}
}

func (r *Results) stepTable(p *page) {
	if len(r.Device.Steps) == 0 {
		return
	}
	p.add("")
	p.add("LoRA of rank 16 on every linear layer in bf16, one sequence a step, random weights. %s", r.torch())
	p.add("")
	p.add("| model | tokens | first loss | tok/s | torch | ms a step | TFLOP/s | peak GiB (planned) | launches | in kernels | LESS, rows/s |")
	p.add("|---|---|---|---|---|---|---|---|---|---|---|")
	for _, s := range r.Device.Steps {
		if s.Error != "" {
			p.add("| %s | %d | %s | | | | | | | | |", s.Model, s.Tokens, cut(strings.ReplaceAll(s.Error, "\n", " "), 200))
			continue
		}
		torch, name := s.TorchError, s.Model
		if s.Again {
			name += ", checkpointed"
		}
		if s.TorchRate > 0 {
			torch = fmt.Sprintf("%.0f", s.TorchRate)
		}
		var less []string
		for _, l := range s.Select {
			less = append(less, fmt.Sprintf("%.1f of %d (passes of %d)", l.Rate, l.Length, l.Tokens))
		}
		p.add("| %s | %d | %s | %.0f | %s | %.1f | %.0f | %.1f (%.1f) | %d | %.0f %% | %s |", name, s.Tokens, s.Check, s.Rate, torch, 1e3*s.Seconds, s.TFLOPs,
			float64(s.Peak)/(1<<30), float64(s.Planned)/(1<<30), s.Launches, 100*s.InKernels, strings.Join(less, ", "))
	}
	for _, s := range r.Device.Steps {
		var shares []string
		for _, k := range s.Kernels {
			if k.Share >= 0.01 {
				shares = append(shares, fmt.Sprintf("%s %.1f %% (%d)", k.Kernel, 100*k.Share, k.Launches))
			}
		}
		if len(shares) > 0 {
			p.add("")
			p.add("%s, %d tokens: %s", s.Model, s.Tokens, strings.Join(shares, ", "))
		}
	}
}

func (r *Results) runTable(p *page) {
	if len(r.Runs) == 0 {
		return
	}
	p.add("")
	p.add("| training, CPU against GPU | steps | compared | last loss, CPU | GPU | largest relative difference | allowed | rows chosen alike | CPU s | GPU s |")
	p.add("|---|---|---|---|---|---|---|---|---|---|")
	last := func(x []float64) string {
		if len(x) == 0 {
			return "-"
		}
		return fmt.Sprintf("%.4f", x[len(x)-1])
	}
	for _, t := range r.Runs {
		p.add("| %s | %d | %d | %s | %s | %.2g | %.2g | %.0f %% | %.1f | %.1f |",
			t.Name, len(t.GPU), t.Compared, last(t.CPU), last(t.GPU), t.Worst, t.Allowed, 100*t.Common, t.CPUTime, t.GPUTime)
	}
}

// torch is what the ratios are of, or why there are none.
func (r *Results) torch() string {
	if r.Device.Torch != "" {
		return "torch " + r.Device.Torch + "."
	}
	return r.Device.NoTorch
}

func (r *Results) benchTable(p *page) {
	if len(r.Device.Records) == 0 {
		return
	}
	p.add("")
	p.add("Median on the device, operands out of the cache; the share is the time of the floor at the measured ceilings over it, the ratio torch's time over ours. %s", r.torch())
	p.add("")
	if d := r.Device.Probe; d != "" && d != "ok" {
		p.add("- BAD %s", cut(strings.ReplaceAll(d, "\n", " "), 300))
	}
	wrong := func(k Record) bool { return k.Error != "" || k.Check != "ok" && k.Check != "" }
	for _, k := range r.Device.Records {
		if wrong(k) && !strings.HasPrefix(k.Error, "not measured") {
			p.add("- %s: %s", k.Name, cut(strings.ReplaceAll(k.Error+k.Check, "\n", " "), 300))
		}
	}
	other := map[string]string{} // the other kernels' times, by the case's name and variant
	for _, k := range r.Device.Records {
		if k.Variant != "" && k.Error == "" {
			other[k.Name] = fmt.Sprintf("%.4g", 1e3*k.Median)
		}
	}
	p.add("| case | check | ms | ms of sm_80's | ms without clusters | TFLOP/s | GB/s | share of the ceiling | ratio |")
	p.add("|---|---|---|---|---|---|---|---|---|")
	for _, k := range r.Device.Records {
		if k.Error != "" || k.Variant != "" {
			continue
		}
		rate, ratio := "-", "-"
		if k.Ops > 0 {
			rate = fmt.Sprintf("%.1f", k.TFLOPs)
		}
		if k.Torch > 0 {
			ratio = fmt.Sprintf("%.2f (%s)", k.Torch/k.Median, k.How)
		}
		check, _, _ := strings.Cut(k.Check, ":")
		p.add("| %s | %s | %.4g | %s | %s | %s | %.0f | %.0f %% %s | %s |", k.Name, check, 1e3*k.Median, other[k.Name+"@sm_80"], other[k.Name+"@no clusters"], rate, k.GBs, 100*k.Share, k.Bound, ratio)
	}
}

// spillTable is the kernels whose registers the driver's compiler spills.
func (r *Results) spillTable(p *page) {
	if len(r.Device.Kernels) == 0 {
		return
	}
	p.add("")
	p.add("The driver compiled %d kernels.", len(r.Device.Kernels))
	for _, k := range r.Device.Kernels {
		if k.Local > 0 {
			p.add("- %s of %s spills %d bytes a thread (%d registers)", k.Name, k.File, k.Local, k.Registers)
		}
	}
}
