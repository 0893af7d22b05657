package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"dataflex/model/checkpoint"
)

// StepFile is upstream's step_N.json and, beside it, what the choice depends on.
type StepFile struct {
	Indices []int
	Metric  map[string][]float64
	Facts   map[string]any // entries of metric that are not per row: numbers, words
	Key     string         // of everything the choice depends on, by content
}

func stepPath(dir string, step int) string {
	return filepath.Join(dir, fmt.Sprintf("step_%d.json", step))
}

// identityPath is beside the step file and not of its name pattern, so that
// upstream's readers do not take it for a selection.
func identityPath(dir string, step int) string {
	return filepath.Join(dir, fmt.Sprintf("identity_%d.json", step))
}

// WriteStepFile writes a selection as upstream does. The identity goes first: a
// step file is never seen beside an identity that is not its own.
func WriteStepFile(dir string, step int, f StepFile) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("selection: %w", err)
	}
	if err := os.Remove(stepPath(dir, step)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("selection: %w", err)
	}
	if err := checkpoint.WriteFile(identityPath(dir, step), []byte(Encode(Object{{"key", f.Key}}, 0)+"\n")); err != nil {
		return err
	}
	metric := Object{}
	for k, v := range f.Metric {
		metric = append(metric, Field{k, v})
	}
	for k, v := range f.Facts {
		metric = append(metric, Field{k, v})
	}
	return checkpoint.WriteFile(stepPath(dir, step), []byte(Encode(Object{{"indices", f.Indices}, {"metric", metric.Sorted()}}, 4)))
}

// ReadStepFile reads a selection made under the same key. ok is false where there
// is none; other says that there is one, of another run.
func ReadStepFile(dir string, step int, key string) (f StepFile, ok, other bool) {
	raw, err := os.ReadFile(stepPath(dir, step))
	if err != nil {
		return f, false, false
	}
	side, err := os.ReadFile(identityPath(dir, step))
	var id struct {
		Key string `json:"key"`
	}
	if err != nil || json.Unmarshal(side, &id) != nil || id.Key != key {
		return f, false, true
	}
	var body struct {
		Indices []int                      `json:"indices"`
		Metric  map[string]json.RawMessage `json:"metric"`
	}
	if json.Unmarshal(raw, &body) != nil {
		return f, false, true
	}
	f = StepFile{Indices: body.Indices, Metric: map[string][]float64{}, Facts: map[string]any{}, Key: key}
	for k, v := range body.Metric {
		var perRow []float64
		if json.Unmarshal(v, &perRow) == nil {
			f.Metric[k] = perRow
			continue
		}
		var fact any
		if json.Unmarshal(v, &fact) == nil {
			f.Facts[k] = fact
		}
	}
	return f, true, false
}
