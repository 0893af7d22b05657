package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"dataflex.dev/dataflex/tools/recipe"
)

// helpCommand is cobra's, extended by the methods: near and tsds are both commands and methods.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND | METHOD]",
		Short: "Explain a command, or a method: what it computes, its parameters and cost, and when it does not help",
		RunE: func(cmd *cobra.Command, args []string) error {
			return help(root, args, cmd.OutOrStdout())
		},
	}
}

func help(root *cobra.Command, args []string, w io.Writer) error {
	c, _, err := root.Find(args)
	found := err == nil && c != nil && (len(args) == 0 || c != root)
	if found {
		c.InitDefaultHelpFlag()
		c.SetOut(w)
		if err := c.Help(); err != nil {
			return err
		}
	}
	if len(args) != 1 {
		if !found {
			return fmt.Errorf("there is no command %q", args)
		}
		return nil
	}
	m, err := recipe.FindMethod(args[0])
	if found && err != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("no command, and %w", err)
	}
	_, err = io.WriteString(w, m.Page())
	return err
}
