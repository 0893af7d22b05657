package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"dataflex.dev/dataflex/algo/config"
	_ "dataflex.dev/dataflex/algo/mixer"    // the methods of dynamic_mix
	_ "dataflex.dev/dataflex/algo/selector" // of dynamic_select
	"dataflex.dev/dataflex/algo/train"
	_ "dataflex.dev/dataflex/algo/weighter" // of dynamic_weight
	"dataflex.dev/dataflex/data/task"
	"dataflex.dev/dataflex/driver/launch"
	"dataflex.dev/dataflex/model/checkpoint"
)

// Train runs a training command to its end, as one of several ranks, or by starting these.
// SIGUSR1 saves a checkpoint without stopping.
func Train(ctx context.Context, file string, overrides []string, o train.Options, stderr io.Writer) error {
	place, err := launch.Find(os.Getenv)
	if err != nil {
		return err
	}
	o.Place, o.Log = place, Logger(stderr)
	c, err := config.Load(file, overrides)
	if err != nil {
		return sayOnce(o.Place, err)
	}
	spawn, err := together(&o, c)
	if err != nil {
		return sayOnce(o.Place, err)
	}
	if spawn.Ranks > 0 {
		return start(ctx, spawn)
	}
	if s := screenOf(stderr); s != nil && o.Progress == nil && o.Place.Rank == 0 {
		o.Progress = &bar{screen: s}
	}
	if o.Out != nil {
		o.Out = Clean(o.Out)
	}
	if o.Place.Rank > 0 {
		o.Log = slog.New(slog.DiscardHandler)
	}
	defer context.AfterFunc(ctx, func() { o.Log.Warn("asked to stop", "by", context.Cause(ctx)) })()
	requests, stop := saveRequests()
	defer stop()
	o.SaveNow = requests
	err = rankError(o.Place, task.Catch(func() error { return train.Run(ctx, c, o) }))
	fault, rescued := (*task.Panic)(nil), (*train.Rescued)(nil)
	if errors.As(err, &fault) && !errors.As(err, &rescued) {
		return fmt.Errorf("%w; %s", err, newest(c.Training.OutputDir))
	}
	if err == nil && !o.DryRun && o.Place.Rank == 0 {
		summary(o.Log, c)
	}
	return err
}

// newest describes from what a failed run can be resumed.
func newest(dir string) string {
	path, _, _, err := checkpoint.Newest(dir)
	if err != nil || path == "" {
		return "no checkpoint was saved"
	}
	return "the newest good checkpoint is " + path + ", the same command resumes from it"
}
