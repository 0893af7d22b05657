package main

import (
	"fmt"
	"io"
	"strings"
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
