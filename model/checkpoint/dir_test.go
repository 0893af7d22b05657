package checkpoint

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"dataflex.dev/dataflex/data/storage"
)

// save writes a checkpoint whose content depends on step and generation.
func save(t *testing.T, parent string, step int, generation string) string {
	t.Helper()
	d := begin(t, parent, step, generation)
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(parent, storage.StepName(step))
}

func begin(t *testing.T, parent string, step int, generation string) *storage.Folder {
	t.Helper()
	d, err := storage.Begin(parent, storage.StepName(step))
	if err != nil {
		t.Fatal(err)
	}
	fill(t, d, step, generation)
	return d
}

func fill(t *testing.T, d *storage.Folder, step int, generation string) {
	t.Helper()
	for _, f := range []string{"model.safetensors", "state/optimizer"} {
		path := filepath.Join(d.Path(), f)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := storage.WriteFile(path, bytes.Repeat([]byte(fmt.Sprint(generation, step, f)), 1000)); err != nil {
			t.Fatal(err)
		}
	}
}

// dotNames lists the unfinished folders in dir.
func dotNames(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	ok(t, os.WriteFile(path, data, 0o666))
}

const childEnv = "DATAFLEX_CHECKPOINT_CHILD"

// TestMain is also the process that TestKill9 kills.
func TestMain(m *testing.M) {
	parent := os.Getenv(childEnv)
	if parent == "" {
		os.Exit(m.Run())
	}
	for i := 0; ; i++ {
		d, err := storage.Begin(parent, storage.StepName(i%3))
		if err == nil {
			data := bytes.Repeat([]byte(strconv.Itoa(i)), 50000)
			err = WriteSafetensors(filepath.Join(d.Path(), storage.ModelFile), nil, []Tensor{{Name: "x", Shape: []int{100}, F32: make([]float32, 100)}})
			if err == nil {
				err = storage.WriteFile(filepath.Join(d.Path(), "state"), data)
			}
			if err == nil {
				err = d.Commit()
			}
		}
		if err == nil {
			_, err = Rotate(parent, 2, filepath.Join(parent, storage.StepName(i%3)))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(i)
	}
}

// A process that saves, replaces and rotates without pause is killed at arbitrary moments:
// every checkpoint-N that exists is complete.
func TestKill9(t *testing.T) {
	parent := t.TempDir()
	for round := range 12 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+parent)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		ok(t, cmd.Start())
		time.Sleep(time.Duration(60+17*round) * time.Millisecond)
		ok(t, cmd.Process.Kill())
		cmd.Wait()
		if stderr.Len() > 0 {
			t.Fatal(stderr.String())
		}
		all, err := list(parent)
		ok(t, err)
		for _, c := range all {
			if err := storage.Verify(c.path); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		_, err = storage.CleanStale(parent)
		ok(t, err)
		if left := dotNames(t, parent); len(left) > 0 {
			t.Fatalf("round %d left %v", round, left)
		}
	}
	if all, _ := list(parent); len(all) < 2 {
		t.Errorf("%d checkpoints after all rounds: the child hardly ran", len(all))
	}
}

func TestNewestSkipsTheDamaged(t *testing.T) {
	parent := t.TempDir()
	if p, _, _, err := Newest(filepath.Join(parent, "none")); err != nil || p != "" {
		t.Errorf("no output_dir: %q %v", p, err)
	}
	want := save(t, parent, 9, "a")
	flipped := filepath.Join(save(t, parent, 10, "a"), "model.safetensors")
	b, err := os.ReadFile(flipped)
	ok(t, err)
	b[500] ^= 1
	write(t, flipped, b)
	ok(t, os.Truncate(filepath.Join(save(t, parent, 11, "a"), "state", "optimizer"), 10))
	ok(t, os.Remove(filepath.Join(save(t, parent, 12, "a"), "state", "optimizer")))
	ok(t, os.Remove(filepath.Join(save(t, parent, 100, "a"), storage.ManifestFile)))
	ok(t, os.MkdirAll(filepath.Join(parent, "checkpoint-best"), 0o777))

	path, step, skipped, err := Newest(parent)
	ok(t, err)
	if path != want || step != 9 {
		t.Errorf("newest is %s, step %d", path, step)
	}
	for i, part := range []string{"step 100: ", "step 12: ", "10 bytes", "is damaged: SHA-256"} {
		if len(skipped) != 4 || !strings.Contains(skipped[i], part) {
			t.Errorf("note %d: %q lacks %q", i, skipped, part)
		}
	}
}

func TestRotate(t *testing.T) {
	parent := t.TempDir()
	start := time.Now().Add(-time.Hour)
	// The clock was set back between any two of them.
	for i, step := range []int{40, 30, 20, 10} {
		m := filepath.Join(save(t, parent, step, "a"), storage.ManifestFile)
		ok(t, os.Chtimes(m, time.Time{}, start.Add(time.Duration(i)*time.Minute)))
	}
	last, best := filepath.Join(parent, storage.StepName(40)), filepath.Join(parent, storage.StepName(20))
	for _, step := range []struct {
		limit int
		left  []int
	}{{0, []int{10, 20, 30, 40}}, {3, []int{20, 30, 40}}, {2, []int{20, 40}}, {1, []int{20, 40}}} {
		_, err := Rotate(parent, step.limit, last, best)
		ok(t, err)
		all, err := list(parent)
		ok(t, err)
		var left []int
		for _, c := range all {
			left = append(left, c.step)
		}
		slices.Sort(left)
		if !slices.Equal(left, step.left) {
			t.Errorf("limit %d leaves %v, want %v", step.limit, left, step.left)
		}
	}
	if left := dotNames(t, parent); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestRotateGoesOn: a checkpoint that cannot be removed is reported, and the others are
// removed.
func TestRotateGoesOn(t *testing.T) {
	parent := t.TempDir()
	for _, step := range []int{10, 20, 30} {
		save(t, parent, step, "a")
	}
	if os.Getuid() == 0 {
		t.Skip("root removes everything")
	}
	stuck := filepath.Join(parent, storage.StepName(10))
	ok(t, os.Chmod(stuck, 0o555))
	defer os.Chmod(stuck, 0o755)
	removed, err := Rotate(parent, 1, filepath.Join(parent, storage.StepName(30)))
	if err == nil || !strings.Contains(err.Error(), storage.StepName(10)) || !slices.Equal(removed, []string{filepath.Join(parent, storage.StepName(20))}) {
		t.Errorf("removed %v, error %v", removed, err)
	}
}
