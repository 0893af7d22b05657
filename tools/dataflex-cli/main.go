// Command dataflex-cli is the drop-in for dataflex-cli and llamafactory-cli.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/tools/command"
)

func main() {
	code := command.ExitDone
	root := &cobra.Command{
		Use:           "dataflex-cli",
		Short:         "Fine-tune language models while deciding, during training, which data to train on",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(trainCommand(&code), showCommand(), tokenizeCommand(), schemaCommand(), exportCommand(), evalCommand(), checkCommand(&code), scoreCommand(), embedCommand(), nearCommand(), tsdsCommand(), versionCommand())
	if err := root.Execute(); err != nil {
		code = command.Exit(err, os.Stderr)
	}
	os.Exit(code)
}

func trainCommand(code *int) *cobra.Command {
	var o train.Options
	c := &cobra.Command{
		Use:   "train CONFIG [key=value ...]",
		Short: "Train what a YAML or JSON configuration describes",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			o.Out = os.Stdout
			*code = command.Train(args[0], args[1:], o, os.Stderr)
			return nil
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
