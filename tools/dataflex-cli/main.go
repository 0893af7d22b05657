// Command dataflex-cli is a drop-in replacement for dataflex-cli and llamafactory-cli.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"dataflex.dev/dataflex/tools/command"
)

func main() {
	command.Main(func(ctx context.Context) error { return run(ctx, os.Args[1:]) })
}

func run(ctx context.Context, args []string) error {
	return command.Program(ctx, newRoot(), args)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "dataflex-cli",
		Short: "Fine-tune language models while deciding, during training, which data to train on",
	}
	root.AddCommand(
		command.TrainCommand("train"),
		initCommand(),
		downloadCommand(),
		checkCommand(),
		showCommand(),
		scoreCommand(),
		pickCommand(),
		reportCommand(),
		boardCommand(),
		embedCommand(),
		nearCommand(),
		tsdsCommand(),
		exportCommand(),
		evalCommand(),
		generateCommand(),
		chatCommand(),
		tokenizeCommand(),
		schemaCommand(),
		modelsCommand(),
		envCommand(),
		versionCommand(),
	)
	root.SetHelpCommand(helpCommand(root))
	return root
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run:   func(*cobra.Command, []string) { fmt.Println("dataflex", command.Version) },
	}
}
