// Command proof shows that the methods work: on generated tasks with a known ground truth, over
// several seeds, through the trainer that users run, in mode faithful. Each method has the same
// settings for all seeds.
//
//	proof [--out saves/proof] [--seeds 3] [--first 1] [--only selection,mixture,…]
//	      [--pictures tools/proof] [--workspace WORKSPACE.md] [--again]
//
// It writes trials.json, the pictures and table.md to --out, and where --pictures and
// --workspace are given, to the repository. Every run's run.yaml and components.yaml are in
// --out, too. The exit status is 1 if a method that is claimed to win does not.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"dataflex.dev/dataflex/tools/command"
)

// options are the command line.
type options struct {
	out, model          string
	pictures, workspace string
	first, seeds        int
	workers             int
	only                []string
	again               bool
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == judgeArgument {
		command.Main(func(context.Context) error { return judge(os.Stdin, os.Stdout) })
	}
	var o options
	pflag.StringVar(&o.out, "out", "saves/proof", "where runs, pictures and the table are written")
	pflag.StringVar(&o.model, "model", "tools/dataflex-demo/model", "the tiny model that the runs start from")
	pflag.StringVar(&o.pictures, "pictures", "", "write the pictures here, too")
	pflag.StringVar(&o.workspace, "workspace", "", "write the table between the proof markers of this file, too")
	pflag.IntVar(&o.seeds, "seeds", 3, "how many seeds")
	pflag.IntVar(&o.first, "first", 1, "the first seed")
	pflag.IntVar(&o.workers, "workers", runtime.NumCPU(), "trials at a time, of one thread each")
	pflag.StringSliceVar(&o.only, "only", nil, "only these experiments: "+strings.Join(names(experiments), ", "))
	pflag.BoolVar(&o.again, "again", false, "run nothing: evaluate and draw the existing results in --out")
	pflag.Parse()
	command.Main(func(ctx context.Context) error { return prove(ctx, o) })
}

func names(all []experiment) (out []string) {
	for _, e := range all {
		out = append(out, e.name)
	}
	return out
}

func prove(ctx context.Context, o options) error {
	started := time.Now()
	chosen := experiments
	if o.only != nil {
		chosen = slices.DeleteFunc(slices.Clone(experiments), func(e experiment) bool { return !slices.Contains(o.only, e.name) })
	}
	if len(chosen) == 0 || o.seeds < 1 || o.workers < 1 {
		return fmt.Errorf("nothing to do: --only names experiments (%s), --seeds and --workers are at least 1", strings.Join(names(experiments), ", "))
	}
	for name, value := range map[string]string{"OMP_NUM_THREADS": "1", "DATAFLEX_CACHE": filepath.Join(o.out, "cache")} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	var m measured
	var err error
	if o.again {
		m, err = read(o.out)
	} else {
		if m.Trials, err = measure(ctx, o, chosen); err == nil {
			m.Facts = fmt.Sprintf("Seeds %d to %d; %v, %v of the processor's time, with %d workers of one thread, %s.",
				o.first, o.first+o.seeds-1, time.Since(started).Round(time.Second), command.ProcessorTime().Round(time.Second), o.workers, time.Now().Format(time.DateOnly))
			err = m.write(o.out)
		}
	}
	if err != nil {
		return err
	}
	verdicts, err := judgeAll(chosen, m.Trials)
	if err != nil {
		return err
	}
	table := tableOf(verdicts) + "\n" + m.Facts + "\n"
	fmt.Print("\n", table)
	if err := publish(o, chosen, m.Trials, table); err != nil {
		return err
	}
	var lost []string
	for _, v := range verdicts {
		if !v.open && !v.won {
			lost = append(lost, v.method+": "+v.what)
		}
	}
	if lost != nil {
		return errors.New("claimed to win, but did not:\n  " + strings.Join(lost, "\n  "))
	}
	return nil
}

// measure runs every trial, o.workers at a time. The first error stops the others.
func measure(ctx context.Context, o options, chosen []experiment) (map[string][]*trial, error) {
	out := map[string][]*trial{}
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(o.workers)
	for _, e := range chosen {
		for seed := o.first; seed < o.first+o.seeds; seed++ {
			t := newTrial()
			out[e.name] = append(out[e.name], t)
			work.Go(func() error { return o.attempt(ctx, e, seed, t) })
		}
	}
	return out, work.Wait()
}

// attempt is one trial, in its own folder.
func (o options) attempt(ctx context.Context, e experiment, seed int, t *trial) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	dir, err := filepath.Abs(filepath.Join(o.out, e.name, fmt.Sprintf("seed-%d", seed)))
	if err != nil {
		return err
	}
	model, err := filepath.Abs(o.model)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	started := time.Now()
	err = e.run(ctx, &lab{dir: dir, model: model, seed: seed, log: slog.New(slog.DiscardHandler)}, t)
	if err != nil {
		return fmt.Errorf("experiment %s, seed %d: %w", e.name, seed, err)
	}
	fmt.Printf("%-12s seed %d  %s\n", e.name, seed, time.Since(started).Round(time.Second/10))
	return nil
}

func judgeAll(chosen []experiment, trials map[string][]*trial) ([]verdict, error) {
	var out []verdict
	for _, e := range chosen {
		for _, c := range e.claims {
			v, err := c.judged(trials[e.name])
			if err != nil {
				return nil, fmt.Errorf("experiment %s: %w", e.name, err)
			}
			out = append(out, v)
		}
	}
	return out, nil
}
