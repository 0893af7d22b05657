package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/algo/train/identity"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/model/checkpoint"
)

// runFile is dataflex_run.json in output_dir, which identifies the folder's run.
type runFile struct {
	Version  int               `json:"version"`
	Identity identity.Identity `json:"identity"`
	Finished bool              `json:"finished"`           // everything that a run leaves has been written
	Step     int               `json:"step"`               // after which it was finished
	From     string            `json:"from,omitempty"`     // hash of the manifest of the checkpoint that resume_from_checkpoint named
	Replaces string            `json:"replaces,omitempty"` // a finished run that was set aside, relative to output_dir: removed when there is a checkpoint
}

const runFileVersion = 1

// folder is output_dir: locked for this process, with the files of earlier runs and the
// record of the folder's run.
type folder struct {
	config *config.Config
	log    *slog.Logger
	lock   *storage.Lock
	record runFile
	aside  string // where the previous content of output_dir was moved
}

// takeFolder creates output_dir and locks it for this process; if another process writes
// there, the error names it.
func takeFolder(c *config.Config, log *slog.Logger) (*folder, error) {
	out := c.Training.OutputDir
	if err := folderFits(c, "output_dir", out); err != nil {
		return nil, err
	}
	if err := storage.MkdirAll(out); err != nil {
		return nil, c.Errorf("output_dir", "%w", err)
	}
	lock, err := storage.TakeLock(filepath.Join(out, storage.LockFile))
	var held *storage.Held
	switch {
	case errors.As(err, &held):
		return nil, c.Errorf("output_dir", "another run writes into %s: %w: wait for its end, or name another output_dir", out, held)
	case err != nil:
		return nil, c.Errorf("output_dir", "it is not writable: %w", err)
	}
	notes, err := storage.CleanStale(out)
	if err != nil {
		return nil, errors.Join(c.Errorf("output_dir", "%w", err), lock.Release())
	}
	for _, n := range notes {
		log.Info(n)
	}
	return &folder{config: c, log: log, lock: lock}, nil
}

// release unlocks the folder.
func (f *folder) release() error { return f.lock.Release() }

// contents is what earlier runs have left in output_dir.
type contents struct {
	file       *runFile // nil: there is none
	checkpoint string   // the newest complete one, "" for none
	saved      *saved   // its state
	weights    bool     // the weights of a finished model exist
	any        bool     // some file of a run exists
}

func (f *folder) contents() (*contents, error) {
	out := f.config.Training.OutputDir
	c := &contents{}
	raw, err := storage.ReadFile(filepath.Join(out, storage.RunFile))
	if err == nil {
		c.file = &runFile{}
		if err := json.Unmarshal(raw, c.file); err != nil || c.file.Version != runFileVersion {
			c.file = nil // damaged, or of a later program: the run is unknown
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var skipped []string
	if c.checkpoint, _, skipped, err = checkpoint.Newest(out); err != nil {
		return nil, err
	}
	for _, s := range skipped {
		f.log.Warn(s)
	}
	if c.checkpoint != "" {
		if c.saved, err = readSaved(c.checkpoint); err != nil {
			return nil, err
		}
	}
	c.weights = holds(out, storage.AdapterFile, storage.ModelFile, storage.ModelIndexFile)
	c.any = c.file != nil || c.checkpoint != "" || c.weights || len(skipped) > 0 || holds(out, storage.RunFile, report.LogName)
	return c, nil
}

// holds reports whether a folder has one of the files.
func holds(dir string, names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return storage.Exists(filepath.Join(dir, n)) })
}

// identity is that of the folder's run; nil if it is unknown.
func (c *contents) identity() *identity.Identity {
	switch {
	case c.checkpoint != "":
		return c.saved.Identity
	case c.file != nil:
		return &c.file.Identity
	}
	return nil
}

// stoppedEarly reports whether early stopping, with that patience, ended the run of the
// checkpoint.
func (c *contents) stoppedEarly(patience *int) bool {
	return c.saved != nil && c.saved.Best.outlasts(patience)
}

// errFinished is returned if there is nothing left to do.
var errFinished = errors.New("the run is finished")

// place decides what happens to the content of output_dir, and from which checkpoint the run
// resumes; "" starts at step 0. If the content is of this run and unfinished, it is
// continued; if finished, nothing is done; the content of another run is set aside. Runs are
// never mixed.
func (f *folder) place(me *identity.Identity, plan Plan, restart bool) (resume string, err error) {
	c, r := f.config, f.config.Training.ResumeFromCheckpoint
	there, err := f.contents()
	if err != nil {
		return "", c.Errorf("output_dir", "%w", err)
	}
	f.record = runFile{Version: runFileVersion, Identity: *me}
	switch {
	case r.Path != "":
		return f.resumeFromPath(r.Path, there, me, plan, restart)
	case !there.any:
		if r.Latest {
			f.log.Warn("resume_from_checkpoint: there is no complete checkpoint: training starts at step 0", "output_dir", c.Training.OutputDir)
		}
		return "", nil
	case restart || r.Given && !r.Latest:
		return "", f.setAside("training begins anew")
	}
	return f.goOn(there, me, plan)
}

// goOn is place for a folder with the content of a run.
func (f *folder) goOn(there *contents, me *identity.Identity, plan Plan) (resume string, err error) {
	c, latest := f.config, f.config.Training.ResumeFromCheckpoint.Latest
	overwrite := c.Training.OverwriteOutputDir
	is := there.identity()
	switch {
	case is == nil && there.checkpoint != "" && overwrite && !latest:
		return "", f.setAside("an earlier version of this program left checkpoints that do not identify their run, and overwrite_output_dir is true")
	case is == nil && there.checkpoint != "":
		return there.checkpoint, nil
	case is == nil && there.weights && !overwrite:
		return "", c.Errorf("output_dir", "%s already holds a trained model and no checkpoint to go on from: set overwrite_output_dir: true, which sets it aside, or name another output_dir", c.Training.OutputDir)
	case is == nil:
		return "", f.setAside("it does not identify its run")
	}
	if other := identity.Differing(is.Run, me.Run); len(other) > 0 {
		if latest {
			return "", c.Errorf("resume_from_checkpoint", "%s is of another run: %s", there.checkpoint, strings.Join(other, "; "))
		}
		return "", f.setAside("it is of another run: " + strings.Join(other, "; "))
	}
	changed := identity.Differing(is.Settings, me.Settings)
	if there.file != nil && there.file.Finished && !latest && (overwrite || there.file.Step >= plan.Total || there.checkpoint == "" || there.stoppedEarly(c.Tuning.EarlyStoppingSteps)) {
		if !overwrite {
			f.log.Info("the run is finished: nothing is trained. overwrite_output_dir: true, or --restart, trains again and sets it aside",
				"step", there.file.Step, "output_dir", c.Training.OutputDir, "changed", strings.Join(changed, "; "))
			return "", errFinished
		}
		return "", f.replace()
	}
	if there.file != nil {
		f.record.Replaces = there.file.Replaces
	}
	if overwrite && there.checkpoint != "" {
		f.log.Info("overwrite_output_dir is true, and the folder holds this very run, unfinished: it is continued; --restart starts again", "checkpoint", there.checkpoint)
	}
	return there.checkpoint, nil
}

// resumeFromPath is place for a run that resumes from a given checkpoint. A run that already
// did is continued from its own newest one; otherwise checkpoints of later steps belong to
// another continuation and are set aside.
func (f *folder) resumeFromPath(path string, there *contents, me *identity.Identity, plan Plan, restart bool) (resume string, err error) {
	out := f.config.Training.OutputDir
	if err := storage.Verify(path); err != nil {
		return "", fmt.Errorf("resume from %s: %w", path, err)
	}
	s, err := readSaved(path)
	if err != nil {
		return "", err
	}
	if f.record.From, _, err = storage.SHA256(filepath.Join(path, storage.ManifestFile)); err != nil {
		return "", err
	}
	if there.any {
		if err := s.compatible(f.config, path, me, plan); err != nil {
			return "", err
		}
	}
	switch begun := there.file; {
	case !there.any:
		return path, nil
	case !restart && begun != nil && !begun.Finished && begun.From == f.record.From && len(identity.Differing(begun.Identity.Run, me.Run)) == 0:
		f.record.Replaces = begun.Replaces
		if there.checkpoint == "" || there.saved.Step <= s.Step {
			return path, nil
		}
		f.log.Info("the folder holds the run that went on from that checkpoint: it is continued from its newest; --restart starts again", "from", path, "checkpoint", there.checkpoint)
		return there.checkpoint, nil
	case !within(out, path):
		return path, f.setAside("the run goes on from " + path)
	}
	later, err := checkpoint.After(out, s.Step)
	if err != nil || len(later) == 0 {
		return path, err
	}
	return path, f.moveAside("they are later than "+path+", from which the run goes on", later...)
}

// within reports whether path is in the folder dir.
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

// setAside moves the whole content of output_dir away.
func (f *folder) setAside(why string) error {
	c := f.config
	for _, key := range []struct{ name, path string }{
		{"model_name_or_path", c.Model.NameOrPath},
		{"dataset_dir", c.Data.DatasetDir},
		{"tokenized_path", c.Data.TokenizedPath},
		{"components_cfg_file", c.Dynamic.ComponentsCfgFile},
		{"the configuration", c.File},
		{"resume_from_checkpoint", c.Training.ResumeFromCheckpoint.Path},
	} {
		if key.path != "" && storage.Exists(key.path) && within(c.Training.OutputDir, key.path) {
			return c.Errorf("output_dir", "what is in %s would have to be set aside, and %s, which this run reads, is there (%s): name another output_dir", c.Training.OutputDir, key.path, key.name)
		}
	}
	entries, err := storage.ReadDir(c.Training.OutputDir)
	if err != nil {
		return c.Errorf("output_dir", "%w", err)
	}
	var names []string
	for _, e := range entries {
		if e.Name() != storage.RunFile && e.Name() != storage.LockFile && !strings.HasPrefix(e.Name(), asideName) {
			names = append(names, e.Name())
		}
	}
	// The file that identifies the run is last: what a kill leaves still belongs to that
	// run.
	if holds(c.Training.OutputDir, storage.RunFile) {
		names = append(names, storage.RunFile)
	}
	return f.moveAside(why, names...)
}

// asideName is the name, followed by a number, of folders within output_dir for runs that
// are set aside, if they cannot be beside it.
const asideName = "old-"

// moveAside moves entries of output_dir into a new folder output_dir.old-N, or into a folder
// within output_dir if the folder beside it would be on another disk or cannot be written,
// as where a disk is mounted on output_dir.
func (f *folder) moveAside(why string, names ...string) error {
	out := filepath.Clean(f.config.Training.OutputDir)
	var faults []error
	for _, prefix := range []string{out + "." + asideName, filepath.Join(out, asideName)} {
		to := unused(prefix)
		if err := move(out, to, names); err != nil {
			faults = append(faults, err)
			continue
		}
		f.aside = to
		f.log.Warn("what was in output_dir is set aside: "+why, "now", to)
		return nil
	}
	return f.config.Errorf("output_dir", "what is in %s cannot be set aside (%s): %w: name another output_dir", out, why, errors.Join(faults...))
}

// unused is the first unused name that consists of the prefix and a number.
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
func (f *folder) replace() error {
	if err := f.setAside("it is this run, finished; overwrite_output_dir is true, and it is removed once there is a new checkpoint"); err != nil {
		return err
	}
	var err error
	f.record.Replaces, err = filepath.Rel(f.config.Training.OutputDir, f.aside)
	return err
}

// finished records that the run ended after that many steps.
func (f *folder) finished(step int) error {
	f.record.Finished, f.record.Step = true, step
	return f.writeRecord()
}

// writeRecord writes the file that identifies the run of output_dir.
func (f *folder) writeRecord() error {
	raw, err := json.MarshalIndent(f.record, "", "  ")
	if err != nil {
		return err
	}
	return storage.WriteFile(filepath.Join(f.config.Training.OutputDir, storage.RunFile), append(raw, '\n'))
}

// replaced removes the finished run that this one replaces.
func (f *folder) replaced() error {
	if f.record.Replaces == "" {
		return nil
	}
	out := filepath.Clean(f.config.Training.OutputDir)
	old := filepath.Join(out, f.record.Replaces)
	if !strings.HasPrefix(old, out+"."+asideName) && !strings.HasPrefix(old, filepath.Join(out, asideName)) {
		return fmt.Errorf("%s names %q, which is not a name for runs set aside", storage.RunFile, f.record.Replaces)
	}
	if err := storage.RemoveAll(old); err != nil {
		f.log.Warn("the finished run that was set aside could not be removed", "path", old, "error", err)
	} else {
		f.log.Info("the finished run that was set aside is removed", "path", old)
	}
	f.record.Replaces = ""
	return f.writeRecord()
}
