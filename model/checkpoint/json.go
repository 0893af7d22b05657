package checkpoint

import (
	"fmt"
	"math"
	"strconv"

	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
)

// formatJSON writes v as json.dumps(v, indent=indent, sort_keys=True) does, as transformers
// and peft write their configs.
func formatJSON(v map[string]any, indent int) []byte { return []byte(pyjson.EncodeASCII(v, indent)) }

// fields reads typed values out of a JSON object and keeps the first error, which names the
// file and the key.
type fields struct {
	path    string
	raw     map[string]any
	renamed map[string]string // the spelling of keys that the file spells differently
	err     error
}

// readFields parses a file that must hold one JSON object.
func readFields(path string) (*fields, error) {
	text, err := storage.ReadInput(path, maxConfig)
	if err != nil {
		return nil, err
	}
	o, err := pyjson.DecodeObject(text)
	if err != nil {
		return nil, fmt.Errorf("%s: not a JSON object: %w", path, err)
	}
	return &fields{path: path, raw: unordered(o).(map[string]any)}, nil
}

// unordered converts objects to maps: sort_keys orders the output.
func unordered(v any) any {
	switch v := v.(type) {
	case pyjson.Object:
		m := make(map[string]any, len(v))
		for _, f := range v {
			m[f.Key] = unordered(f.Value)
		}
		return m
	case []any:
		for i := range v {
			v[i] = unordered(v[i])
		}
	}
	return v
}

// fail keeps the first error.
func (f *fields) fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf("%s: "+format, append([]any{f.path}, args...)...)
	}
}

// take keeps the first error of a nested object.
func (f *fields) take(nested *fields) {
	if nested.err != nil && f.err == nil {
		f.err = nested.err
	}
}

// spelled is the file's spelling of a key.
func (f *fields) spelled(key string) string {
	if name, ok := f.renamed[key]; ok {
		return name
	}
	return key
}

// has reports whether a key is present and not null.
func (f *fields) has(key string) bool { return f.raw[f.spelled(key)] != nil }

// value returns the raw value of a key that is present and not null.
func value[T any](f *fields, key, want string, def T) T {
	key = f.spelled(key)
	v := f.raw[key]
	if v == nil {
		return def
	}
	t, ok := v.(T)
	if !ok {
		f.fail("%s is %s, want %s", key, pyjson.EncodeASCII(v, 0), want)
		return def
	}
	return t
}

func (f *fields) string(key, def string) string  { return value(f, key, "a string", def) }
func (f *fields) bool(key string, def bool) bool { return value(f, key, "true or false", def) }

func (f *fields) float(key string, def float64) float64 {
	key = f.spelled(key)
	switch v := f.raw[key].(type) {
	case nil:
		return def
	case int:
		return float64(v)
	case float64:
		if !math.IsInf(v, 0) {
			return v
		}
		f.fail("%s is %v, out of range", key, v)
	case pyjson.Number:
		n, err := strconv.ParseFloat(string(v), 64)
		if err != nil {
			f.fail("%s is %s, out of range", key, v)
		}
		return n
	default:
		f.fail("%s is %s, want a number", key, pyjson.EncodeASCII(v, 0))
	}
	return def
}

// int reads an integer; 16.0 is one, as in Python.
func (f *fields) int(key string, def int) int {
	key = f.spelled(key)
	if !f.has(key) {
		return def
	}
	v := f.float(key, 0)
	if v != float64(int(v)) || v > 1<<53 || v < -(1<<53) {
		f.fail("%s is %v, want an integer", key, f.raw[key])
		return def
	}
	return int(v)
}

// maxConfig bounds a JSON file that describes a model; the largest, the index of a model in
// a thousand files, takes a few MB.
const maxConfig = 64 << 20

// Larger sizes of a model come from a damaged file: those of the largest known models are a
// hundred times smaller. The limits keep products of a few sizes within 64 bits.
const (
	maxSize   = 1 << 24 // widths, heads, experts, the vocabulary
	maxLayers = 1 << 12
	maxTokens = 1 << 31 // positions
)

// size reads an integer from 1 to most; without def (0) the key is required.
func (f *fields) size(key string, def, most int) int {
	key = f.spelled(key)
	if !f.has(key) && def == 0 {
		f.fail("%s is missing", key)
		return 1
	}
	v := f.atLeast1(key, f.int(key, def))
	if v > most {
		f.fail("%s is %d, more than any model has (%d is the limit): the file is damaged", key, v, most)
		return 1
	}
	return v
}

func (f *fields) atLeast1(key string, v int) int {
	if v < 1 {
		f.fail("%s is %d, want at least 1", key, v)
		return 1
	}
	return v
}

// strings reads a list of strings.
func (f *fields) strings(key string) []string {
	list := value[[]any](f, key, "a list of strings", nil)
	out := make([]string, 0, len(list))
	for _, v := range list {
		s, ok := v.(string)
		if !ok {
			f.fail("%s holds %s, want strings", key, pyjson.EncodeASCII(v, 0))
			return nil
		}
		out = append(out, s)
	}
	return out
}

// floats reads a list of numbers.
func (f *fields) floats(key string) []float64 {
	list := value[[]any](f, key, "a list of numbers", nil)
	var out []float64
	for _, v := range list {
		one := &fields{path: f.path, raw: map[string]any{key: v}}
		out = append(out, one.float(key, 0))
		if one.err != nil && f.err == nil {
			f.err = one.err
		}
	}
	return out
}

func (f *fields) ints(key string) []int {
	var out []int
	for _, v := range f.floats(key) {
		if v != float64(int(v)) {
			f.fail("%s holds %v, want integers", key, v)
		}
		out = append(out, int(v))
	}
	return out
}

// object reads a nested object; its errors go to f.
func (f *fields) object(key string) *fields {
	m := value[map[string]any](f, key, "an object or null", nil)
	if m == nil {
		return nil
	}
	return &fields{path: f.path + ": " + key, raw: m}
}
