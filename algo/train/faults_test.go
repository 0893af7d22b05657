package train_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/storage/memfs"
	"dataflex.dev/dataflex/data/task"
	"dataflex.dev/dataflex/model/checkpoint"
)

// faultsPerMethod is the number of operations that are tried for each method's run and kind
// of fault; $DATAFLEX_FAULTS sets it, all tries every one (make faults).
const faultsPerMethod = 2

func faultCount(t *testing.T) int {
	t.Helper()
	switch v := os.Getenv("DATAFLEX_FAULTS"); v {
	case "":
		return faultsPerMethod
	case "all":
		return 1 << 30
	default:
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
}

// outcome is the result of a run on the file system.
type outcome struct {
	err error
	log string
}

// train runs on whatever is mounted. A panic becomes an error, as in the programs.
func (f *fixture) train(args ...string) (o outcome) {
	f.t.Helper()
	c, err := config.Load(filepath.Join(f.dir, "run.yaml"), args)
	if err != nil {
		f.t.Fatal(err)
	}
	var log bytes.Buffer
	o.err = task.Catch(func() error {
		return train.Run(context.Background(), c, train.Options{Out: &log, Log: slog.New(slog.NewTextHandler(&log, nil))})
	})
	o.log = log.String()
	return o
}

// lines returns the lines of a file without what differs from run to run.
func lines(t *testing.T, path string) string {
	t.Helper()
	raw, err := storage.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return timings.ReplaceAllString(string(raw), "")
}

// TestFaults runs every method on a file system that refuses a change, is full from one on,
// loses its power there with everything that was not synced, or cannot read. The same
// command, whose reads return few bytes at a time, then ends with the weights, the
// optimizer's moments and the selections of a run without faults, bit for bit. A line of a
// log that was refused is lost, and the error names the file. The operations are chosen at
// random with a seed; make faults tries all of them.
func TestFaults(t *testing.T) {
	t.Parallel()
	f := small(t)
	f.offline(48)
	kinds := map[memfs.Kind]string{memfs.Refuse: "refused", memfs.Full: "full", memfs.PowerCut: "power cut", memfs.ReadFail: "unreadable"}
	for i, m := range methods(t) {
		if m.mode == "upstream" {
			continue // writes the same as faithful
		}
		t.Run(m.String(), func(t *testing.T) {
			f.t = t
			root := fmt.Sprintf("/dataflex-memfs-%d", i)
			out := filepath.Join(root, "runs", "out")
			args := m.arguments(f, "save_steps=2", "save_total_limit=1", "max_steps=4", "warmup_step=1", "update_step=2", "output_dir="+out)
			components, err := os.ReadFile(filepath.Join(f.dir, "components.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			f.write("components.yaml", strings.ReplaceAll(string(components), f.dir+"/cache", root+"/cache"))

			disk := memfs.New(root)
			unmount := storage.Mount(root, disk)
			whole := f.train(args...)
			if whole.err != nil {
				t.Fatal(whole.err)
			}
			want, wantModel := result(t, out, true), result(t, out, false)
			changes, reads := disk.Changes(), disk.Reads()
			history := disk.Log()
			unmount()
			if _, err := os.Stat(root); err == nil {
				t.Fatalf("something was written past data/storage, into %s", root)
			}
			r := rand.New(rand.NewPCG(38, uint64(i)))
			for kind, name := range kinds {
				total := changes
				if kind == memfs.ReadFail {
					total = reads
				}
				for _, n := range sample(r, total, faultCount(t)) {
					disk := memfs.New(root)
					disk.Plan(memfs.Fault{Kind: kind, N: n})
					unmount := storage.Mount(root, disk)
					first := f.train(args...)
					unmount()
					at := fmt.Sprintf("%s at %d of %d", name, n, total)
					if kind != memfs.ReadFail {
						at += " (" + history[n-1] + ")"
					}
					if kind == memfs.PowerCut {
						disk = disk.Restart()
					}
					disk.Plan(memfs.Fault{})
					disk.ShortReads(true)
					unmount = storage.Mount(root, disk)
					second := f.train(args...)
					if second.err != nil {
						t.Errorf("%s: first %v, then %v", at, first.err, second.err)
					} else if first.err != nil && strings.Contains(first.err.Error(), ".jsonl: ") {
						if got := result(t, out, false); got != wantModel {
							t.Errorf("%s: first %v\n%s", at, first.err, difference(wantModel, got))
						}
					} else if got := result(t, out, true); got != want {
						t.Errorf("%s: first %v\n%s", at, first.err, difference(want, got))
					}
					unmount()
				}
			}
		})
	}
}

// result is what must not depend on faults: weights, the last checkpoint and, with logs,
// selections and the log.
func result(t *testing.T, out string, logs bool) string {
	t.Helper()
	var b strings.Builder
	last, _, _, err := checkpoint.Newest(out)
	if err != nil {
		t.Fatal(err)
	}
	last, err = filepath.Rel(out, last)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"adapter_model.safetensors", last + "/adapter_model.safetensors", last + "/optimizer.safetensors"} {
		sum, _, err := storage.SHA256(filepath.Join(out, name))
		fmt.Fprintf(&b, "%s %s %v\n", name, sum, err)
	}
	if !logs {
		return b.String()
	}
	for _, name := range []string{"selected_rows.jsonl", "trainer_log.jsonl"} {
		fmt.Fprintf(&b, "%s\n%s", name, lines(t, filepath.Join(out, name)))
	}
	return b.String()
}

// difference is the first line that differs.
func difference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d\ngot  %s\nwant %s", i, b[i], a[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(b), len(a))
}

// sample draws n distinct numbers from 1 to total, in order.
func sample(r *rand.Rand, total, n int) []int {
	all := r.Perm(total)[:min(n, total)]
	for i := range all {
		all[i]++
	}
	slices.Sort(all)
	return all
}
