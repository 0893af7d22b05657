package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"dataflex.dev/dataflex/algo/report/compare"
	"dataflex.dev/dataflex/algo/report/page"
)

func reportCommand() *cobra.Command {
	var out string
	var comparing bool
	c := &cobra.Command{
		Use:   "report DIR...",
		Short: "Make the report page of a run's output_dir, also while it trains; of several runs, one page that compares them",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, dirs []string) error {
			path := out
			if comparing {
				if path == "" {
					path = "comparison"
				}
				files, err := compare.Write(cmd.Context(), path, dirs)
				for _, f := range files {
					fmt.Fprintln(os.Stdout, f)
				}
				return err
			}
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
	c.Flags().StringVar(&out, "out", "", "where to write it (default: "+page.Name+" in DIR; of several, in the current folder; the folder comparison with --compare)")
	c.Flags().BoolVar(&comparing, "compare", false, "write a folder for a paper: eval loss, overlap of the choices, tables as Markdown, LaTeX and CSV, pictures as PNG and SVG")
	return c
}
