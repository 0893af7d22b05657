// Package pyjson reads and writes JSON as Python's json module does: what transformers,
// PEFT, LLaMA-Factory and DataFlex leave on disk and put into prompts.
//
// A value is nil, a bool, an int, a float64, a Number, a string, a []any or an Object. It
// imports nothing of the project, so that data, model, algo and tools may all use it.
package pyjson

import (
	"slices"
	"strings"
)

// Field is one key of an Object.
type Field struct {
	Key   string
	Value any
}

// Object is a JSON object whose keys keep their order.
type Object []Field

// Number is an integer too large for an int, in decimal digits.
type Number string

// Lookup is the value of a key; false where it is absent.
func (o Object) Lookup(key string) (any, bool) {
	for _, f := range o {
		if f.Key == key {
			return f.Value, true
		}
	}
	return nil, false
}

// Get is the value of a key, nil where it is absent.
func (o Object) Get(key string) any {
	v, _ := o.Lookup(key)
	return v
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

// Sorted is the object with its keys, and those of nested objects, sorted as by sort_keys.
func (o Object) Sorted() Object {
	s := slices.Clone(o)
	slices.SortStableFunc(s, func(a, b Field) int { return strings.Compare(a.Key, b.Key) })
	for i := range s {
		s[i].Value = sorted(s[i].Value)
	}
	return s
}

func sorted(v any) any {
	switch v := v.(type) {
	case Object:
		return v.Sorted()
	case []Object:
		out := make([]Object, len(v))
		for i := range v {
			out[i] = v[i].Sorted()
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = sorted(v[i])
		}
		return out
	}
	return v // maps are always written sorted
}
