package report

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"strconv"

	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
)

// StepFile is a selection stored for other runs, in two files: upstream's step_N.json, which is
// for people and upstream's programs, and selection_KEY.json, the only one that is read here:
// key and rows are in one file with a checksum, and every selection of a cache_dir has its own.
type StepFile struct {
	Indices []int
	Metric  map[string][]float64
	Facts   map[string]any // entries of metric that are not per row: numbers, words
	Key     string         // hash of everything that the choice depends on
}

func stepPath(dir string, step int) string {
	return filepath.Join(dir, fmt.Sprintf("step_%d.json", step))
}

// keyedPath does not match the pattern step_N.json, so that upstream's readers ignore it.
func keyedPath(dir, key string) string {
	return filepath.Join(dir, "selection_"+key[:min(32, len(key))]+".json")
}

// checksumKey begins the last member of a stored selection: the CRC32C of everything before it.
const checksumKey = `, "crc32c": `

// WriteStepFile stores a selection for ReadStepFile.
func WriteStepFile(dir string, step int, f StepFile) error {
	if err := storage.MkdirAll(dir); err != nil {
		return fmt.Errorf("selection: %w", err)
	}
	body := pyjson.Encode(append(pyjson.Object{{Key: "key", Value: f.Key}, {Key: "step", Value: step}}, f.body()...), 0)
	body = body[:len(body)-1] // without the closing brace
	text := fmt.Appendf(nil, "%s%s%d}\n", body, checksumKey, crc32.Checksum([]byte(body), storage.Castagnoli))
	return storage.WriteFile(keyedPath(dir, f.Key), text)
}

// WriteUpstream writes step_N.json unless it exists.
func (f StepFile) WriteUpstream(dir string, step int) error {
	text := []byte(pyjson.EncodeASCII(f.body(), 4))
	if was, err := storage.ReadFile(stepPath(dir, step)); err == nil && bytes.Equal(was, text) {
		return nil
	}
	return storage.WriteFile(stepPath(dir, step), text)
}

// body is the content of step_N.json.
func (f StepFile) body() pyjson.Object {
	metric := pyjson.Object{}
	for k, v := range f.Metric {
		metric = append(metric, pyjson.Field{Key: k, Value: v})
	}
	for k, v := range f.Facts {
		metric = append(metric, pyjson.Field{Key: k, Value: v})
	}
	return pyjson.Object{{Key: "indices", Value: f.Indices}, {Key: "metric", Value: metric.Sorted()}}
}

// ReadStepFile reads the selection with this key from a pool of that many rows. ok is false
// where there is none; an error means that it exists but is not valid.
func ReadStepFile(dir, key string, rows int) (f StepFile, ok bool, err error) {
	path := keyedPath(dir, key)
	raw, err := storage.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, false, nil
	}
	if err != nil {
		return f, false, err
	}
	if f, err = decodeSelection(raw, key, rows); err != nil {
		return StepFile{}, false, fmt.Errorf("%s: %w", path, err)
	}
	return f, true, nil
}

func decodeSelection(raw []byte, key string, rows int) (f StepFile, err error) {
	at := bytes.LastIndex(raw, []byte(checksumKey))
	if at < 0 || string(raw[at:]) != checksumKey+strconv.FormatUint(uint64(crc32.Checksum(raw[:at], storage.Castagnoli)), 10)+"}\n" {
		return f, errors.New("it is damaged: its content does not match its checksum")
	}
	body, err := pyjson.DecodeObject(raw)
	if err != nil {
		return f, err
	}
	if body.Get("key") != key {
		return f, errors.New("it has another key")
	}
	f = StepFile{Metric: map[string][]float64{}, Facts: map[string]any{}, Key: key}
	metric, isObject := body.Get("metric").(pyjson.Object)
	indices, isList := numbers[int](body.Get("indices"))
	if !isObject || !isList {
		return f, errors.New("indices or metric are missing")
	}
	for _, i := range indices {
		if i < 0 || i >= rows {
			return f, fmt.Errorf("there is no row %d of %d", i, rows)
		}
	}
	f.Indices = indices
	for _, m := range metric {
		if perRow, ok := numbers[float64](m.Value); ok {
			f.Metric[m.Key] = perRow
		} else {
			f.Facts[m.Key] = m.Value
		}
	}
	return f, nil
}

// LockSelection waits until no other run is making the selection of that key. waiting is called
// once if it has to wait.
func LockSelection(ctx context.Context, dir, key string, waiting func(*storage.Held)) (*storage.Lock, error) {
	if err := storage.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("selection: %w", err)
	}
	return storage.WaitLock(ctx, keyedPath(dir, key)+".lock", waiting)
}

// numbers is a decoded list whose entries are all of the same kind of number; ok is false for
// anything else. Metrics may contain NaN.
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
