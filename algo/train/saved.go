package train

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"dataflex.dev/dataflex/algo/curriculum"
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
	Skipped        map[int]int         `json:"skipped,omitempty"` // times that rows were left out of a step
	Plateau        *optim.PlateauState `json:"plateau,omitempty"`
	Identity       *identity           `json:"identity,omitempty"`       // nil in version 1
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
func readSaved(dir string) (s saved, err error) {
	path := filepath.Join(dir, storage.StateFile)
	raw, err := storage.ReadFile(path)
	if err != nil {
		return s, fmt.Errorf("resume: %s is no checkpoint of ours: %w", dir, err)
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("resume: %s: %w", path, err)
	}
	switch s.Version {
	case savedVersion:
		return s, nil
	case 1:
		if err := s.readV1(raw); err != nil {
			return s, fmt.Errorf("resume: %s: %w", path, err)
		}
		return s, nil
	}
	return s, fmt.Errorf("resume: %s has version %d, this program reads 1 and %d", path, s.Version, savedVersion)
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
