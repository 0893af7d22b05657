// Package report writes what a run leaves for people and scripts to read: the
// files LLaMA-Factory writes, with its field names and its number formats, and
// what was selected and why.
package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Field is one key of an ordered JSON object.
type Field struct {
	Key   string
	Value any
}

// Object is a JSON object whose keys keep their order.
type Object []Field

// Get is the value of a key, nil where it is absent.
func (o Object) Get(key string) any {
	for _, f := range o {
		if f.Key == key {
			return f.Value
		}
	}
	return nil
}

// Set replaces or appends a key.
func (o *Object) Set(key string, value any) {
	for i := range *o {
		if (*o)[i].Key == key {
			(*o)[i].Value = value
			return
		}
	}
	*o = append(*o, Field{key, value})
}

// Sorted is the object with its keys in alphabetical order.
func (o Object) Sorted() Object {
	s := slices.Clone(o)
	slices.SortFunc(s, func(a, b Field) int { return strings.Compare(a.Key, b.Key) })
	return s
}

// Encode writes a value as Python's json.dumps does with ensure_ascii false:
// indent 0 gives one line with ", " and ": ". Values are nil, bool, int, float64,
// string, Object, and slices of these.
func Encode(v any, indent int) string {
	var b strings.Builder
	encode(&b, v, indent, 0)
	return b.String()
}

func encode(b *strings.Builder, v any, indent, depth int) {
	switch v := v.(type) {
	case nil:
		b.WriteString("null")
	case bool:
		b.WriteString(strconv.FormatBool(v))
	case int:
		b.WriteString(strconv.Itoa(v))
	case float64:
		b.WriteString(Float(v))
	case string:
		quote(b, v)
	case Object:
		list(b, '{', '}', len(v), indent, depth, func(i int) {
			quote(b, v[i].Key)
			b.WriteString(": ")
			encode(b, v[i].Value, indent, depth+1)
		})
	case []any:
		list(b, '[', ']', len(v), indent, depth, func(i int) { encode(b, v[i], indent, depth+1) })
	case []Object:
		list(b, '[', ']', len(v), indent, depth, func(i int) { encode(b, v[i], indent, depth+1) })
	case []int:
		list(b, '[', ']', len(v), indent, depth, func(i int) { encode(b, v[i], indent, depth+1) })
	case []float64:
		list(b, '[', ']', len(v), indent, depth, func(i int) { encode(b, v[i], indent, depth+1) })
	default:
		panic(fmt.Sprintf("report: a %T cannot be written as JSON", v))
	}
}

func list(b *strings.Builder, open, end byte, n, indent, depth int, item func(i int)) {
	b.WriteByte(open)
	for i := range n {
		switch {
		case indent > 0:
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteByte('\n')
			b.WriteString(strings.Repeat(" ", indent*(depth+1)))
		case i > 0:
			b.WriteString(", ")
		}
		item(i)
	}
	if indent > 0 && n > 0 {
		b.WriteByte('\n')
		b.WriteString(strings.Repeat(" ", indent*depth))
	}
	b.WriteByte(end)
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

func quote(b *strings.Builder, s string) {
	b.WriteByte('"')
	for _, r := range s {
		switch r {
		case '"', '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		case '\b':
			b.WriteString(`\b`)
		case '\f':
			b.WriteString(`\f`)
		default:
			if r < 0x20 {
				fmt.Fprintf(b, `\u%04x`, r)
				continue
			}
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
}

// Round is Python's round(x, digits): correctly rounded decimal, ties to even of
// the exact binary value.
func Round(x float64, digits int) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return x
	}
	r, err := strconv.ParseFloat(strconv.FormatFloat(x, 'f', digits, 64), 64)
	if err != nil {
		panic(err) // FormatFloat's output parses
	}
	return r
}
