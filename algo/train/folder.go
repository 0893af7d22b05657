package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/model/checkpoint"
)

// runFile is dataflex_run.json in output_dir: which run the folder is of.
type runFile struct {
	Version  int      `json:"version"`
	Identity identity `json:"identity"`
	Finished bool     `json:"finished"`           // everything that a run leaves is there
	Step     int      `json:"step"`               // it was finished after
	Replaces string   `json:"replaces,omitempty"` // a finished run that was set aside, as seen from output_dir: removed once there is a checkpoint
}

const runFileVersion = 1

// lockName is the file in output_dir that one process holds.
const lockName = ".lock"

// takeFolder makes output_dir and takes it for this process; another process that writes
// there is named.
func takeFolder(c *config.Config, o Options) (*storage.Lock, error) {
	out := c.Training.OutputDir
	if err := storage.MkdirAll(out); err != nil {
		return nil, c.Errorf("output_dir", "%w", err)
	}
	lock, err := storage.TakeLock(filepath.Join(out, lockName))
	var held *storage.Held
	switch {
	case errors.As(err, &held):
		return nil, c.Errorf("output_dir", "another run writes into %s: %w: wait for its end, or name another output_dir", out, held)
	case err != nil:
		return nil, c.Errorf("output_dir", "it cannot be written: %w", err)
	}
	notes, err := storage.CleanStale(out)
	if err != nil {
		return nil, errors.Join(c.Errorf("output_dir", "%w", err), lock.Release())
	}
	for _, n := range notes {
		o.Log.Info(n)
	}
	return lock, nil
}

// contents is what output_dir holds of earlier runs.
type contents struct {
	file       *runFile // nil: none
	checkpoint string   // the newest complete one, "" for none
	saved      saved    // its state
	weights    bool     // of a finished model
	any        bool     // there is something of a run
}

func (t *session) contents() (*contents, error) {
	out := t.Config.Training.OutputDir
	f := &contents{}
	raw, err := storage.ReadFile(filepath.Join(out, storage.RunFile))
	if err == nil {
		f.file = &runFile{}
		if err := json.Unmarshal(raw, f.file); err != nil || f.file.Version != runFileVersion {
			f.file = nil // damaged, or of a later program: it does not say which run it is
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var skipped []string
	if f.checkpoint, _, skipped, err = checkpoint.Newest(out); err != nil {
		return nil, err
	}
	for _, s := range skipped {
		t.log.Warn(s)
	}
	if f.checkpoint != "" {
		if f.saved, err = readSaved(f.checkpoint); err != nil {
			return nil, err
		}
	}
	f.weights = holds(out, storage.AdapterFile, storage.ModelFile, storage.ModelIndexFile)
	f.any = f.file != nil || f.checkpoint != "" || f.weights || len(skipped) > 0 || holds(out, storage.RunFile, report.LogName)
	return f, nil
}

// holds says whether a folder has one of the files.
func holds(dir string, names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return storage.Exists(filepath.Join(dir, n)) })
}

// identity is the run's that the folder is of; nil where that is not known.
func (f *contents) identity() *identity {
	switch {
	case f.checkpoint != "":
		return f.saved.Identity
	case f.file != nil:
		return &f.file.Identity
	}
	return nil
}

// errFinished says that there is nothing left to do.
var errFinished = errors.New("the run is finished")

// place settles what becomes of what is in output_dir, and which checkpoint the run goes
// on from; "" starts at step 0. A run that is there is this one, unfinished, and is gone
// on with; or it is finished; or it is another one and is set aside. Runs are never mixed.
func (t *session) place(restart bool) (resume string, err error) {
	c, r := t.Config, t.Config.Training.ResumeFromCheckpoint
	me, err := t.identify()
	if err != nil {
		return "", err
	}
	there, err := t.contents()
	if err != nil {
		return "", c.Errorf("output_dir", "%w", err)
	}
	t.record = runFile{Version: runFileVersion, Identity: *me}
	switch {
	case r.Path != "":
		return r.Path, t.resumeFromPath(r.Path, there)
	case !there.any:
		if r.Latest {
			t.log.Warn("resume_from_checkpoint: there is no complete checkpoint: training starts at step 0", "output_dir", c.Training.OutputDir)
		}
		return "", nil
	case restart || r.Given && !r.Latest:
		return "", t.setAside("training begins anew")
	}
	return t.goOn(there, me)
}

// goOn is place for a folder that holds a run.
func (t *session) goOn(there *contents, me *identity) (resume string, err error) {
	c, latest := t.Config, t.Config.Training.ResumeFromCheckpoint.Latest
	overwrite := c.Training.OverwriteOutputDir
	is := there.identity()
	switch {
	case is == nil && there.checkpoint != "" && overwrite && !latest:
		return "", t.setAside("an earlier version of this program left checkpoints that do not say which run they are of, and overwrite_output_dir is true")
	case is == nil && there.checkpoint != "":
		return there.checkpoint, nil
	case is == nil && there.weights && !overwrite:
		return "", c.Errorf("output_dir", "%s already holds a trained model and no checkpoint to go on from: set overwrite_output_dir: true, which sets it aside, or name another output_dir", c.Training.OutputDir)
	case is == nil:
		return "", t.setAside("it does not say which run it is of")
	}
	if other := differing(is.Run, me.Run); len(other) > 0 {
		if latest {
			return "", c.Errorf("resume_from_checkpoint", "%s is of another run: %s", there.checkpoint, strings.Join(other, "; "))
		}
		return "", t.setAside("it is of another run: " + strings.Join(other, "; "))
	}
	changed := differing(is.Settings, me.Settings)
	if there.file != nil && there.file.Finished && !latest && (overwrite || there.file.Step >= t.Plan.Total || there.checkpoint == "" || t.saidStop(there)) {
		if !overwrite {
			t.log.Info("the run is finished: nothing is trained. overwrite_output_dir: true, or --restart, trains anew and sets it aside",
				"step", there.file.Step, "output_dir", c.Training.OutputDir, "changed", strings.Join(changed, "; "))
			return "", errFinished
		}
		return "", t.replace()
	}
	if there.file != nil {
		t.record.Replaces = there.file.Replaces
	}
	if overwrite && there.checkpoint != "" {
		t.log.Info("overwrite_output_dir is true, and the folder holds this very run, unfinished: it goes on; --restart begins anew", "checkpoint", there.checkpoint)
	}
	return there.checkpoint, nil
}

// saidStop says whether early stopping ended the run whose checkpoint it is.
func (t *session) saidStop(there *contents) bool {
	p := t.Config.Tuning.EarlyStoppingSteps
	return p != nil && there.saved.Best.Waiting >= *p
}

// resumeFromPath prepares output_dir for a run that goes on from a checkpoint that was
// named: checkpoints of later steps are of another course and set aside.
func (t *session) resumeFromPath(path string, there *contents) error {
	out := t.Config.Training.OutputDir
	inside := within(out, path)
	if err := storage.Verify(path); err != nil {
		return fmt.Errorf("resume from %s: %w", path, err)
	}
	s, err := readSaved(path)
	if err != nil {
		return err
	}
	switch {
	case !there.any:
		return nil
	case !inside:
		if err := t.compatible(path, s); err != nil {
			return err
		}
		return t.setAside("the run goes on from " + path)
	}
	if err := t.compatible(path, s); err != nil {
		return err
	}
	later, err := checkpoint.After(out, s.Step)
	if err != nil || len(later) == 0 {
		return err
	}
	return t.moveAside("they are later than "+path+", from which the run goes on", later...)
}

// within reports whether path lies in the folder dir.
func within(dir, path string) bool {
	real := func(p string) string {
		if abs, err := filepath.Abs(p); err == nil {
			p = abs
		}
		if linked, err := filepath.EvalSymlinks(p); err == nil {
			p = linked
		}
		return p
	}
	rel, err := filepath.Rel(real(dir), real(path))
	return err == nil && (rel == "." || filepath.IsLocal(rel))
}

// setAside moves all that is in output_dir away.
func (t *session) setAside(why string) error {
	c := t.Config
	for _, key := range []struct{ name, path string }{
		{"model_name_or_path", c.Model.NameOrPath},
		{"dataset_dir", c.Data.DatasetDir},
		{"tokenized_path", c.Data.TokenizedPath},
		{"components_cfg_file", c.Dynamic.ComponentsCfgFile},
		{"the configuration", c.File},
		{"resume_from_checkpoint", c.Training.ResumeFromCheckpoint.Path},
	} {
		if key.path != "" && storage.Exists(key.path) && within(c.Training.OutputDir, key.path) {
			return c.Errorf("output_dir", "what is in %s would have to be set aside, and %s, which this run reads, lies there (%s): name another output_dir", c.Training.OutputDir, key.path, key.name)
		}
	}
	entries, err := storage.ReadDir(c.Training.OutputDir)
	if err != nil {
		return c.Errorf("output_dir", "%w", err)
	}
	var names []string
	for _, e := range entries {
		if e.Name() != storage.RunFile && e.Name() != lockName && !strings.HasPrefix(e.Name(), asideName) {
			names = append(names, e.Name())
		}
	}
	// Which run it is of goes last: what a kill leaves is still that run's.
	if holds(c.Training.OutputDir, storage.RunFile) {
		names = append(names, storage.RunFile)
	}
	return t.moveAside(why, names...)
}

// asideName is where runs are set aside within output_dir, with a number after it, if
// they cannot be beside it.
const asideName = "old-"

// moveAside moves entries of output_dir into a new folder output_dir.old-N; into a folder
// of its own where output_dir's neighbours are on another disk or cannot be written, as
// where a disk is mounted there.
func (t *session) moveAside(why string, names ...string) error {
	out := filepath.Clean(t.Config.Training.OutputDir)
	var faults []error
	for _, prefix := range []string{out + "." + asideName, filepath.Join(out, asideName)} {
		to := unused(prefix)
		if err := move(out, to, names); err != nil {
			faults = append(faults, err)
			continue
		}
		t.aside = to
		t.log.Warn("what was in output_dir is set aside: "+why, "now", to)
		return nil
	}
	return t.Config.Errorf("output_dir", "what is in %s cannot be set aside (%s): %w: name another output_dir", out, why, errors.Join(faults...))
}

// unused is the first name of that prefix and a number that is not taken.
func unused(prefix string) string {
	for n := 1; ; n++ {
		if path := fmt.Sprint(prefix, n); !storage.Exists(path) {
			return path
		}
	}
}

func move(from, to string, names []string) error {
	if err := storage.MkdirAll(to); err != nil {
		return err
	}
	for i, n := range names {
		if err := storage.Rename(filepath.Join(from, n), filepath.Join(to, n)); err != nil {
			if i == 0 {
				err = errors.Join(err, storage.Remove(to))
			}
			return err
		}
	}
	return errors.Join(storage.SyncDir(from), storage.SyncDir(to))
}

// replace sets a finished run aside until this one has saved its first checkpoint.
func (t *session) replace() error {
	if err := t.setAside("it is this run, finished; overwrite_output_dir is true, and it is removed once there is a new checkpoint"); err != nil {
		return err
	}
	var err error
	t.record.Replaces, err = filepath.Rel(t.Config.Training.OutputDir, t.aside)
	return err
}

// writeRecord says in output_dir which run it is of.
func (t *session) writeRecord() error {
	raw, err := json.MarshalIndent(t.record, "", "  ")
	if err != nil {
		return err
	}
	return storage.WriteFile(filepath.Join(t.Config.Training.OutputDir, storage.RunFile), append(raw, '\n'))
}

// replaced removes the finished run that this one takes the place of.
func (t *session) replaced() error {
	if t.record.Replaces == "" {
		return nil
	}
	out := filepath.Clean(t.Config.Training.OutputDir)
	old := filepath.Join(out, t.record.Replaces)
	if !strings.HasPrefix(old, out+"."+asideName) && !strings.HasPrefix(old, filepath.Join(out, asideName)) {
		return fmt.Errorf("%s names %q, which no run was set aside as", storage.RunFile, t.record.Replaces)
	}
	if err := storage.RemoveAll(old); err != nil {
		t.log.Warn("the finished run that was set aside is still there", "path", old, "error", err)
	} else {
		t.log.Info("the finished run that was set aside is removed", "path", old)
	}
	t.record.Replaces = ""
	return t.writeRecord()
}
