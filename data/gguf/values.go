package gguf

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// decimal is the float64 with the shortest digits that identify x.
func decimal(x float32) float64 {
	v, err := strconv.ParseFloat(strconv.FormatFloat(float64(x), 'g', -1, 32), 64)
	if err != nil { // NaN and infinities are parsed, too
		return float64(x)
	}
	return v
}

// Keys lists the values' keys, sorted.
func (f *File) Keys() []string { return slices.Sorted(maps.Keys(f.values)) }

// Get returns the value of a key; ok is false where it is absent. A value of another kind than
// T is an error: the kinds are int, float64, bool, string and lists of them.
func Get[T any](f *File, key string) (v T, ok bool, err error) {
	raw, ok := f.values[key]
	if !ok {
		return v, false, nil
	}
	if v, ok = raw.(T); !ok {
		return v, false, fmt.Errorf("%s: %s is a %T, want a %T", f.Path, key, raw, v)
	}
	return v, true, nil
}
