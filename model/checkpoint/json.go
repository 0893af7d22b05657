package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"dataflex.dev/dataflex/data/storage"
)

// formatJSON writes v as Python's json.dumps(v, indent=indent, sort_keys=True)
// does, without a trailing newline: transformers and peft write their configs so. v is made of nil, bool, string, int, float64, json.Number
// (written as it stands), []any, []string and map[string]any; anything else
// panics.
func formatJSON(v any, indent int) []byte {
	var b bytes.Buffer
	writeJSON(&b, v, strings.Repeat(" ", indent), "\n")
	return b.Bytes()
}

// writeJSON writes v; newline is "\n" and the indentation v stands at.
func writeJSON(b *bytes.Buffer, v any, indent, newline string) {
	switch v := v.(type) {
	case nil:
		b.WriteString("null")
	case bool:
		b.WriteString(strconv.FormatBool(v))
	case int:
		b.WriteString(strconv.Itoa(v))
	case float64:
		b.WriteString(pythonFloat(v))
	case json.Number:
		b.WriteString(v.String())
	case string:
		writePythonString(b, v)
	case []string:
		writeList(b, len(v), newline+indent, newline, "[]", func(i int) { writePythonString(b, v[i]) })
	case []any:
		writeList(b, len(v), newline+indent, newline, "[]", func(i int) { writeJSON(b, v[i], indent, newline+indent) })
	case map[string]any:
		keys := slices.Sorted(maps.Keys(v))
		writeList(b, len(keys), newline+indent, newline, "{}", func(i int) {
			writePythonString(b, keys[i])
			b.WriteString(": ")
			writeJSON(b, v[keys[i]], indent, newline+indent)
		})
	default:
		panic(fmt.Sprintf("checkpoint: formatJSON of %T", v))
	}
}

// writeList writes n items between brackets, one a line.
func writeList(b *bytes.Buffer, n int, inner, outer, brackets string, item func(i int)) {
	if n == 0 {
		b.WriteString(brackets)
		return
	}
	b.WriteByte(brackets[0])
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(inner)
		item(i)
	}
	b.WriteString(outer)
	b.WriteByte(brackets[1])
}

// pythonFloat is repr(float): the shortest digits that read back, an exponent
// below 1e-4 and from 1e16 on, always a point or an exponent.
func pythonFloat(f float64) string {
	e := strconv.FormatFloat(f, 'e', -1, 64)
	i := strings.IndexByte(e, 'e')
	if i < 0 { // NaN and infinities, spelt as Python does
		return map[string]string{"NaN": "NaN", "+Inf": "Infinity", "-Inf": "-Infinity"}[e]
	}
	if exp, _ := strconv.Atoi(e[i+1:]); exp < -4 || exp >= 16 {
		return e
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// writePythonString quotes s in ASCII, as json.dumps does.
func writePythonString(b *bytes.Buffer, s string) {
	escapes := map[rune]string{'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\b': `\b`, '\f': `\f`}
	b.WriteByte('"')
	for _, r := range s {
		switch e, ok := escapes[r]; {
		case ok:
			b.WriteString(e)
		case r >= 0x20 && r < 0x7f:
			b.WriteRune(r)
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(b, `\u%04x\u%04x`, hi, lo)
		case r == 0x7f:
			b.WriteRune(r)
		default:
			fmt.Fprintf(b, `\u%04x`, r)
		}
	}
	b.WriteByte('"')
}

// fields reads typed values out of a JSON object and keeps the first error,
// which names the file and the key.
type fields struct {
	path string
	raw  map[string]any
	err  error
}

// readFields parses a file that must hold one JSON object; numbers keep their text.
func readFields(path string) (*fields, error) {
	text, err := storage.ReadFile(path)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	f := &fields{path: path}
	if err := d.Decode(&f.raw); err != nil {
		return nil, fmt.Errorf("%s: not a JSON object: %w", path, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: text after the JSON object", path)
	}
	if f.raw == nil {
		return nil, fmt.Errorf("%s: not a JSON object", path)
	}
	return f, nil
}

// fail keeps the first error.
func (f *fields) fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf("%s: "+format, append([]any{f.path}, args...)...)
	}
}

// has tells a present value that is not null.
func (f *fields) has(key string) bool { return f.raw[key] != nil }

// value gives the raw value of a key that is present and not null.
func value[T any](f *fields, key, want string, def T) T {
	v := f.raw[key]
	if v == nil {
		return def
	}
	t, ok := v.(T)
	if !ok {
		f.fail("%s is %s, want %s", key, formatJSON(v, 0), want)
		return def
	}
	return t
}

func (f *fields) string(key, def string) string  { return value(f, key, "a string", def) }
func (f *fields) bool(key string, def bool) bool { return value(f, key, "true or false", def) }

func (f *fields) float(key string, def float64) float64 {
	n := value(f, key, "a number", json.Number(""))
	if n == "" {
		return def
	}
	v, err := n.Float64()
	if err != nil {
		f.fail("%s is %s, out of range", key, n)
	}
	return v
}

// int reads an integer; 16.0 counts as one, as it does in Python.
func (f *fields) int(key string, def int) int {
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

// positive reads an integer that must be there and at least 1.
func (f *fields) positive(key string) int {
	if !f.has(key) {
		f.fail("%s is missing", key)
		return 1
	}
	return f.atLeast1(key, f.int(key, 1))
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
			f.fail("%s holds %s, want strings", key, formatJSON(v, 0))
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
