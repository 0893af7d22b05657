package train_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dataflex.dev/dataflex/data/storage"
)

// fullAt is a disk on which appending to a file fails from its nth opening on.
type fullAt struct {
	storage.FS
	name string
	n    int
}

func (f *fullAt) OpenFile(name string, flag int, perm os.FileMode) (storage.File, error) {
	if filepath.Base(name) == f.name && flag&os.O_APPEND != 0 {
		if f.n--; f.n <= 0 {
			return nil, &os.PathError{Op: "open", Path: name, Err: syscall.ENOSPC}
		}
	}
	return f.FS.OpenFile(name, flag, perm)
}

// TestLogIsWholeWhereThePageFails: if the page's data cannot be written right after a step,
// the rescued run has that step in its log; and the resumed run has every step and every
// evaluation once.
func TestLogIsWholeWhereThePageFails(t *testing.T) {
	t.Parallel()
	args := []string{"do_eval=true", "eval_strategy=steps", "eval_steps=1", "max_steps=4"}
	clean, f := newFixture(t), newFixture(t)
	clean.must(args...)
	unmount := storage.Mount(f.dir, &fullAt{storage.OS, "report_data.jsonl", 3}) // opened for the run's facts, step 1, step 2
	err := f.run(args...)
	unmount()
	if err == nil || !strings.Contains(err.Error(), "step 2 is saved in "+filepath.Join(f.dir, "out", "checkpoint-2")) {
		t.Fatal(err)
	}
	f.must(args...)
	// The log's lines of steps and of evaluations, without times.
	lines := func(f *fixture) (all []string) {
		raw, err := os.ReadFile(filepath.Join(f.dir, "out", "trainer_log.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		for l := range strings.Lines(string(raw)) {
			before, _, _ := strings.Cut(l, `, "percentage"`)
			all = append(all, before)
		}
		return all
	}
	if got, want := fmt.Sprint(lines(f)), fmt.Sprint(lines(clean)); got != want {
		t.Errorf("the log is\n%s, of an undisturbed run\n%s", got, want)
	}
}
