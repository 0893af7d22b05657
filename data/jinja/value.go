package jinja

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"dataflex.dev/dataflex/data/pyjson"
)

// The values of a template are nil, bool, int64, float64, string, safe, and these.
type (
	// undefined is a missing variable, attribute or item.
	undefined struct{ what string }
	// list is a list or tuple; no template can change one, as in the sandbox.
	list struct {
		items []any
		tuple bool
		group bool   // a pair of groupby, whose parts are also .grouper and .list
		view  string // the type of a view of a dict, or range(0, 3): empty for lists and tuples
	}
	// dict preserves the order of its keys.
	dict struct {
		keys, values []any
		at           map[any]int
	}
	// namespace is an object whose attributes templates may set.
	namespace struct{ vars map[string]any }
	// safe is a text marked by the filter safe: text added to it is HTML-escaped.
	safe string
	// function is a callable value.
	function struct {
		name string
		call func(r *renderer, a called) any
	}
)

// fromGo converts a Go value.
func fromGo(v any) any {
	switch v := v.(type) {
	case int:
		return int64(v)
	case []any:
		out := &list{items: make([]any, len(v))}
		for i, x := range v {
			out.items[i] = fromGo(x)
		}
		return out
	case pyjson.Object:
		d := newDict()
		for _, f := range v {
			d.set(f.Key, fromGo(f.Value))
		}
		return d
	case map[string]any:
		d := newDict()
		for _, k := range slices.Sorted(maps.Keys(v)) {
			d.set(k, fromGo(v[k]))
		}
		return d
	}
	return v
}

func newDict() *dict { return &dict{at: map[any]int{}} }

// key is the identity of a dict key: 1, 1.0 and True are equal.
func key(k any) any {
	switch k := k.(type) {
	case bool:
		if k {
			return int64(1)
		}
		return int64(0)
	case float64:
		if k == math.Trunc(k) && math.Abs(k) < 1<<62 {
			return int64(k)
		}
	case safe:
		return string(k)
	case *list:
		if k.tuple {
			return "\x00tuple" + repr(k)
		}
		raise("TypeError", "unhashable type: 'list'")
	case *dict:
		raise("TypeError", "unhashable type: 'dict'")
	}
	return k
}

func (d *dict) set(k, v any) {
	at := key(k)
	if i, ok := d.at[at]; ok {
		d.values[i] = v
		return
	}
	d.at[at] = len(d.keys)
	d.keys, d.values = append(d.keys, k), append(d.values, v)
}

func (d *dict) get(k any) (any, bool) {
	i, ok := d.at[key(k)]
	if !ok {
		return nil, false
	}
	return d.values[i], true
}

func raise(class, format string, args ...any) {
	panic(&Error{Class: class, Text: fmt.Sprintf(format, args...)})
}

// typeName is Python's name of a value's type.
func typeName(v any) string {
	switch v := v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case int64:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case safe:
		return "Markup"
	case *list:
		return v.listType()
	case *iterator:
		return v.kind
	case *dict:
		return "dict"
	case undefined:
		return "Undefined"
	case *namespace:
		return "Namespace"
	}
	return "function"
}

// truth is bool(v).
func truth(v any) bool {
	switch v := v.(type) {
	case nil, undefined:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case safe:
		return v != ""
	case *list:
		return len(v.items) > 0
	case *dict:
		return len(v.keys) > 0
	}
	return true
}

// text is str(v).
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case safe:
		return string(v)
	case undefined:
		return ""
	}
	return repr(v)
}

// asString returns a str or Markup as a Go string.
func asString(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case safe:
		return string(v), true
	}
	return "", false
}

// repr is repr(v).
func repr(v any) string {
	switch v := v.(type) {
	case safe:
		return "Markup(" + pyjson.Repr(string(v)) + ")"
	case undefined:
		return "Undefined"
	case *namespace:
		d := newDict()
		for _, k := range slices.Sorted(maps.Keys(v.vars)) {
			d.set(k, v.vars[k])
		}
		return "<Namespace " + repr(d) + ">"
	case *function:
		return "<function " + v.name + ">"
	case *iterator:
		return "<" + v.kind + " object>"
	case *list:
		parts := make([]string, len(v.items))
		size := 0
		for i, x := range v.items {
			parts[i] = repr(x)
			size += len(parts[i])
			limit(size)
		}
		switch {
		case v.isView():
			return v.view + "([" + strings.Join(parts, ", ") + "])"
		case v.view != "":
			return v.view
		case !v.tuple:
			return "[" + strings.Join(parts, ", ") + "]"
		case len(parts) == 1:
			return "(" + parts[0] + ",)"
		}
		return "(" + strings.Join(parts, ", ") + ")"
	case *dict:
		parts := make([]string, len(v.keys))
		size := 0
		for i, k := range v.keys {
			parts[i] = repr(k) + ": " + repr(v.values[i])
			size += len(parts[i])
			limit(size)
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case int64:
		return fmt.Sprint(v)
	}
	return pyjson.Repr(v)
}

// limit fails a rendering that would build a text or list larger than mostText.
func limit(size int) {
	if size > mostText {
		raise("MemoryError", "the template builds a text of more than %d MiB", mostText>>20)
	}
}

// toJSON converts v to pyjson's form for json.dumps.
func toJSON(v any) any {
	switch v := v.(type) {
	case nil, bool, string, float64:
		return v
	case int64:
		return int(v)
	case safe:
		return string(v)
	case *list:
		if v.view != "" {
			break
		}
		out := make([]any, len(v.items))
		for i, x := range v.items {
			out[i] = toJSON(x)
		}
		return out
	case *dict:
		out := make(pyjson.Object, 0, len(v.keys))
		for i, k := range v.keys {
			name, isText := asString(k)
			if !isText {
				name = pyjson.Encode(toJSON(k), -1)
			}
			out = append(out, pyjson.Field{Key: name, Value: toJSON(v.values[i])})
		}
		return out
	}
	raise("TypeError", "Object of type %s is not JSON serializable", typeName(v))
	return nil
}

// elements are the results of iterating over v.
func elements(v any) []any {
	switch v := v.(type) {
	case *list:
		return v.items
	case *dict:
		return v.keys
	case *iterator:
		return v.all()
	case undefined:
		return nil
	}
	if s, ok := asString(v); ok {
		out := make([]any, 0, len(s))
		for _, r := range s {
			out = append(out, string(r))
		}
		return out
	}
	raise("TypeError", "'%s' object is not iterable", typeName(v))
	return nil
}

// length is len(v).
func length(v any) int {
	switch v := v.(type) {
	case *list:
		return len(v.items)
	case *dict:
		return len(v.keys)
	case undefined:
		return 0
	}
	if s, ok := asString(v); ok {
		return utf8.RuneCountInString(s)
	}
	raise("TypeError", "object of type '%s' has no len()", typeName(v))
	return 0
}

// number is v as a number: an int64 or a float64.
func number(v any) (any, bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return int64(1), true
		}
		return int64(0), true
	case int64, float64:
		return v, true
	}
	return nil, false
}

func asFloat(v any) float64 {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case float64:
		return v
	}
	return math.NaN()
}

// equal is a == b.
func equal(a, b any) bool {
	if x, ok := number(a); ok {
		y, ok := number(b)
		if !ok {
			return false
		}
		if i, whole := x.(int64); whole {
			if j, whole := y.(int64); whole {
				return i == j
			}
		}
		return asFloat(x) == asFloat(y)
	}
	if x, ok := asString(a); ok {
		y, ok := asString(b)
		return ok && x == y
	}
	switch a := a.(type) {
	case nil:
		return b == nil
	case undefined:
		_, ok := b.(undefined)
		return ok
	case *list:
		b, ok := b.(*list)
		return ok && a.listType() == b.listType() && slices.EqualFunc(a.items, b.items, equal)
	case *dict:
		b, ok := b.(*dict)
		if !ok || len(a.keys) != len(b.keys) {
			return false
		}
		for i, k := range a.keys {
			if v, ok := b.get(k); !ok || !equal(a.values[i], v) {
				return false
			}
		}
		return true
	}
	return a == b
}

// compare orders a and b: -1, 0 or 1; a TypeError where Python defines no order.
func compare(a, b any) int {
	x, xn := number(a)
	y, yn := number(b)
	if xn && yn {
		if i, whole := x.(int64); whole {
			if j, whole := y.(int64); whole {
				return cmpOf(i, j)
			}
		}
		return cmpOf(asFloat(x), asFloat(y))
	}
	s, sn := asString(a)
	t, tn := asString(b)
	if sn && tn {
		return strings.Compare(s, t)
	}
	if p, ok := a.(*list); ok {
		if q, ok := b.(*list); ok && p.tuple == q.tuple && p.view == "" && q.view == "" {
			return slices.CompareFunc(p.items, q.items, func(x, y any) int {
				if equal(x, y) { // also of what has no order
					return 0
				}
				return compare(x, y)
			})
		}
	}
	refuse(a)
	refuse(b)
	raise("TypeError", "'<' not supported between instances of '%s' and '%s'", typeName(a), typeName(b))
	return 0
}

// refuse raises what any use of an undefined value does.
func refuse(v any) {
	if u, ok := v.(undefined); ok {
		raise("UndefinedError", "%s", u.what)
	}
}

func isDict(v any) bool { _, ok := v.(*dict); return ok }

func cmpOf[T int64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// contains is x in v.
func contains(v, x any) bool {
	switch v := v.(type) {
	case *list:
		return slices.ContainsFunc(v.items, func(y any) bool { return equal(x, y) })
	case *dict:
		_, ok := v.get(x)
		return ok
	case *iterator:
		return v.contains(x)
	case undefined:
		return false
	}
	if s, ok := asString(v); ok {
		sub, ok := asString(x)
		if !ok {
			raise("TypeError", "'in <string>' requires string as left operand, not %s", typeName(x))
		}
		return strings.Contains(s, sub)
	}
	raise("TypeError", "argument of type '%s' is not iterable", typeName(v))
	return false
}
