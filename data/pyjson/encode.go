package pyjson

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
)

// Encode writes a value as Python's json.dumps does with ensure_ascii false:
// indent 0 gives one line with ", " and ": ". Values are nil, bool, int, float64,
// string, Object, maps by string (their keys sorted), and slices of these; others
// are a programmer error.
func Encode(v any, indent int) string {
	w := writer{indent: indent}
	w.value(v, 0)
	return w.String()
}

// EncodeASCII is Encode with json.dumps's own default, ensure_ascii true, which is
// what Hugging Face and LLaMA-Factory write their files with.
func EncodeASCII(v any, indent int) string {
	w := writer{indent: indent, ascii: true}
	w.value(v, 0)
	return w.String()
}

type writer struct {
	strings.Builder
	indent int
	ascii  bool
}

func (w *writer) value(v any, depth int) {
	switch v := v.(type) {
	case nil:
		w.WriteString("null")
	case bool:
		w.WriteString(strconv.FormatBool(v))
	case int:
		w.WriteString(strconv.Itoa(v))
	case float64:
		w.WriteString(Float(v))
	case Number:
		w.WriteString(string(v))
	case string:
		w.quote(v)
	case Object:
		w.list('{', '}', len(v), depth, func(i int) {
			w.quote(v[i].Key)
			w.WriteString(": ")
			w.value(v[i].Value, depth+1)
		})
	case map[string]any:
		writeMap(w, v, depth)
	case map[string]int:
		writeMap(w, v, depth)
	case map[string]float64:
		writeMap(w, v, depth)
	case []any:
		writeSlice(w, v, depth)
	case []Object:
		writeSlice(w, v, depth)
	case []bool:
		writeSlice(w, v, depth)
	case []int:
		writeSlice(w, v, depth)
	case []float64:
		writeSlice(w, v, depth)
	case []string:
		writeSlice(w, v, depth)
	default:
		panic(fmt.Sprintf("pyjson: a %T cannot be written as JSON", v))
	}
}

func writeSlice[T any](w *writer, s []T, depth int) {
	w.list('[', ']', len(s), depth, func(i int) { w.value(s[i], depth+1) })
}

func writeMap[T any](w *writer, m map[string]T, depth int) {
	o := make(Object, 0, len(m))
	for k, v := range m {
		o = append(o, Field{k, v})
	}
	w.value(o.Sorted(), depth)
}

func (w *writer) list(open, end byte, n, depth int, item func(i int)) {
	w.WriteByte(open)
	for i := range n {
		switch {
		case w.indent > 0:
			if i > 0 {
				w.WriteByte(',')
			}
			w.line(depth + 1)
		case i > 0:
			w.WriteString(", ")
		}
		item(i)
	}
	if w.indent > 0 && n > 0 {
		w.line(depth)
	}
	w.WriteByte(end)
}

func (w *writer) line(depth int) {
	w.WriteByte('\n')
	for range w.indent * depth {
		w.WriteByte(' ')
	}
}

// Float writes a number as Python's repr does.
func Float(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	case f == 0 || math.Abs(f) >= 1e-4 && math.Abs(f) < 1e16:
		s := strconv.FormatFloat(f, 'f', -1, 64)
		if !strings.ContainsRune(s, '.') {
			s += ".0"
		}
		return s
	}
	return strconv.FormatFloat(f, 'e', -1, 64)
}

func (w *writer) quote(s string) {
	w.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			w.WriteByte('\\')
			w.WriteRune(r)
		case r == '\n':
			w.WriteString(`\n`)
		case r == '\r':
			w.WriteString(`\r`)
		case r == '\t':
			w.WriteString(`\t`)
		case r == '\b':
			w.WriteString(`\b`)
		case r == '\f':
			w.WriteString(`\f`)
		case r > 0xffff && w.ascii:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(w, `\u%04x\u%04x`, high, low)
		case r < 0x20 || r > 0x7e && w.ascii:
			fmt.Fprintf(w, `\u%04x`, r)
		default:
			w.WriteRune(r)
		}
	}
	w.WriteByte('"')
}
