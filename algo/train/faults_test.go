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
	"regexp"
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

// faulty runs a method on a disk with faults.
type faulty struct {
	*fixture
	root, out       string
	args            []string
	want, wantModel string          // of a run without faults, with and without its logs
	seen            map[string]bool // disks from which the run was gone on with
	runs, same      int
}

// TestFaults runs every method on a file system that refuses a change, is full from one on,
// cannot read, or loses its power with everything that was not synced. The same command,
// whose reads return few bytes at a time, then ends with the weights, the optimizer's moments
// and the selections of a run without faults, bit for bit. A line of a log that was refused
// is lost, and the error names the file. The operations are chosen at random with a seed;
// make faults tries all of them, of many writes into one file in a row three.
func TestFaults(t *testing.T) {
	t.Parallel()
	f := small(t)
	f.offline(48)
	for i, m := range methods(t) {
		if m.mode == "upstream" {
			continue // writes the same as faithful
		}
		t.Run(m.String(), func(t *testing.T) {
			f.t = t
			root := fmt.Sprintf("/dataflex-memfs-%d", i)
			out := filepath.Join(root, "runs", "out")
			try := &faulty{fixture: f, root: root, out: out, seen: map[string]bool{}}
			try.args = m.arguments(f, "save_steps=2", "save_total_limit=1", "max_steps=4", "warmup_step=1", "update_step=2", "output_dir="+out)
			components, err := os.ReadFile(filepath.Join(f.dir, "components.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			f.write("components.yaml", strings.ReplaceAll(string(components), f.dir+"/cache", root+"/cache"))

			disk := memfs.New(root)
			disk.RecordCuts()
			unmount := storage.Mount(root, disk)
			whole := f.train(try.args...)
			if whole.err != nil {
				t.Fatal(whole.err)
			}
			try.want, try.wantModel = result(t, out, true), result(t, out, false)
			unmount()
			if _, err := os.Stat(root); err == nil {
				t.Fatalf("something was written past data/storage, into %s", root)
			}
			r := rand.New(rand.NewPCG(38, uint64(i)))
			cuts, history := disk.Cuts(), disk.Log()
			for _, n := range sample(r, len(cuts), faultCount(t)) {
				cut := cuts[n-1]
				at := fmt.Sprintf("power cut before %d of %d (%s), names durable at once: %v", cut.Before, len(history), history[cut.Before-1], cut.Names)
				try.goOn(at, cut.Disk, nil)
			}
			instants := apart(history)
			for _, i := range sample(r, len(instants), faultCount(t)) {
				n := instants[i-1]
				at := fmt.Sprintf("at %d of %d (%s)", n, len(history), history[n-1])
				try.fault("refused "+at, memfs.Fault{Kind: memfs.Refuse, N: n})
				if fills(history[n-1]) {
					try.fault("full from "+at, memfs.Fault{Kind: memfs.Full, N: n})
				}
			}
			for _, n := range sample(r, disk.Reads(), faultCount(t)) {
				try.fault(fmt.Sprintf("unreadable at %d of %d", n, disk.Reads()), memfs.Fault{Kind: memfs.ReadFail, N: n})
			}
			t.Logf("%d changes (%d apart), %d reads, %d power cuts: %d runs, %d disks were known", len(history), len(instants), disk.Reads(), len(cuts), try.runs, try.same)
		})
	}
}

// apart are the changes, counted from 1, of which each is tried: of writes into one file that
// follow one another the first, the last and one between.
func apart(history []string) (out []int) {
	for i := 0; i < len(history); {
		end := i + 1
		for end < len(history) && history[end] == history[i] {
			end++
		}
		out = append(out, i+1)
		if end-i > 2 {
			out = append(out, (i+end)/2+1)
		}
		if end-i > 1 {
			out = append(out, end)
		}
		i = end
	}
	return out
}

// fills reports whether a change needs room: a disk that is full from another one on is full
// from the next of these.
func fills(change string) bool {
	return strings.HasPrefix(change, "write ") || strings.HasPrefix(change, "create ") || strings.HasPrefix(change, "mkdir ")
}

// fault runs with a fault, and then again without.
func (f *faulty) fault(at string, fault memfs.Fault) {
	f.t.Helper()
	disk := memfs.New(f.root)
	disk.Plan(fault)
	unmount := storage.Mount(f.root, disk)
	f.runs++
	first := f.train(f.args...)
	unmount()
	disk.Plan(memfs.Fault{})
	f.goOn(at, disk, first.err)
}

// goOn runs on what a fault has left, and compares; first is the error of the run before.
func (f *faulty) goOn(at string, disk *memfs.FS, first error) {
	lostLine := first != nil && strings.Contains(first.Error(), ".jsonl: ")
	sum := fmt.Sprint(lostLine, disk.Sum(timeless))
	if f.seen[sum] {
		f.same++
		return
	}
	f.seen[sum] = true
	disk.ShortReads(true)
	defer storage.Mount(f.root, disk)()
	f.runs++
	second := f.train(f.args...)
	if second.err != nil {
		f.t.Errorf("%s: first %v, then %v", at, first, second.err)
		return
	}
	want := f.want
	if lostLine {
		want = f.wantModel
	}
	if got := result(f.t, f.out, !lostLine); got != want {
		f.t.Errorf("%s: first %v\n%s", at, first, difference(want, got))
	}
}

// moments are what differs from run to run besides timings.
var moments = regexp.MustCompile(`"(seconds|selecting|saving|training|evaluating|peak|started|sha256|size)": ?("[^"]*"|[-0-9.e+]+)`)

// timeless is a file without what differs from run to run: of the report, which a run that
// goes on writes again, only whether it is there.
func timeless(path string, data []byte) []byte {
	switch filepath.Ext(path) {
	case ".json", ".jsonl":
		return moments.ReplaceAll(timings.ReplaceAll(data, nil), nil)
	case ".html":
		return nil
	}
	return data
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
