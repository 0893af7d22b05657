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

// saved is the contents of dataflex_state.json, which holds what the other files of a
// checkpoint do not: the position in the data, the curriculum's state, the sums of the
// logs. Which rows a step takes and the dropout masks are functions of seed and step:
// there are no streams to keep but those that a curriculum has.
type saved struct {
	Version        int                 `json:"version"`
	Step           int                 `json:"step"`
	OptimizerSteps int                 `json:"optimizer_steps"`
	Window         curriculum.Window   `json:"window"`
	Curriculum     json.RawMessage     `json:"curriculum,omitempty"`
	Totals         totals              `json:"totals"`
	Best           best                `json:"best"`              // with early stopping's patience
	Skipped        skips               `json:"skipped,omitempty"` // times that rows were left out of a step
	Plateau        *optim.PlateauState `json:"plateau,omitempty"`
	Identity       *identity.Identity  `json:"identity,omitempty"`       // nil in version 1
	EvaluationDue  bool                `json:"evaluation_due,omitempty"` // the one that the step asks for was cut short
	Ledger         *curriculum.Ledger  `json:"ledger,omitempty"`         // nil in checkpoints of earlier programs
	Seed           uint64              `json:"seed"`
	Batch          [2]int              `json:"batch"` // rows of a micro-batch, micro-batches of a step
}

// savedVersion is 2 since checkpoints say which run they are of and hold one state of all
// that decides on the data.
const savedVersion = 2

// savedV1 is what version 1 had in other places.
type savedV1 struct {
	Window struct {
		Start   int   `json:"start"`
		Indices []int `json:"indices"`
	} `json:"window"`
	Method      json.RawMessage `json:"method"`
	Mixture     json.RawMessage `json:"mixture"`
	LossWeights []float64       `json:"loss_weights"`
}

// readSaved reads the state of a checkpoint, of version 1, too.
func readSaved(dir string) (*saved, error) {
	s := &saved{}
	path := filepath.Join(dir, storage.StateFile)
	raw, err := storage.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("resume: %s is no checkpoint of ours: %w", dir, err)
	}
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, fmt.Errorf("resume: %s: %w", path, err)
	}
	switch s.Version {
	case savedVersion:
		return s, nil
	case 1:
		if err := s.readV1(raw); err != nil {
			return nil, fmt.Errorf("resume: %s: %w", path, err)
		}
		return s, nil
	}
	return nil, fmt.Errorf("resume: %s has version %d, this program reads 1 and %d", path, s.Version, savedVersion)
}

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

// take notes where the loop stands.
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

// give puts the loop where the checkpoint was taken, but for the weights and their moments.
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

// compatible refuses a checkpoint, which lies in dir, of another run.
func (s *saved) compatible(c *config.Config, dir string, me *identity.Identity, plan Plan) error {
	seed, batch := uint64(c.Training.Seed), plan.shape()
	switch {
	case s.Identity != nil:
		if other := identity.Differing(s.Identity.Run, me.Run); len(other) > 0 {
			return c.Errorf("output_dir", "resume from %s: it is of another run: %s; give these back, or name another output_dir", dir, strings.Join(other, "; "))
		}
	case s.Seed != seed:
		return c.Errorf("seed", "resume from %s: the checkpoint was trained with seed %d, not %d", dir, s.Seed, seed)
	case s.Batch != batch:
		return c.Errorf("per_device_train_batch_size", "resume from %s: the checkpoint was trained with per_device_train_batch_size %d and gradient_accumulation_steps %d, not %d and %d",
			dir, s.Batch[0], s.Batch[1], batch[0], batch[1])
	case slices.ContainsFunc(s.Window.Rows, func(row int) bool { return row >= plan.Rows }):
		return c.Errorf("dataset", "resume from %s: the checkpoint knows more rows than the %d that there are: it is of another dataset", dir, plan.Rows)
	}
	return nil
}

// sayChanges names what a run that goes on does otherwise than before.
func (s *saved) sayChanges(me *identity.Identity, log *slog.Logger) {
	if s.Identity == nil {
		log.Warn("the checkpoint is of an earlier version of this program, which did not note model, rows and method: that they are the same is taken on trust")
		return
	}
	for _, change := range identity.Differing(s.Identity.Settings, me.Settings) {
		log.Warn("the run goes on with another setting", "key", change)
	}
	if s.Identity.Machine != me.Machine {
		log.Warn("another instruction set goes on with the run: its last bits may differ", "was", s.Identity.Machine, "is", me.Machine)
	}
}
