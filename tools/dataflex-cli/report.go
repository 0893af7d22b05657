package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"dataflex.dev/dataflex/algo/report/page"
)

func reportCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "report DIR...",
		Short: "Make the report page of a run's output_dir, also while it trains; of several, one page side by side",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, dirs []string) error {
			path := out
			switch {
			case path != "":
			case len(dirs) == 1:
				path = filepath.Join(dirs[0], page.Name)
			default:
				path = page.Name
			}
			if err := page.WriteRuns(cmd.Context(), path, dirs); err != nil {
				return err
			}
			fmt.Fprintln(os.Stdout, path)
			return nil
		},
	}
	c.Flags().StringVar(&out, "out", "", "where to write it (default: "+page.Name+" in DIR; of several, in the current folder)")
	return c
}
