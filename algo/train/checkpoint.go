package train

import (
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/tokenizer"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/decoder"
	"dataflex.dev/dataflex/model/optim"
)

// checkpoints manages a run's checkpoints in output_dir: the files of each, and which of
// them are kept.
type checkpoints struct {
	config    *config.Config
	model     *decoder.Model
	optimizer optim.Optimizer
	tokenizer *tokenizer.Tokenizer
	at        *position // its step is saved, and it names the newest
	log       *slog.Logger
	kept      kept // the checkpoint of the last finished step, if it is saved
}

// kept describes the checkpoint on disk.
type kept struct {
	step  int
	whole bool // with the optimizer's moments
}

// path is the folder of the checkpoint of the last finished step, saved or not.
func (k *checkpoints) path() string {
	return filepath.Join(k.config.Training.OutputDir, storage.StepName(k.at.step))
}

// has reports whether the checkpoint of the last finished step is saved, with the
// optimizer's moments if moments is set.
func (k *checkpoints) has(moments bool) bool {
	return k.at.lastSaved == k.path() && (k.kept == kept{k.at.step, moments} || k.kept == kept{k.at.step, true})
}

// outdated records that the checkpoint of the last finished step, if there is one, lacks
// what has happened since.
func (k *checkpoints) outdated() { k.kept = kept{} }

// found records that the run resumes from a checkpoint.
func (k *checkpoints) found(dir string) {
	k.at.lastSaved = dir
	k.kept = kept{k.at.step, storage.Exists(filepath.Join(dir, storage.OptimizerFile))}
}

// moments is the optimizer's state for a checkpoint; nil if it is not requested.
type moments struct{ tensors []checkpoint.Tensor }

// moments returns the optimizer's state; if processes shard it, all of them call it.
func (k *checkpoints) moments() (*moments, error) {
	_, tensors, err := k.optimizer.State()
	return &moments{tensors}, err
}

// save writes checkpoint-N of the last finished step, with the optimizer's moments if
// requested, completely or not at all.
func (k *checkpoints) save(s *saved, state *report.State, m *moments) error {
	out := k.config.Training.OutputDir
	d, err := storage.Begin(out, storage.StepName(k.at.step))
	if err != nil {
		return err
	}
	if err := k.fill(d.Path(), s, state, m); err != nil {
		return errors.Join(err, d.Abort())
	}
	// The logs and records up to here are not written again once there is a checkpoint.
	if err := storage.SyncBelow(out, isCheckpoint); err != nil {
		return errors.Join(err, d.Abort())
	}
	if err := d.Commit(); err != nil {
		return err
	}
	k.noted(m != nil)
	return nil
}

// noted records that the checkpoint of the last finished step exists.
func (k *checkpoints) noted(moments bool) {
	k.at.lastSaved, k.kept = k.path(), kept{k.at.step, moments}
}

// isCheckpoint recognises folders of output_dir that sync themselves.
func isCheckpoint(name string) bool {
	return strings.HasPrefix(name, storage.StepPrefix) || strings.HasPrefix(name, ".")
}

// fill writes a checkpoint's files into a folder.
func (k *checkpoints) fill(dir string, s *saved, state *report.State, m *moments) error {
	if err := k.saveModel(dir); err != nil {
		return err
	}
	if err := state.Write(dir, state.GlobalStep == state.MaxSteps); err != nil {
		return err
	}
	if m != nil {
		if err := checkpoint.WriteSafetensors(filepath.Join(dir, storage.OptimizerFile), map[string]string{"format": "pt"}, m.tensors); err != nil {
			return err
		}
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return storage.WriteFile(filepath.Join(dir, storage.StateFile), raw)
}

// saveModel writes the trained weights and the tokenizer as Hugging Face and PEFT
// read them.
func (k *checkpoints) saveModel(dir string) error {
	save := k.model.SaveFull
	if k.config.Tuning.FinetuningType == config.LoRA {
		save = k.model.SaveAdapter
	}
	if err := save(dir); err != nil {
		return err
	}
	return k.tokenizer.Save(dir, storage.WriteFile)
}

// rotate removes the checkpoints beyond save_total_limit; best, that of the best evaluation,
// is kept.
func (k *checkpoints) rotate(best string) {
	if _, err := checkpoint.Rotate(k.config.Training.OutputDir, k.config.Training.SaveTotalLimit, k.at.lastSaved, best); err != nil {
		k.log.Warn("save_total_limit: an old checkpoint could not be removed", "error", err)
	}
}

// leave removes, at the end of the run, the newest checkpoint if save_total_limit is 1 and
// it is not the best one, as Hugging Face's Trainer does.
func (k *checkpoints) leave(best string) {
	if k.config.Training.SaveTotalLimit != 1 || best == "" || k.at.lastSaved == "" || k.at.lastSaved == best {
		return
	}
	if err := checkpoint.Remove(k.at.lastSaved); err != nil {
		k.log.Warn("save_total_limit: the last checkpoint could not be removed", "error", err)
	}
}

// restore loads a checkpoint's weights and moments into model and optimizer.
func (k *checkpoints) restore(dir string, s *saved) error {
	if err := k.model.ReadTrained(dir); err != nil {
		return err
	}
	path := filepath.Join(dir, storage.OptimizerFile)
	if _, err := storage.Stat(path); errors.Is(err, os.ErrNotExist) {
		k.log.Warn("the checkpoint was saved with save_only_model: the optimiser's moments start at zero, the result will differ from an uninterrupted run", "checkpoint", dir)
		return nil
	}
	f, err := checkpoint.OpenFile(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return k.optimizer.SetState(s.OptimizerSteps, f)
}
