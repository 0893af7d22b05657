package command

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"dataflex.dev/dataflex/algo/train"
)

// Program prepares the root of a program's commands and runs it on a command line.
func Program(ctx context.Context, root *cobra.Command, args []string) error {
	root.SilenceUsage, root.SilenceErrors = true, true
	root.Version = Version
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return fmt.Errorf("%w: see %s --help", err, c.CommandPath()) })
	for _, c := range append(root.Commands(), root) {
		logFlag(c.Flags())
		if fits := c.Args; fits != nil && c.Annotations[takesConfig] == "" && c != root {
			c.Args = func(c *cobra.Command, args []string) error {
				if fits(c, args) != nil {
					return fmt.Errorf("%s: wrong number of arguments (%d): its form is %s; %s --help says more", c.CommandPath(), len(args), c.UseLine(), c.CommandPath())
				}
				return nil
			}
		}
		if c.Flags().Lookup("device") != nil { // it uses a device
			c.PreRun = func(*cobra.Command, []string) { nameBuild() }
		}
	}
	args, err := Arguments(root, args)
	if err != nil {
		return err
	}
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}

// TrainCommand is the command that trains, whose name differs between programs.
func TrainCommand(name string) *cobra.Command {
	var o train.Options
	c := TakesConfig(&cobra.Command{
		Use:   name,
		Short: "Train as a configuration of DataFlex or LLaMA-Factory describes",
		Long: "Trains as CONFIG, a YAML or JSON file of DataFlex or LLaMA-Factory, describes; - reads it from standard input. Its keys can be given\n" +
			"on the command line, overriding the file or without a file: learning_rate=1e-5, --learning_rate 1e-5, --learning_rate=1e-5, --do_train.\n" +
			"-config FILE is CONFIG, too.",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Out = os.Stdout
			return Train(cmd.Context(), args[0], args[1:], o, os.Stderr)
		},
	})
	c.Flags().StringVar(&o.Device, "device", "", "auto, cpu, cuda, cuda:N, or sim, the interpreter of the GPU kernels (sim:90: those of Hopper) (default auto, or cpu where use_cpu is true)")
	c.Flags().BoolVar(&o.Restart, "restart", false, "start from the beginning: an existing run in output_dir is moved aside")
	c.Flags().BoolVar(&o.DryRun, "dry-run", false, "print the plan, the memory budget and the step schedule, and stop")
	return c
}
