package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"dataflex.dev/dataflex/model/decoder"
)

func modelsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "models",
		Short: "List the supported model types, with a model of each on huggingface.co",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "model_type\tarchitecture\tfor example")
			for _, m := range decoder.List() {
				fmt.Fprintf(w, "%s\t%s\t%s\n", m.ModelType, m.Architecture, m.Example)
			}
			return w.Flush()
		},
	}
}
