package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/cpu"

	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/tools/command"
)

func envCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "env",
		Short: "Print what a bug report should include: version, machine, devices, environment",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return writeEnv(os.Stdout) },
	}
}

// writeEnv prints one fact a line, as `llamafactory-cli env` does.
func writeEnv(w io.Writer) error {
	lines := [][2]string{
		{"`dataflex` version", command.Version},
		{"Platform", runtime.GOOS + "/" + runtime.GOARCH},
		{"Go", runtime.Version() + cgo()},
		{"Processors", fmt.Sprintf("%d, %s", runtime.NumCPU(), instructions())},
		{"GPU", gpu()},
	}
	for _, v := range variables {
		text, ok := os.LookupEnv(v.name)
		if ok && strings.HasSuffix(v.name, "_TOKEN") {
			text = "set, not shown"
		}
		if ok {
			lines = append(lines, [2]string{v.name, text})
		}
	}
	for _, l := range lines {
		if _, err := fmt.Fprintf(w, "- %s: %s\n", l[0], l[1]); err != nil {
			return err
		}
	}
	return nil
}

// cgo describes how the program was built.
func cgo() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	var out []string
	for _, s := range info.Settings {
		if s.Value != "" && (s.Key == "-tags" || s.Key == "CGO_ENABLED") {
			out = append(out, s.Key+"="+s.Value)
		}
	}
	if out == nil {
		return ""
	}
	return " (" + strings.Join(out, ", ") + ")"
}

// instructions are the processor's instruction sets that matter for matrix products.
func instructions() string {
	var out []string
	for _, f := range []struct {
		has  bool
		name string
	}{
		{cpu.X86.HasAVX2, "AVX2"},
		{cpu.X86.HasFMA, "FMA"},
		{cpu.X86.HasAVX512F, "AVX-512"},
		{cpu.X86.HasAVX512BF16, "AVX-512 BF16"},
		{cpu.X86.HasAMXBF16, "AMX BF16"},
		{cpu.ARM64.HasASIMD, "NEON"},
	} {
		if f.has {
			out = append(out, f.name)
		}
	}
	if out == nil {
		return "no vector instructions known here"
	}
	return strings.Join(out, ", ")
}

// gpu is the GPU that --device cuda would use, or why there is none.
func gpu() string {
	dev, err := train.OpenDevice("cuda", command.Logger(io.Discard))
	if err != nil {
		return "none: " + err.Error()
	}
	name := dev.Attributes().Name
	train.CloseDevice(dev, &err)
	if err != nil {
		return err.Error()
	}
	return name
}
