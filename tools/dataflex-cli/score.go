package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"dataflex.dev/dataflex/algo/config"
	_ "dataflex.dev/dataflex/algo/selector" // the methods that score
	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/tools/command"
)

func scoreCommand() *cobra.Command {
	var device, out, shard string
	var merge int
	c := command.TakesConfig(&cobra.Command{
		Use:   "score",
		Short: "Run a selector's scoring once over the whole training set, without training",
		Long: "Writes scores.npy and scores.jsonl, a score for every training row, to --out. With --shard i/n only the i-th of n shares is scored,\n" +
			"on as many machines as you like; --merge n merges the n shares in --out. With resume_from_checkpoint=DIR the weights and\n" +
			"the optimiser's moments are those of a checkpoint.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if merge > 0 {
				return train.MergeScores(out, merge)
			}
			if len(args) == 0 {
				return fmt.Errorf("no configuration: dataflex-cli score CONFIG [key=value ...]")
			}
			s, err := parseShard(shard)
			if err != nil {
				return err
			}
			c, err := config.Load(args[0], append([]string{"output_dir=" + out}, args[1:]...))
			if err != nil {
				return err
			}
			return train.Score(cmd.Context(), c, train.Options{Device: device, Out: os.Stdout, Log: command.Logger(os.Stderr)}, out, s)
		},
	})
	c.Args = nil // --merge needs none
	c.Flags().StringVar(&device, "device", "", "auto, cpu, cuda, cuda:N, sim or sim:90")
	c.Flags().StringVar(&out, "out", "scores", "the folder to write")
	c.Flags().StringVar(&shard, "shard", "1/1", "the share of the rows to score, as in 2/8")
	c.Flags().IntVar(&merge, "merge", 0, "merge this many shares in --out")
	return c
}

// parseShard reads "i/n", 1 <= i <= n.
func parseShard(s string) (train.Shard, error) {
	a, b, ok := strings.Cut(s, "/")
	i, err := strconv.Atoi(a)
	n, err2 := strconv.Atoi(b)
	if !ok || err != nil || err2 != nil || i < 1 || i > n {
		return train.Shard{}, fmt.Errorf("--shard %s: want SHARE/NUMBER, as in 2/8", s)
	}
	return train.Shard{Index: i, Count: n}, nil
}
