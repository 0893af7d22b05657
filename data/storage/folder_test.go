package storage

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

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

// save writes a folder whose contents depend on step and generation.
func save(t *testing.T, parent string, step int, generation string) string {
	t.Helper()
	d := begin(t, parent, step, generation)
	ok(t, d.Commit())
	return filepath.Join(parent, StepName(step))
}

func begin(t *testing.T, parent string, step int, generation string) *Folder {
	t.Helper()
	d, err := Begin(parent, StepName(step))
	ok(t, err)
	fill(t, d, step, generation)
	return d
}

func fill(t *testing.T, d *Folder, step int, generation string) {
	t.Helper()
	for _, f := range []string{ModelFile, "state/optimizer"} {
		path := filepath.Join(d.Path(), f)
		ok(t, MkdirAll(filepath.Dir(path)))
		ok(t, WriteFile(path, bytes.Repeat([]byte(fmt.Sprint(generation, step, f)), 1000)))
	}
}

// generationOf verifies a folder and returns the save it is from.
func generationOf(t *testing.T, parent string, step int) string {
	t.Helper()
	dir := filepath.Join(parent, StepName(step))
	if err := Verify(dir); err != nil {
		t.Fatalf("not complete: %v", err)
	}
	b, err := os.ReadFile(filepath.Join(dir, ModelFile))
	ok(t, err)
	return strings.TrimRight(string(b[:1]), "0123456789")
}

// dotNames lists the unfinished files and folders in dir.
func dotNames(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, ".*"))
	ok(t, err)
	return names
}

// afterCrash is the next start of a run.
func afterCrash(t *testing.T, parent string, step int, generation string) {
	t.Helper()
	_, err := CleanStale(parent)
	ok(t, err)
	if g := generationOf(t, parent, step); g != generation {
		t.Errorf("checkpoint-%d is of save %q, want %q", step, g, generation)
	}
	if left := dotNames(t, parent); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// withoutExchange is a file system that cannot swap two folders.
type withoutExchange struct{ FS }

func (withoutExchange) Exchange(_, _ string) error { return errors.ErrUnsupported }

func TestReplaceWithoutExchange(t *testing.T) {
	parent := t.TempDir()
	t.Cleanup(Mount(parent, withoutExchange{OS}))
	save(t, parent, 5, "a")
	save(t, parent, 5, "b")
	afterCrash(t, parent, 5, "b")
}

// meddling does something once, just before the n-th rename.
type meddling struct {
	FS
	n  int
	do func()
}

func (m *meddling) Exchange(_, _ string) error { return errors.ErrUnsupported }

func (m *meddling) Rename(from, to string) error {
	if m.n--; m.n == 0 {
		m.do()
	}
	return m.FS.Rename(from, to)
}

// Two runs that publish one folder at the same moment, and one that cleans up while another
// replaces a folder, do not fail: the last to publish wins, with a complete folder.
func TestPublishBesideOthers(t *testing.T) {
	for name, c := range map[string]struct {
		before bool // a folder of that name already exists
		rename int  // number of the publishing program's rename before which the other acts
		other  func(t *testing.T, parent string)
	}{
		"another makes it":       {false, 1, func(t *testing.T, parent string) { save(t, parent, 5, "c") }},
		"another replaces it":    {true, 2, func(t *testing.T, parent string) { save(t, parent, 5, "c") }},
		"another brings it back": {true, 2, func(t *testing.T, parent string) { _, err := CleanStale(parent); ok(t, err) }},
		"another clears up":      {true, 3, func(t *testing.T, parent string) { _, err := CleanStale(parent); ok(t, err) }},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			if c.before {
				save(t, parent, 5, "a")
			}
			d := begin(t, parent, 5, "b")
			ok(t, d.seal())
			m := &meddling{OS, c.rename, func() { c.other(t, parent) }}
			unmount := Mount(parent, m)
			err := d.Publish()
			unmount()
			if err != nil || m.n > 0 {
				t.Fatalf("%v; %d renames were left", err, m.n)
			}
			afterCrash(t, parent, 5, "b")
		})
	}
}

// A kill after any step of saving leaves the earlier checkpoint, or the new one,
// complete; the next start cleans up. The steps are those of Commit.
func TestCrashPoints(t *testing.T) {
	points := []struct {
		name   string
		run    func(t *testing.T, d *Folder)
		newest int
		gen    string
	}{
		{"begun", func(*testing.T, *Folder) {}, 5, "a"},
		{"half written", func(t *testing.T, d *Folder) { fill(t, d, 6, "b") }, 5, "a"},
		{"half a manifest", func(t *testing.T, d *Folder) {
			fill(t, d, 6, "b")
			write(t, filepath.Join(d.Path(), ".tmp-manifest.json-1"), []byte(`{"version":1,"fi`))
		}, 5, "a"},
		{"sealed", func(t *testing.T, d *Folder) { fill(t, d, 6, "b"); ok(t, d.seal()) }, 5, "a"},
		{"published", func(t *testing.T, d *Folder) { fill(t, d, 6, "b"); ok(t, d.seal()); ok(t, d.publish()) }, 6, "b"},
	}
	for _, p := range points {
		t.Run(p.name, func(t *testing.T) {
			parent := t.TempDir()
			save(t, parent, 5, "a")
			d, err := Begin(parent, StepName(6))
			ok(t, err)
			p.run(t, d)
			ok(t, d.unlock()) // what the kernel does when the process dies
			afterCrash(t, parent, p.newest, p.gen)
		})
	}
}

// The same where a folder of that name already exists, with and without an atomic exchange.
func TestCrashWhileReplacing(t *testing.T) {
	for _, p := range []struct {
		name string
		run  func(t *testing.T, d *Folder)
		gen  string
	}{
		{"sealed", func(*testing.T, *Folder) {}, "a"},
		{"exchanged", func(t *testing.T, d *Folder) {
			if err := OS.Exchange(d.Path(), d.Final()); err != nil {
				t.Skip(err)
			}
		}, "b"},
		{"old moved away", func(t *testing.T, d *Folder) {
			ok(t, os.Rename(d.Final(), strings.Replace(d.temp, tempPrefix, wasPrefix, 1)))
		}, "a"},
		{"published", func(t *testing.T, d *Folder) { ok(t, d.publish()) }, "b"},
	} {
		t.Run(p.name, func(t *testing.T) {
			parent := t.TempDir()
			save(t, parent, 5, "a")
			d := begin(t, parent, 5, "b")
			ok(t, d.seal())
			p.run(t, d)
			ok(t, d.unlock())
			afterCrash(t, parent, 5, p.gen)
		})
	}
}

func TestCleanStaleLeavesTheLivingAndStrangers(t *testing.T) {
	parent := t.TempDir()
	d := begin(t, parent, 7, "a")
	write(t, filepath.Join(parent, ".tmp-trainer_state.json-123"), []byte("{"))
	write(t, filepath.Join(parent, ".tmp-notes"), []byte("the user's own"))
	notes, err := CleanStale(parent)
	ok(t, err)
	if len(notes) != 2 || !strings.Contains(notes[0], "alone") || !strings.Contains(notes[1], "removed") {
		t.Errorf("notes %q", notes)
	}
	left := dotNames(t, parent)
	if !slices.Equal(left, []string{d.Path(), filepath.Join(parent, ".tmp-notes")}) {
		t.Errorf("left %v", left)
	}
	ok(t, d.Commit())
	if n, err := CleanStale(filepath.Join(parent, "none")); n != nil || err != nil {
		t.Errorf("folder that is not there: %v, %v", n, err)
	}
}

func TestVerifyRefusesPathsOutside(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, ManifestFile), []byte(`{"version":1,"files":[{"path":"../../etc/passwd","size":1,"sha256":""}]}`))
	if err := Verify(dir); err == nil || !strings.Contains(err.Error(), "leaves the folder") {
		t.Errorf("got %v", err)
	}
	write(t, filepath.Join(dir, ManifestFile), []byte(`{"version":2}`))
	if err := Verify(dir); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("got %v", err)
	}
}

func TestBeginInUnwritableFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, nil)
	if _, err := Begin(filepath.Join(file, "out"), "checkpoint-1"); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v", err)
	}
}

func TestCommitAndReplace(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "out", "run")
	save(t, parent, 5, "a")
	if g := generationOf(t, parent, 5); g != "a" {
		t.Errorf("generation %q", g)
	}
	save(t, parent, 5, "b")
	if g := generationOf(t, parent, 5); g != "b" {
		t.Errorf("after replacing: generation %q", g)
	}
	if left := dotNames(t, parent); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	d := begin(t, parent, 6, "c")
	if !strings.HasPrefix(filepath.Base(d.Path()), ".tmp-checkpoint-6") {
		t.Errorf("unfinished folder is called %s", d.Path())
	}
	if err := d.Abort(); err != nil {
		t.Fatal(err)
	}
	if left := dotNames(t, parent); len(left) > 0 {
		t.Errorf("Abort left %v", left)
	}
}
