package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"dataflex.dev/dataflex/algo/config"
	_ "dataflex.dev/dataflex/algo/selector" // the methods that score
	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/driver/launch"
	"dataflex.dev/dataflex/tools/command"
)

func scoreCommand() *cobra.Command {
	var device, out, shard string
	var merge train.Merging
	c := command.TakesConfig(&cobra.Command{
		Use:   "score",
		Short: "Run a selector's scoring once over the whole training set, without training",
		Long: "Writes scores.npy and scores.jsonl, a score for every training row, to --out. With --shard i/n only the i-th of n shares is scored,\n" +
			"on as many machines as you like; --shard auto is the share of this task of a Slurm array, --shard auto/n that of this pod of an indexed\n" +
			"Kubernetes Job of n pods; --merge n merges the n shares in --out, and with --top K writes the\n" +
			"K best rows to top.jsonl, the best first, which dataflex-cli pick takes. With resume_from_checkpoint=DIR the weights and the\n" +
			"optimiser's moments are those of a checkpoint.",
		RunE: func(cmd *cobra.Command, args []string) error {
			merges := cmd.Flags().Changed("merge")
			switch {
			case merge.Top < 0:
				return fmt.Errorf("--top %d: a positive number of rows is expected", merge.Top)
			case !merges && (merge.Top > 0 || merge.PerDataset), merge.PerDataset && merge.Top == 0:
				return errors.New("--top goes with --merge, and --per-dataset with --top: dataflex-cli pick chooses rows of scores that are there")
			case merges && cmd.Flags().Changed("shard"):
				return errors.New("--shard scores a share and --merge puts all of them together: leave one of the two out")
			case merges && merge.Shares < 1:
				return fmt.Errorf("--merge %d: the number of shares is expected, as in --merge 8", merge.Shares)
			case merges:
				return train.MergeScores(out, merge)
			}
			if len(args) == 0 {
				return fmt.Errorf("no configuration: dataflex-cli score CONFIG [key=value ...]")
			}
			s, err := parseShard(shard, os.Getenv)
			if err != nil {
				return err
			}
			if place, err := launch.Find(os.Getenv); err == nil && place.Several() {
				return fmt.Errorf("%s started %d processes, which would all score the same rows: start them one by one with a share each, as in --shard 2/8, or as a Slurm array with --shard auto", place.Launcher, place.Size)
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
	c.Flags().StringVar(&shard, "shard", "1/1", "the share of the rows to score, as in 2/8; auto, auto/8: see above")
	c.Flags().IntVar(&merge.Shares, "merge", 0, "merge this many shares in --out")
	c.Flags().IntVar(&merge.Top, "top", 0, "with --merge: also write this many rows, the best ones, to top.jsonl")
	c.Flags().BoolVar(&merge.PerDataset, "per-dataset", false, "with --top: as many of each data set")
	return c
}

// parseShard reads "i/n", 1 <= i <= n, or auto and auto/n, by the variables of a scheduler.
func parseShard(s string, get func(string) string) (train.Shard, error) {
	a, b, ok := strings.Cut(s, "/")
	if a == "auto" {
		return autoShard(b, get)
	}
	i, err := strconv.Atoi(a)
	n, err2 := strconv.Atoi(b)
	if !ok || err != nil || err2 != nil || i < 1 || i > n {
		return train.Shard{}, fmt.Errorf("--shard %s: want SHARE/NUMBER, as in 2/8", s)
	}
	return train.Shard{Index: i, Count: n}, nil
}

// autoShard is the share of a task of a Slurm array, or of a pod of an indexed Kubernetes
// Job, of which nothing but count says how many there are.
func autoShard(count string, get func(string) string) (s train.Shard, err error) {
	number := func(name string, otherwise int) int {
		text := get(name)
		if text == "" {
			return otherwise
		}
		n, e := strconv.Atoi(text)
		if e != nil {
			err = fmt.Errorf("--shard auto: %s=%q is not a number", name, text)
		}
		return n
	}
	switch {
	case get("SLURM_ARRAY_TASK_ID") != "":
		s.Count, s.Index = number("SLURM_ARRAY_TASK_COUNT", 0), number("SLURM_ARRAY_TASK_ID", 0)
		switch first := number("SLURM_ARRAY_TASK_MIN", 1); {
		case first == 0:
			s.Index++
		case err == nil && count == "" && (first > 1 || number("SLURM_ARRAY_TASK_MAX", s.Count) != s.Count):
			err = errors.New("--shard auto: the Slurm array does not begin at 0 or 1, or leaves numbers out: --shard auto/n, for n shares that are numbered from 1")
		}
	case get("JOB_COMPLETION_INDEX") != "":
		s.Count, s.Index = number("JOB_COMPLETIONS", 0), number("JOB_COMPLETION_INDEX", 0)+1
	default:
		return s, errors.New("--shard auto: this is no task of a Slurm array (SLURM_ARRAY_TASK_ID) and no pod of an indexed Job (JOB_COMPLETION_INDEX): give the share, as in --shard 2/8")
	}
	if count != "" {
		n, e := strconv.Atoi(count)
		if e != nil {
			return s, fmt.Errorf("--shard auto/%s: the number of shares is wanted, as in auto/8", count)
		}
		s.Count = n
	}
	switch {
	case err != nil:
		return s, err
	case s.Count == 0:
		return s, errors.New("--shard auto: nothing says how many shares there are: --shard auto/8 does")
	case s.Index < 1 || s.Index > s.Count:
		return s, fmt.Errorf("--shard auto: this is share %d of %d: the array or the Job has another number of tasks than there are shares, or leaves some out", s.Index, s.Count)
	}
	return s, nil
}
