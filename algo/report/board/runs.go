package board

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/algo/report/page"
	"dataflex.dev/dataflex/algo/report/record"
	"dataflex.dev/dataflex/data/storage"
)

// runs is what is known about the folder; it is refreshed when it is old.
type runs struct {
	seen    time.Time // when the folder was last walked
	took    time.Duration
	names   []string
	notes   []string // what was left out
	loaded  map[string]*loaded
	reading map[string]chan struct{} // of the runs being read: closed at the end

	progress map[string]reached
}

// Limits of the walk through the folder.
const (
	deepest     = 6 // folders below the board's
	mostFolders = 20000
	mostRuns    = 500
)

// share limits refreshing to 1/share of the time: a slow folder is refreshed less often.
const share = 10

// names are the runs of the folder: the output_dir of "a/b" is DIR/a/b, that of "." is DIR
// itself.
func (b *Board) names() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := &b.runs; time.Since(r.seen) >= max(b.options.Every, share*r.took) {
		started := time.Now()
		r.names, r.notes = walk(b.dir)
		r.seen, r.took = time.Now(), time.Since(started)
	}
	return b.runs.names
}

// walk finds the output folders of runs. Symbolic links are not followed, so that what it finds
// is inside the folder.
func walk(dir string) (names, notes []string) {
	folders := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if d != nil && d.IsDir() && path != dir {
				return fs.SkipDir // removed in the meantime, or not readable for us
			}
			return err
		}
		if !d.IsDir() {
			return nil
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		hidden := strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), storage.StepPrefix)
		if path != dir && hidden {
			return fs.SkipDir
		}
		if folders++; folders > mostFolders || len(names) == mostRuns {
			notes = append(notes, fmt.Sprintf("Not all of the folder is shown: it has more than %d folders, or more than %d runs.", mostFolders, mostRuns))
			return fs.SkipAll
		}
		if isRun(path) {
			names = append(names, name)
		}
		if strings.Count(name, "/")+1 >= deepest {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		notes = append(notes, err.Error())
	}
	return names, notes
}

// isRun reports whether a folder is a run's: whether it contains one of the files that only
// runs write.
func isRun(path string) bool {
	return slices.ContainsFunc([]string{report.LogName, record.Name, storage.RunFile}, func(name string) bool {
		info, err := os.Lstat(filepath.Join(path, name))
		return err == nil && info.Mode().IsRegular()
	})
}

// readFiles are the files from which a page is made.
var readFiles = []string{report.LogName, record.Name, report.PicksName, storage.TrainerStateFile, storage.RunFile, "eval_results.json", storage.LockFile}

// checkInside refuses a run whose files lead out of the folder.
func (b *Board) checkInside(name string) error {
	for _, file := range readFiles {
		path := filepath.Join(b.path(name), file)
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return err
		case info.Mode().IsRegular():
			continue
		case info.Mode()&fs.ModeSymlink == 0:
			return fmt.Errorf("%s is not a regular file", file)
		}
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			return err
		}
		if !inside(b.dir, real) {
			return fmt.Errorf("%s leads out of the board's folder, and is not read", file)
		}
	}
	return nil
}

// inside reports whether path is in dir, both without symbolic links.
func inside(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

func (b *Board) path(name string) string { return filepath.Join(b.dir, filepath.FromSlash(name)) }

// loaded is a run as the page shows it.
type loaded struct {
	state string // of its process
	stamp string // of its files
	run   *page.Run
	parts map[string]part
	at    time.Time
	took  time.Duration
}

// part is one field of page.Run as JSON. Its version increases when it changes.
type part struct {
	raw     string
	version int
}

// load returns a run as it was last read. If its files have changed since, it is read again,
// less often the longer it takes; waiting for that ends after patience, or with ctx, so that the
// page of a large run, and of those beside it, is there at once: its events bring the rest. nil:
// it has not been read yet.
func (b *Board) load(ctx context.Context, name string, patience time.Duration) *loaded {
	b.mu.Lock()
	r := b.reading(name)
	was := b.runs.loaded[name]
	b.mu.Unlock()
	if r == nil {
		return was
	}
	waited := time.NewTimer(patience)
	defer waited.Stop()
	select {
	case <-r:
	case <-waited.C:
		return was
	case <-ctx.Done():
		return was
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.runs.loaded[name]
}

// reading starts to read a run if that is due, and returns what is closed when it has been read;
// nil: what is loaded is still right. The caller holds mu.
func (b *Board) reading(name string) <-chan struct{} {
	if r := b.runs.reading[name]; r != nil {
		return r
	}
	if b.closing.Err() != nil {
		return nil
	}
	was := b.runs.loaded[name]
	life := b.life(name)
	same := was != nil && was.state == life.state
	if same && time.Since(was.at) < max(b.options.Every, share*was.took) {
		return nil
	}
	stamp := b.stamp(name)
	if same && was.stamp == stamp {
		was.at = time.Now()
		return nil
	}
	done := make(chan struct{})
	b.runs.reading[name] = done
	b.readers.Go(func() {
		b.slots <- struct{}{}
		started := time.Now()
		run := b.read(b.closing, name, life)
		<-b.slots
		var now *loaded
		if run != nil { // nil: the board is closing
			now = &loaded{state: life.state, stamp: stamp, run: run, took: time.Since(started), at: time.Now()}
			now.parts = versions(run, was)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if now != nil {
			b.runs.loaded[name] = now
		}
		delete(b.runs.reading, name)
		close(done)
	})
	return done
}

// unread is what a page shows of a run that has not been read yet.
func (b *Board) unread(name string) *page.Run {
	return &page.Run{Name: name, Dir: b.path(name), TrainType: "–", State: "its files are being read", Facts: [][2]string{}, Curves: []page.Curve{}}
}

// read reads a run; nil where ctx was cancelled.
func (b *Board) read(ctx context.Context, name string, life life) *page.Run {
	var run *page.Run
	err := b.caught("reading the run "+name, func() error {
		if err := b.checkInside(name); err != nil {
			return err
		}
		all, err := page.Load(ctx, []string{b.path(name)})
		if err == nil {
			run = all[0]
		}
		return err
	})
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil && life.starting:
		run = &page.Run{Dir: b.path(name), TrainType: "–", State: life.state}
	case err != nil:
		run = &page.Run{Dir: b.path(name), TrainType: "–", State: "it cannot be shown", Notes: []string{err.Error()}}
	default:
		life.on(run)
	}
	if run.Curves == nil {
		run.Facts, run.Curves = [][2]string{}, []page.Curve{}
	}
	run.Name = name
	return run
}

// versions are the fields of a run, with their versions.
func versions(run *page.Run, was *loaded) map[string]part {
	raw, err := json.Marshal(run)
	if err != nil {
		panic(err) // strings and finite numbers only
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		panic(err)
	}
	out := map[string]part{}
	for key, value := range fields {
		p := part{raw: string(value), version: 1}
		if was != nil {
			if old, ok := was.parts[key]; ok {
				p.version = old.version
				if old.raw != p.raw {
					p.version++
				}
			}
		}
		out[key] = p
	}
	return out
}

// stamp changes when a run's files do.
func (b *Board) stamp(name string) string {
	var s strings.Builder
	for _, file := range readFiles {
		if info, err := os.Lstat(filepath.Join(b.path(name), file)); err == nil {
			fmt.Fprintf(&s, "%d %d ", info.Size(), info.ModTime().UnixNano())
		}
		s.WriteByte('|')
	}
	return s.String()
}
