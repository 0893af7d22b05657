// Command dataflex-train trains what a LLaMA-Factory or DataFlex YAML describes.
//
//	dataflex-train -config less.yaml [key=value ...]
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/tools/command"
)

const usage = `usage: dataflex-train -config FILE [key=value ...]

FILE is a LLaMA-Factory or DataFlex YAML or JSON file; key=value overrides a key of it.

`

func main() {
	command.Main(func(ctx context.Context) error { return run(ctx, os.Args[1:]) })
}

func run(ctx context.Context, args []string) error {
	flags := pflag.NewFlagSet("dataflex-train", pflag.ContinueOnError)
	flags.SetOutput(os.Stderr)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage, flags.FlagUsages()) }
	file := flags.String("config", "", "the configuration file")
	device := flags.String("device", "", "auto, cpu, cuda, cuda:N, or sim, the interpreter of the GPU kernels (sim:90: those of Hopper) (default auto, or cpu where use_cpu is true)")
	dryRun := flags.Bool("dry-run", false, "print the plan, the memory budget and the step schedule, and stop")
	version := flags.Bool("version", false, "print the version and stop")
	if err := flags.Parse(singleDash(args)); err != nil {
		if err == pflag.ErrHelp {
			return nil
		}
		return fmt.Errorf("%w; see dataflex-train --help", err)
	}
	if *version {
		_, err := fmt.Println("dataflex", command.Version)
		return err
	}
	rest := flags.Args()
	if *file == "" && len(rest) > 0 && !strings.Contains(rest[0], "=") {
		*file, rest = rest[0], rest[1:]
	}
	if *file == "" {
		return fmt.Errorf("no configuration: dataflex-train -config FILE [key=value ...]")
	}
	return command.Train(ctx, *file, rest, train.Options{Device: *device, DryRun: *dryRun, Out: os.Stdout}, os.Stderr)
}

// singleDash lets long flags be written with one dash, as in -config FILE.
func singleDash(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		if strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--") && len(a) > 2 {
			a = "-" + a
		}
		out[i] = a
	}
	return out
}
