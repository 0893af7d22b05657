package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/optim"
)

// saved is the contents of dataflex_state.json, which holds what the other files of a
// checkpoint do not: the position in the data, the method's state, the sums of the logs. Every random draw of a run is a
// function of the seed and the step, so that there are no streams to keep.
type saved struct {
	Version        int                 `json:"version"`
	Step           int                 `json:"step"`
	OptimizerSteps int                 `json:"optimizer_steps"`
	Window         Window              `json:"window"`
	Method         json.RawMessage     `json:"method,omitempty"`  // the selector's, mixer's or weighter's own state
	Mixture        json.RawMessage     `json:"mixture,omitempty"` // the stream that windows of a mixture are drawn from
	LossWeights    []float64           `json:"loss_weights,omitempty"`
	Totals         totals              `json:"totals"`
	Best           best                `json:"best"`
	Skipped        map[int]int         `json:"skipped,omitempty"` // times that rows were left out of a step
	Plateau        *optim.PlateauState `json:"plateau,omitempty"`
	Data           string              `json:"data"` // hash of the training rows
	Seed           uint64              `json:"seed"`
	Batch          [2]int              `json:"batch"` // rows of a micro-batch, micro-batches of a step
}

const savedVersion = 1

// save writes checkpoint-N of the last finished step and returns its path.
func (t *Trainer) save() (string, error) {
	out := t.Config.Training.OutputDir
	name := fmt.Sprintf("checkpoint-%d", t.step)
	if path := filepath.Join(out, name); t.recorder.lastSaved == path {
		return path, nil
	}
	defer t.recorder.page.Phase("saving")()
	d, err := storage.Begin(out, name)
	if err != nil {
		return "", fmt.Errorf("checkpoint of step %d: %w", t.step, err)
	}
	if err := t.fill(d.Path()); err != nil {
		return "", fmt.Errorf("checkpoint of step %d: %w", t.step, errors.Join(err, d.Abort()))
	}
	if err := d.Commit(); err != nil {
		return "", fmt.Errorf("checkpoint of step %d: %w", t.step, err)
	}
	t.recorder.lastSaved = filepath.Join(out, name)
	if _, err := checkpoint.Rotate(out, t.Config.Training.SaveTotalLimit, t.recorder.lastSaved, t.bestCheckpoint()); err != nil {
		t.log.Warn("save_total_limit: an old checkpoint is still there", "error", err)
	}
	return t.recorder.lastSaved, nil
}

// leaveBest removes, once the run is over, the newest checkpoint where
// save_total_limit is 1 and the best one is another, as Hugging Face's Trainer does.
func (t *Trainer) leaveBest() {
	best := t.bestCheckpoint()
	if t.Config.Training.SaveTotalLimit != 1 || best == "" || t.recorder.lastSaved == "" || t.recorder.lastSaved == best {
		return
	}
	if err := checkpoint.Remove(t.recorder.lastSaved); err != nil {
		t.log.Warn("save_total_limit: the last checkpoint is still there", "error", err)
	}
}

// fill writes a checkpoint's files into a folder.
func (t *Trainer) fill(dir string) error {
	if err := t.saveModel(dir); err != nil {
		return err
	}
	if err := t.recorder.state(t).Write(dir, t.step == t.Plan.Total); err != nil {
		return err
	}
	if !t.Config.Training.SaveOnlyModel {
		_, moments, err := t.optimizer.State()
		if err != nil {
			return err
		}
		if err := checkpoint.WriteSafetensors(filepath.Join(dir, storage.OptimizerFile), map[string]string{"format": "pt"}, moments); err != nil {
			return err
		}
	}
	s := saved{
		Version: savedVersion, Step: t.step, OptimizerSteps: t.optimizer.Steps(), Window: t.sampler.window, Totals: t.totals, Best: t.best, Skipped: t.skipped,
		Data: t.ids.data, Seed: t.run.Seed, Batch: [2]int{t.Plan.Micro, t.Plan.Accumulate},
	}
	if t.plateau != nil {
		p := t.plateau.State()
		s.Plateau = &p
	}
	if err := t.methodState(&s); err != nil {
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
func (t *Trainer) saveModel(dir string) error {
	save := t.model.SaveFull
	if t.Config.Tuning.FinetuningType == config.LoRA {
		save = t.model.SaveAdapter
	}
	if err := save(dir); err != nil {
		return err
	}
	return t.tokenizer.Save(dir, storage.WriteFile)
}

// resume goes on from a checkpoint: weights, moments, position, records.
func (t *Trainer) resume(dir string) error {
	if err := storage.Verify(dir); err != nil {
		return fmt.Errorf("resume from %s: %w", dir, err)
	}
	s, err := readSaved(dir)
	if err != nil {
		return err
	}
	if err := t.compatible(dir, s); err != nil {
		return err
	}
	if err := t.restoreWeights(dir, s); err != nil {
		return fmt.Errorf("resume from %s: %w", dir, err)
	}
	if t.plateau != nil && s.Plateau != nil {
		if err := t.plateau.SetState(*s.Plateau); err != nil {
			return fmt.Errorf("resume from %s: %w", dir, err)
		}
	}
	if err := t.restoreMethod(s); err != nil {
		return fmt.Errorf("resume from %s: %w", dir, err)
	}
	t.step, t.totals, t.best, t.skipped = s.Step, s.Totals, s.Best, s.Skipped
	t.sampler.open(s.Window)
	t.recorder.lastSaved = dir
	if t.recorder.history, err = report.ReadHistory(dir); err != nil {
		return err
	}
	return t.openRecords(false)
}

// openRecords opens the run's log files; a resumed run drops what they say of
// steps it will take again.
func (t *Trainer) openRecords(fresh bool) error {
	out := t.Config.Training.OutputDir
	var err error
	prior := time.Duration(t.totals.Seconds * float64(time.Second))
	if t.recorder.log, err = report.OpenLog(out, fresh, prior); err != nil {
		return err
	}
	if t.recorder.picks, err = report.OpenPicks(out, fresh); err != nil {
		return err
	}
	if err := t.openEvents(fresh); err != nil {
		return err
	}
	if !fresh {
		if err := errors.Join(t.recorder.log.Truncate(t.step), t.recorder.picks.Truncate(t.step)); err != nil {
			return err
		}
	}
	return t.openRecord(fresh)
}

// openEvents starts TensorBoard's file where report_to names it.
func (t *Trainer) openEvents(fresh bool) (err error) {
	c := t.Config.Training
	if !slices.Contains(c.ReportTo, "tensorboard") {
		return nil
	}
	dir := c.LoggingDir
	if dir == "" {
		dir = filepath.Join(c.OutputDir, "runs")
	}
	if t.recorder.events, err = report.OpenEvents(dir); err != nil || fresh {
		return err
	}
	return t.recorder.events.Resume(t.step)
}

func readSaved(dir string) (saved, error) {
	path := filepath.Join(dir, storage.StateFile)
	var s saved
	raw, err := os.ReadFile(path)
	if err != nil {
		return s, fmt.Errorf("resume: %s is no checkpoint of ours: %w", dir, err)
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("resume: %s: %w", path, err)
	}
	if s.Version != savedVersion {
		return s, fmt.Errorf("resume: %s has version %d, this program reads %d", path, s.Version, savedVersion)
	}
	return s, nil
}

// compatible refuses to go on where the position in the data would mean other
// rows.
func (t *Trainer) compatible(dir string, s saved) error {
	c := t.Config
	switch batch := [2]int{t.Plan.Micro, t.Plan.Accumulate}; {
	case s.Data != t.ids.data:
		return c.Errorf("dataset", "resume from %s: the training rows are not those of the checkpoint: give back its dataset, template and cutoff_len, or start anew with overwrite_output_dir: true", dir)
	case s.Seed != t.run.Seed:
		return c.Errorf("seed", "resume from %s: the checkpoint was trained with seed %d, not %d", dir, s.Seed, t.run.Seed)
	case s.Batch != batch:
		return c.Errorf("per_device_train_batch_size", "resume from %s: the checkpoint was trained with per_device_train_batch_size %d and gradient_accumulation_steps %d, not %d and %d",
			dir, s.Batch[0], s.Batch[1], batch[0], batch[1])
	}
	return nil
}

func (t *Trainer) restoreWeights(dir string, s saved) error {
	if err := t.model.ReadTrained(dir); err != nil {
		return err
	}
	path := filepath.Join(dir, storage.OptimizerFile)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
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

// methodState adds the state of the deciding method, and of a mixture's stream.
func (t *Trainer) methodState(s *saved) (err error) {
	if m, ok := t.method().(algo.Stateful); ok {
		if s.Method, err = m.State(); err != nil {
			return fmt.Errorf("state of %s: %w", t.component.Name, err)
		}
	}
	if t.mix != nil {
		s.LossWeights = t.mix.weights
		s.Mixture, err = t.mix.manager.State()
	}
	return err
}

func (t *Trainer) restoreMethod(s saved) error {
	if m, ok := t.method().(algo.Stateful); ok && s.Method != nil {
		if err := m.Restore(s.Method); err != nil {
			return fmt.Errorf("state of %s: %w", t.component.Name, err)
		}
	}
	if t.mix == nil {
		return nil
	}
	t.mix.weights = s.LossWeights
	if err := t.mix.manager.Restore(s.Mixture); err != nil {
		return fmt.Errorf("state of the mixture: %w", err)
	}
	return nil
}
