package report

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
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
	if err := storage.WriteFile(identityPath(dir, step), []byte(pyjson.Encode(pyjson.Object{{Key: "key", Value: f.Key}}, 0)+"\n")); err != nil {
		return err
	}
	metric := pyjson.Object{}
	for k, v := range f.Metric {
		metric = append(metric, pyjson.Field{Key: k, Value: v})
	}
	for k, v := range f.Facts {
		metric = append(metric, pyjson.Field{Key: k, Value: v})
	}
	return storage.WriteFile(stepPath(dir, step), []byte(pyjson.EncodeASCII(pyjson.Object{{Key: "indices", Value: f.Indices}, {Key: "metric", Value: metric.Sorted()}}, 4)))
}

// ReadStepFile reads a selection made under the same key. ok is false where there
// is none; other says that there is one, of another run.
func ReadStepFile(dir string, step int, key string) (f StepFile, ok, other bool) {
	raw, err := os.ReadFile(stepPath(dir, step))
	if err != nil {
		return f, false, false
	}
	side, err := os.ReadFile(identityPath(dir, step))
	if err != nil {
		return f, false, true
	}
	if id, err := pyjson.DecodeObject(side); err != nil || id.Get("key") != key {
		return f, false, true
	}
	body, err := pyjson.DecodeObject(raw)
	if err != nil {
		return f, false, true
	}
	f = StepFile{Metric: map[string][]float64{}, Facts: map[string]any{}, Key: key}
	metric, isObject := body.Get("metric").(pyjson.Object)
	indices, isList := numbers[int](body.Get("indices"))
	if !isObject || !isList {
		return StepFile{}, false, true
	}
	f.Indices = indices
	for _, m := range metric {
		if perRow, ok := numbers[float64](m.Value); ok {
			f.Metric[m.Key] = perRow
		} else {
			f.Facts[m.Key] = m.Value
		}
	}
	return f, true, false
}

// numbers is a decoded list all of whose entries are of one kind of number; ok is
// false for anything else. Metrics may hold NaN.
func numbers[T int | float64](v any) (out []T, ok bool) {
	list, ok := v.([]any)
	if !ok {
		return nil, false
	}
	out = make([]T, len(list))
	for i, e := range list {
		if out[i], ok = e.(T); !ok {
			return nil, false
		}
	}
	return out, true
}
