package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/model/checkpoint"
)

// kept says which checkpoint is on disk.
type kept struct {
	step  int
	whole bool // with the optimizer's moments
}

// save writes checkpoint-N of the last finished step and returns its path. One that is
// saved because the run is interrupted holds the optimizer whatever save_only_model says.
func (t *session) save(interrupted bool) (string, error) {
	out := t.Config.Training.OutputDir
	name := storage.StepName(t.step)
	now := kept{t.step, interrupted || !t.Config.Training.SaveOnlyModel}
	if path := filepath.Join(out, name); t.lastSaved == path && (t.kept == now || t.kept == kept{t.step, true}) {
		return path, nil
	}
	defer t.journal.page.Phase("saving")()
	d, err := storage.Begin(out, name)
	if err != nil {
		return "", fmt.Errorf("checkpoint of step %d: %w", t.step, err)
	}
	if err := t.fill(d.Path(), now.whole); err != nil {
		return "", fmt.Errorf("checkpoint of step %d: %w", t.step, errors.Join(err, d.Abort()))
	}
	// The logs and records up to here are not written again once there is a checkpoint.
	if err := storage.SyncBelow(out, isCheckpoint); err != nil {
		return "", fmt.Errorf("checkpoint of step %d: %w", t.step, errors.Join(err, d.Abort()))
	}
	if err := d.Commit(); err != nil {
		return "", fmt.Errorf("checkpoint of step %d: %w", t.step, err)
	}
	t.lastSaved, t.kept = filepath.Join(out, name), now
	if _, err := checkpoint.Rotate(out, t.Config.Training.SaveTotalLimit, t.lastSaved, t.bestCheckpoint()); err != nil {
		t.log.Warn("save_total_limit: an old checkpoint is still there", "error", err)
	}
	return t.lastSaved, t.replaced()
}

// isCheckpoint recognises folders of output_dir that are durable in themselves.
func isCheckpoint(name string) bool {
	return strings.HasPrefix(name, storage.StepPrefix) || strings.HasPrefix(name, ".")
}

// leaveBest removes, once the run is over, the newest checkpoint where
// save_total_limit is 1 and the best one is another, as Hugging Face's Trainer does.
func (t *session) leaveBest() {
	best := t.bestCheckpoint()
	if t.Config.Training.SaveTotalLimit != 1 || best == "" || t.lastSaved == "" || t.lastSaved == best {
		return
	}
	if err := checkpoint.Remove(t.lastSaved); err != nil {
		t.log.Warn("save_total_limit: the last checkpoint is still there", "error", err)
	}
}

// fill writes a checkpoint's files into a folder.
func (t *session) fill(dir string, moments bool) error {
	if err := t.saveModel(dir); err != nil {
		return err
	}
	if err := t.state().Write(dir, t.step == t.Plan.Total); err != nil {
		return err
	}
	if moments {
		_, moments, err := t.optimizer.State()
		if err != nil {
			return err
		}
		if err := checkpoint.WriteSafetensors(filepath.Join(dir, storage.OptimizerFile), map[string]string{"format": "pt"}, moments); err != nil {
			return err
		}
	}
	id, err := t.identify()
	if err != nil {
		return err
	}
	s := saved{
		Identity: id, Version: savedVersion, Step: t.step, OptimizerSteps: t.optimizer.Steps(), Window: t.sampler.window, Totals: t.totals, Best: t.best, Skipped: t.skipped,
		EvaluationDue: t.evaluationDue, Ledger: t.ledger, Seed: t.seed, Batch: [2]int{t.Plan.Micro, t.Plan.Accumulate},
	}
	if t.plateau != nil {
		p := t.plateau.State()
		s.Plateau = &p
	}
	if s.Curriculum, err = t.curriculum.State(); err != nil {
		return err
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return storage.WriteFile(filepath.Join(dir, storage.StateFile), raw)
}

// saveModel writes the trained weights and the tokenizer as Hugging Face and PEFT
// read them.
func (t *session) saveModel(dir string) error {
	save := t.model.SaveFull
	if t.Config.Tuning.FinetuningType == config.LoRA {
		save = t.model.SaveAdapter
	}
	if err := save(dir); err != nil {
		return err
	}
	return t.tokenizer.Save(dir, storage.WriteFile)
}

// resume goes on from a checkpoint that is complete: weights, moments, position, records.
func (t *session) resume(dir string) error {
	s, err := readSaved(dir)
	if err != nil {
		return err
	}
	if err := t.compatible(dir, s); err != nil {
		return err
	}
	t.sayChanges(s)
	if err := t.restoreWeights(dir, s); err != nil {
		return fmt.Errorf("resume from %s: %w", dir, err)
	}
	if t.plateau != nil && s.Plateau != nil {
		if err := t.plateau.SetState(*s.Plateau); err != nil {
			return fmt.Errorf("resume from %s: %w", dir, err)
		}
	}
	if err := t.curriculum.Restore(s.Curriculum); err != nil {
		return fmt.Errorf("resume from %s: %w", dir, err)
	}
	t.step, t.totals, t.best, t.skipped, t.evaluationDue = s.Step, s.Totals, s.Best, s.Skipped, s.EvaluationDue
	t.sampler.open(s.Window)
	if t.ledger.Since(s.Step); s.Ledger != nil {
		if err := s.Ledger.Fits(len(t.train)); err != nil {
			return fmt.Errorf("resume from %s: %w", dir, err)
		}
		t.ledger = s.Ledger
	}
	t.lastSaved = dir
	t.kept = kept{s.Step, storage.Exists(filepath.Join(dir, storage.OptimizerFile))}
	if t.journal.history, err = report.ReadHistory(dir); err != nil {
		return err
	}
	return t.openRecords(false)
}

// openRecords opens the run's log files; a resumed run drops what they say of
// steps it will take again.
func (t *session) openRecords(fresh bool) error {
	out := t.Config.Training.OutputDir
	var err error
	prior := time.Duration(t.totals.Seconds * float64(time.Second))
	if t.journal.log, err = report.OpenLog(out, fresh, prior); err != nil {
		return err
	}
	if t.journal.picks, err = report.OpenPicks(out, fresh); err != nil {
		return err
	}
	if err := t.openTrackers(fresh); err != nil {
		return err
	}
	if !fresh {
		held, after := t.windowHeld(), t.step
		if held {
			after++
		}
		if err := errors.Join(t.journal.log.Truncate(t.step, held, t.journal.evaluations(t.step)), t.journal.picks.Truncate(after)); err != nil {
			return err
		}
	}
	return t.openRecord(fresh)
}

// windowHeld says that the window that opens at this step was chosen before the
// checkpoint that the run goes on from.
func (t *session) windowHeld() bool { return t.Plan.Dynamic && t.sampler.window.Start == t.step }

// openTrackers starts what report_to names.
func (t *session) openTrackers(fresh bool) error {
	c := t.Config.Training
	if slices.Contains(c.ReportTo, "tensorboard") {
		e, err := t.openEvents(fresh)
		if err != nil {
			return err
		}
		t.journal.trackers = append(t.journal.trackers, e)
	}
	if slices.Contains(c.ReportTo, "mlflow") {
		store, err := report.MLflowStore()
		if err != nil {
			return t.Config.Errorf("report_to", "%w", err)
		}
		m, err := report.OpenMLflow(store, c.RunName, c.OutputDir, t.Config.Shown(), fresh, t.step)
		if err != nil {
			return t.Config.Errorf("report_to", "%w", err)
		}
		t.journal.trackers = append(t.journal.trackers, m)
	}
	return nil
}

// openEvents starts TensorBoard's file.
func (t *session) openEvents(fresh bool) (*report.Events, error) {
	c := t.Config.Training
	dir := c.LoggingDir
	if dir == "" {
		dir = filepath.Join(c.OutputDir, "runs")
	}
	e, err := report.OpenEvents(dir)
	if err != nil || fresh {
		return e, err
	}
	return e, e.Resume(t.step)
}

// compatible refuses a checkpoint of another run.
func (t *session) compatible(dir string, s saved) error {
	c := t.Config
	me, err := t.identify()
	if err != nil {
		return err
	}
	batch := [2]int{t.Plan.Micro, t.Plan.Accumulate}
	switch {
	case s.Identity != nil:
		if other := differing(s.Identity.Run, me.Run); len(other) > 0 {
			return c.Errorf("output_dir", "resume from %s: it is of another run: %s; give these back, or name another output_dir", dir, strings.Join(other, "; "))
		}
	case s.Seed != t.seed:
		return c.Errorf("seed", "resume from %s: the checkpoint was trained with seed %d, not %d", dir, s.Seed, t.seed)
	case s.Batch != batch:
		return c.Errorf("per_device_train_batch_size", "resume from %s: the checkpoint was trained with per_device_train_batch_size %d and gradient_accumulation_steps %d, not %d and %d",
			dir, s.Batch[0], s.Batch[1], batch[0], batch[1])
	case slices.ContainsFunc(s.Window.Rows, func(row int) bool { return row >= t.Plan.Rows }):
		return c.Errorf("dataset", "resume from %s: the checkpoint knows more rows than the %d that there are: it is of another dataset", dir, t.Plan.Rows)
	}
	return nil
}

// sayChanges names what a run that goes on does otherwise than before.
func (t *session) sayChanges(s saved) {
	me := t.ids.run
	if s.Identity == nil {
		t.log.Warn("the checkpoint is of an earlier version of this program, which did not note model, rows and method: that they are the same is taken on trust")
		return
	}
	for _, change := range differing(s.Identity.Settings, me.Settings) {
		t.log.Warn("the run goes on with another setting", "key", change)
	}
	if s.Identity.Machine != me.Machine {
		t.log.Warn("another instruction set goes on with the run: its last bits may differ", "was", s.Identity.Machine, "is", me.Machine)
	}
}

func (t *session) restoreWeights(dir string, s saved) error {
	if err := t.model.ReadTrained(dir); err != nil {
		return err
	}
	path := filepath.Join(dir, storage.OptimizerFile)
	if _, err := storage.Stat(path); errors.Is(err, os.ErrNotExist) {
		t.log.Warn("the checkpoint was saved with save_only_model: the optimiser's moments start at zero, the result will differ from an uninterrupted run", "checkpoint", dir)
		return nil
	}
	f, err := checkpoint.OpenFile(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return t.optimizer.SetState(s.OptimizerSteps, f)
}
