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

// checkpoints are a run's in output_dir: what files one has, and which of them stay.
type checkpoints struct {
	config    *config.Config
	model     *decoder.Model
	optimizer optim.Optimizer
	tokenizer *tokenizer.Tokenizer
	at        *position // whose step is saved, and which names the newest
	log       *slog.Logger
	kept      kept // the checkpoint of the last finished step, if it is saved
}

// kept says which checkpoint is on disk.
type kept struct {
	step  int
	whole bool // with the optimizer's moments
}

// path is where the checkpoint of the last finished step lies, or would.
func (k *checkpoints) path() string {
	return filepath.Join(k.config.Training.OutputDir, storage.StepName(k.at.step))
}

// has says that the checkpoint of the last finished step is saved, with the optimizer's
// moments where they are asked for.
func (k *checkpoints) has(moments bool) bool {
	return k.at.lastSaved == k.path() && (k.kept == kept{k.at.step, moments} || k.kept == kept{k.at.step, true})
}

// outdated says that the one of the last finished step, if there is one, does not hold
// what has happened since.
func (k *checkpoints) outdated() { k.kept = kept{} }

// found notes that the run goes on from a checkpoint.
func (k *checkpoints) found(dir string) {
	k.at.lastSaved = dir
	k.kept = kept{k.at.step, storage.Exists(filepath.Join(dir, storage.OptimizerFile))}
}

// moments is the optimizer's state for a checkpoint; nil where it is not asked for.
type moments struct{ tensors []checkpoint.Tensor }

// moments is the optimizer's; where processes keep it together, all of them call it.
func (k *checkpoints) moments() (*moments, error) {
	_, tensors, err := k.optimizer.State()
	return &moments{tensors}, err
}

// save writes checkpoint-N of the last finished step, with the optimizer's moments where
// they are asked for, whole or not at all.
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

// noted says that the checkpoint of the last finished step is there.
func (k *checkpoints) noted(moments bool) {
	k.at.lastSaved, k.kept = k.path(), kept{k.at.step, moments}
}

// isCheckpoint recognises folders of output_dir that are durable in themselves.
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

// rotate removes what save_total_limit has no room for; best, the best evaluation's, stays.
func (k *checkpoints) rotate(best string) {
	if _, err := checkpoint.Rotate(k.config.Training.OutputDir, k.config.Training.SaveTotalLimit, k.at.lastSaved, best); err != nil {
		k.log.Warn("save_total_limit: an old checkpoint is still there", "error", err)
	}
}

// leave removes, once the run is over, the newest checkpoint where
// save_total_limit is 1 and the best one is another, as Hugging Face's Trainer does.
func (k *checkpoints) leave(best string) {
	if k.config.Training.SaveTotalLimit != 1 || best == "" || k.at.lastSaved == "" || k.at.lastSaved == best {
		return
	}
	if err := checkpoint.Remove(k.at.lastSaved); err != nil {
		k.log.Warn("save_total_limit: the last checkpoint is still there", "error", err)
	}
}

// restore puts a checkpoint's weights and moments into model and optimizer.
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
