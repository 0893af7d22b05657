package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"dataflex.dev/dataflex/data/hub"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/tools/command"
)

func downloadCommand() *cobra.Command {
	var o hub.DownloadOptions
	var dataset bool
	c := &cobra.Command{
		Use:   "download ORG/NAME",
		Short: "Fetch a model, an adapter or a data set from the Hugging Face hub into its cache; nothing else uses the network",
		Long: "Fetches a repository into Hugging Face's cache (HF_HUB_CACHE, HF_HOME), where model_name_or_path: ORG/NAME and hf_hub_url then find\n" +
			"it, here and in Python. Run again, it continues where it stopped, and fetches only what is new; every file is verified by the hub's checksum.\n" +
			"Of a model with safetensors other formats are left out, unless --all is given. HF_ENDPOINT names another hub, HF_TOKEN a token for\n" +
			"private and gated repositories; HTTPS_PROXY is honoured.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			log := command.Logger(os.Stderr)
			o.Name, o.Kind = args[0], hub.Models
			if dataset {
				o.Kind = hub.Datasets
			}
			o.Report = func(file string, size int64, before bool) {
				log.Info("file", "path", file, "bytes", size, "was_here", before)
			}
			o.Waiting = func(h *storage.Held) {
				log.Info("another process is downloading it: waiting", "pid", h.Owner.PID, "host", h.Owner.Host)
			}
			log.Info("downloading", "name", o.Name, "cache", hub.Cache())
			dir, err := hub.Download(cmd.Context(), o)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(os.Stdout, dir)
			return err
		},
	}
	c.Flags().BoolVar(&dataset, "dataset", false, "ORG/NAME is a data set")
	c.Flags().StringVar(&o.Revision, "revision", "", "a branch, a tag or a commit (default main)")
	c.Flags().BoolVar(&o.All, "all", false, "every file, weights in other formats included")
	return c
}
