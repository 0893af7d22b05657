package train

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/curriculum"
	"dataflex.dev/dataflex/algo/train/identity"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/model/optim"
)

// saved is the content of dataflex_state.json: the state of a run that is not in the other
// files of a checkpoint: the position in the data, the curriculum's state, the sums of the
// logs. Which rows a step takes and the dropout masks are functions of seed and step: only a
// curriculum has random streams to save.
type saved struct {
	Version        int                 `json:"version"`
	Step           int                 `json:"step"`
	OptimizerSteps int                 `json:"optimizer_steps"`
	Window         curriculum.Window   `json:"window"`
	Curriculum     json.RawMessage     `json:"curriculum,omitempty"`
	Totals         totals              `json:"totals"`
	Best           best                `json:"best"`              // with the count for early stopping's patience
	Skipped        skips               `json:"skipped,omitempty"` // how often rows were left out of a step
	Plateau        *optim.PlateauState `json:"plateau,omitempty"`
	Identity       *identity.Identity  `json:"identity,omitempty"`       // nil in version 1
	EvaluationDue  bool                `json:"evaluation_due,omitempty"` // the evaluation after the step was interrupted
	Ledger         *curriculum.Ledger  `json:"ledger,omitempty"`         // nil in checkpoints of earlier programs
	Seed           uint64              `json:"seed"`
	Batch          [2]int              `json:"batch"` // rows per micro-batch, micro-batches per step
}

// savedVersion is 2 since checkpoints identify their run and have a single state of the
// curriculum.
const savedVersion = 2

// savedV1 has the fields that version 1 stored in other places.
type savedV1 struct {
	Window struct {
		Start   int   `json:"start"`
		Indices []int `json:"indices"`
	} `json:"window"`
	Method      json.RawMessage `json:"method"`
	Mixture     json.RawMessage `json:"mixture"`
	LossWeights []float64       `json:"loss_weights"`
}

// readSaved reads the state of a checkpoint of version 1 or 2.
func readSaved(dir string) (*saved, error) {
	s := &saved{}
	path := filepath.Join(dir, storage.StateFile)
	raw, err := storage.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("resume: %s is not a checkpoint of this program: %w", dir, err)
	}
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, fmt.Errorf("resume: %s: %w", path, err)
	}
	switch s.Version {
	case savedVersion:
	case 1:
		if err := s.readV1(raw); err != nil {
			return nil, fmt.Errorf("resume: %s: %w", path, err)
		}
	default:
		return nil, fmt.Errorf("resume: %s has version %d, this program reads 1 and %d", path, s.Version, savedVersion)
	}
	if w := s.Window; s.Step < 0 || s.OptimizerSteps < 0 || s.OptimizerSteps > s.Step || w.Start < -1 || w.Start > s.Step || slices.ContainsFunc(w.Rows, negative) {
		return nil, fmt.Errorf("resume: %s was changed by hand: %d steps of which %d moved the weights, a window from step %d of %d rows: resume from another checkpoint", path, s.Step, s.OptimizerSteps, w.Start, len(w.Rows))
	}
	return s, nil
}

func negative(row int) bool { return row < 0 }

func (s *saved) readV1(raw []byte) error {
	var old savedV1
	if err := json.Unmarshal(raw, &old); err != nil {
		return err
	}
	s.Window = curriculum.Window{Start: old.Window.Start, Rows: old.Window.Indices}
	s.Curriculum = old.Method
	if old.Mixture == nil {
		return nil
	}
	var err error
	s.Curriculum, err = curriculum.MixedState(old.Method, old.Mixture, old.LossWeights)
	return err
}

// take copies the loop's state.
func (s *saved) take(l *loop) (err error) {
	s.Step, s.OptimizerSteps, s.Window, s.Totals, s.Skipped = l.step, l.optimizer.Steps(), l.sampler.window, l.totals, l.skipped
	s.Ledger, s.Seed, s.Batch = l.ledger, l.passes.seed, l.Plan.shape()
	if l.plateau != nil {
		p := l.plateau.State()
		s.Plateau = &p
	}
	if b := l.began; b != nil {
		s.Curriculum, s.Skipped = b.curriculum, b.skipped
		return nil
	}
	s.Curriculum, err = l.curriculum.State()
	return err
}

// give restores the loop's state, except the weights and their moments.
func (s *saved) give(l *loop) error {
	if l.plateau != nil && s.Plateau != nil {
		if err := l.plateau.SetState(*s.Plateau); err != nil {
			return err
		}
	}
	if err := l.curriculum.Restore(s.Curriculum); err != nil {
		return err
	}
	l.step, l.totals, l.skipped = s.Step, s.Totals, s.Skipped
	l.sampler.open(s.Window)
	if l.ledger.Since(s.Step); s.Ledger != nil {
		if err := s.Ledger.Fits(len(l.passes.rows)); err != nil {
			return err
		}
		l.ledger = s.Ledger
	}
	return nil
}

// compatible refuses a checkpoint, in folder dir, of another run.
func (s *saved) compatible(c *config.Config, dir string, me *identity.Identity, plan Plan) error {
	seed, batch := uint64(c.Training.Seed), plan.shape()
	switch {
	case s.Identity != nil:
		if other := identity.Differing(s.Identity.Run, me.Run); len(other) > 0 {
			return c.Errorf("output_dir", "resume from %s: it belongs to another run: %s; restore these settings, or name another output_dir", dir, strings.Join(other, "; "))
		}
	case s.Seed != seed:
		return c.Errorf("seed", "resume from %s: the checkpoint was trained with seed %d, not %d", dir, s.Seed, seed)
	case s.Batch != batch:
		return c.Errorf("per_device_train_batch_size", "resume from %s: the checkpoint was trained with per_device_train_batch_size %d and gradient_accumulation_steps %d, not %d and %d",
			dir, s.Batch[0], s.Batch[1], batch[0], batch[1])
	}
	if slices.ContainsFunc(s.Window.Rows, func(row int) bool { return row >= plan.Rows }) {
		return c.Errorf("dataset", "resume from %s: the checkpoint has more rows than the %d of this dataset: it belongs to another one", dir, plan.Rows)
	}
	return nil
}

// sayChanges logs the settings that differ from those before a resumption.
func (s *saved) sayChanges(me *identity.Identity, log *slog.Logger) {
	if s.Identity == nil {
		log.Warn("the checkpoint is of an earlier version of this program, which did not record model, rows and method: they are assumed to be the same")
		return
	}
	for _, change := range identity.Differing(s.Identity.Settings, me.Settings) {
		log.Warn("the run continues with another setting", "key", change)
	}
	if s.Identity.Machine != me.Machine {
		log.Warn("the run continues with another instruction set: its last bits may differ", "was", s.Identity.Machine, "is", me.Machine)
	}
}
