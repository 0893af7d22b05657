package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/algo/train/identity"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/driver"
)

// Alike is an error that occurs on all ranks of a machine, before they are connected: of the
// configuration, or of the data.
type Alike struct{ error }

// Unwrap is the error.
func (a *Alike) Unwrap() error { return a.error }

// processes is the number of processes that train together.
func (o Options) processes() int { return max(1, o.Place.Size) }

// join connects this process with the others, if there are any.
func (o Options) join(ctx context.Context, c *config.Config, dev driver.Device) (context.Context, *ranks.Job, error) {
	if o.processes() == 1 {
		return ctx, nil, nil
	}
	timeout := time.Duration(c.Training.DDPTimeout) * time.Second
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	connection, err := o.Join(limited, dev)
	if err != nil {
		return ctx, nil, fmt.Errorf("rank %d of %d cannot join the others: %w", o.Place.Rank, o.Place.Size, err)
	}
	ctx, job := ranks.New(ctx, connection, timeout)
	return ctx, job, nil
}

// alone is join for a single process.
func alone() (*ranks.Job, error) { return nil, nil }

// settleRanks determines the number of logical ranks of the run: that of the configuration,
// or that of the run in output_dir that this one seems to continue, or the number of
// processes. Each process computes equally many of them.
func settleRanks(c *config.Config, o Options) error {
	t, n := &c.Training, o.processes()
	from := ""
	if !c.Given("ranks") {
		if t.Ranks, from = begunWith(c, o.Restart); t.Ranks == 0 {
			t.Ranks = n
		} else if t.Ranks != n {
			o.Log.Info("ranks", "ranks", t.Ranks, "processes", n, "as", from)
		}
	}
	switch {
	case t.Ranks%n != 0:
		if from != "" {
			from = ", as " + from + " has,"
		}
		return c.Errorf("ranks", "%d logical ranks%s cannot be shared by %d processes alike: start %s, or set ranks to a multiple of %d for another run", t.Ranks, from, n, divisors(t.Ranks), n)
	case t.Ranks > 1 && t.GroupByLength:
		return c.Errorf("group_by_length", "it deals rows out otherwise among several processes: remove it, or start one")
	}
	return nil
}

// divisors lists the numbers that divide n: "1, 2 or 4".
func divisors(n int) string {
	var list []string
	for d := 1; d < n; d++ {
		if n%d == 0 {
			list = append(list, fmt.Sprint(d))
		}
	}
	if len(list) == 0 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s or %d", strings.Join(list, ", "), n)
}

// begunWith is the number of logical ranks of the run in output_dir, or of the run whose
// checkpoint is resumed, and the place where it is recorded; 0 if there is none, or if it
// has other settings. Whether the content is the same is not known yet.
func begunWith(c *config.Config, restart bool) (n int, from string) {
	dir, r := c.Training.OutputDir, c.Training.ResumeFromCheckpoint
	switch {
	case r.Path != "":
		dir = filepath.Dir(r.Path)
	case restart || r.Given && !r.Latest:
		return 0, ""
	}
	var file runFile
	path := filepath.Join(dir, storage.RunFile)
	raw, err := storage.ReadFile(path)
	if err != nil || json.Unmarshal(raw, &file) != nil {
		return 0, ""
	}
	hashed := []string{"ranks", "model_name_or_path", "adapter_name_or_path", "dataset", "eval_dataset", "component_name"}
	mine := map[string]string{}
	for _, s := range c.Settings() {
		mine[s.Key] = s.Value
	}
	for _, s := range file.Identity.Run {
		value, known := mine[s.Key]
		switch {
		case s.Key == "ranks":
			if _, err := fmt.Sscan(s.Value, &n); err != nil {
				return 0, ""
			}
		case known && value != s.Value && !slices.Contains(hashed, s.Key):
			return 0, ""
		}
	}
	return n, path
}

// description describes a rank by everything that must be the same on all.
type description struct {
	Host     string
	Program  string // hash of its file
	Identity *identity.Identity
}

// sameRun compares what the ranks are about to train, before their first step: rows,
// weights, settings, programs and instruction sets, by content. err is this rank's error.
func (t *session) sameRun(ctx context.Context, me *identity.Identity, err error) error {
	if t.ranks == nil {
		return err
	}
	own := description{Identity: me}
	own.Host, _ = os.Hostname() // "" is reported as it is
	if err == nil {
		own.Program, err = programSum()
	}
	all, err := ranks.Share(ctx, t.ranks, "what is trained", own, err)
	if err != nil {
		return err
	}
	for rank, d := range all {
		if other := all[0].differences(d, rank); len(other) > 0 {
			return t.ranks.All(fmt.Errorf("rank %d on %s does not run the same as rank 0 on %s: %s: give all of them the same program, configuration and data", rank, d.Host, all[0].Host, strings.Join(other, "; ")))
		}
	}
	return nil
}

// differences lists in what another rank differs from d, rank 0's.
func (d description) differences(other description, rank int) (out []string) {
	say := func(key, a, b string) {
		if a != b {
			out = append(out, fmt.Sprintf("%s is %s on rank 0 and %s on rank %d", key, identity.Short(a), identity.Short(b), rank))
		}
	}
	say("the program", d.Program, other.Program)
	say("the instruction set", d.Identity.Machine, other.Identity.Machine)
	compare := func(mine, others []config.Setting) {
		theirs := map[string]string{}
		for _, s := range others {
			theirs[s.Key] = s.Value
		}
		for _, s := range mine {
			if s.Key != "ddp_timeout" {
				say(s.Key, s.Value, theirs[s.Key])
			}
		}
	}
	compare(d.Identity.Run, other.Identity.Run)
	compare(d.Identity.Settings, other.Identity.Settings)
	return out
}

// programSum is the SHA-256 of the running program's file.
func programSum() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", err
	}
	sum, _, err := storage.SHA256(path)
	return sum, err
}

// place distributes rank 0's decision where the run begins. All ranks must see the same
// folder, because it contains the checkpoint from which they resume.
func (t *session) place(ctx context.Context, me *identity.Identity, restart bool) (from string, err error) {
	type beginning struct {
		From     string
		Finished bool
	}
	b, err := ranks.Decided(ctx, t.ranks, "output_dir", func(context.Context) (b beginning, err error) {
		b.From, err = t.folder.place(me, t.loop.Plan, restart)
		if errors.Is(err, errFinished) {
			b.Finished, err = true, nil
		}
		return b, err
	})
	switch {
	case err != nil:
		return "", err
	case b.Finished:
		return "", errFinished
	}
	out := t.config.Training.OutputDir
	if !t.ranks.First() && !storage.Exists(filepath.Join(out, storage.LockFile)) {
		err = t.config.Errorf("output_dir", "%s is not the folder that rank 0 writes to: it must be one that all machines share", out)
	}
	return b.From, t.ranks.Agree(ctx, "output_dir, shared", err)
}

// told sends the error of a step to the other ranks, unless they know it.
func (t *session) told(ctx context.Context, err error) error {
	if err == nil || t.ranks == nil || ranks.Told(err) || errors.As(err, new(*ranks.Lost)) || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return err
	}
	return t.ranks.Agree(ctx, "an error", err)
}
