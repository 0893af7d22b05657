// Command dataflex-cli is the drop-in for dataflex-cli and llamafactory-cli.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/tools/command"
)

func main() {
	command.Main(func(ctx context.Context) error { return run(ctx, os.Args[1:]) })
}

func run(ctx context.Context, args []string) error {
	root := newRoot()
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "dataflex-cli",
		Short:         "Fine-tune language models while deciding, during training, which data to train on",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		trainCommand(),
		initCommand(),
		checkCommand(),
		showCommand(),
		scoreCommand(),
		reportCommand(),
		embedCommand(),
		nearCommand(),
		tsdsCommand(),
		exportCommand(),
		evalCommand(),
		tokenizeCommand(),
		schemaCommand(),
		versionCommand(),
	)
	return root
}

func trainCommand() *cobra.Command {
	var o train.Options
	c := &cobra.Command{
		Use:   "train CONFIG [key=value ...]",
		Short: "Train what a YAML or JSON configuration describes",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Out = os.Stdout
			return command.Train(cmd.Context(), args[0], args[1:], o, os.Stderr)
		},
	}
	c.Flags().StringVar(&o.Device, "device", "", "auto, cpu, cuda, cuda:N, sim or sim:90")
	c.Flags().BoolVar(&o.DryRun, "dry-run", false, "print the plan, the memory budget and the step schedule, and stop")
	return c
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run:   func(*cobra.Command, []string) { fmt.Println("dataflex", command.Version) },
	}
}
