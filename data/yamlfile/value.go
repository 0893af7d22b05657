// Package yamlfile reads configuration files as OmegaConf does, with which LLaMA-Factory and
// DataFlex read theirs: YAML 1.1 scalars with 1e-4 a float, duplicate keys refused, key=value
// overrides merged over the file. Every value knows its position, so that an error about it can
// point there.
package yamlfile

import (
	"fmt"
	"math/big"
	"strconv"
)

// Kind is the type of a value.
type Kind uint8

// The kinds of a value.
const (
	Null Kind = iota
	Bool
	Int
	Float
	String
	List
	Map
)

// String names the kind in a user's words.
func (k Kind) String() string {
	return [...]string{"null", "bool", "int", "float", "string", "list", "map"}[k]
}

// Value is one node of a document.
type Value struct {
	Kind  Kind
	Pos   Position
	Bool  bool     // of a Bool
	Float float64  // of a Float
	Str   string   // of a String
	Text  string   // of a scalar: as written, without quotes
	Items []*Value // of a List

	integer *big.Int // of an Int
	entries []Entry  // of a Map, in the order of the file
}

// Entry is one key of a map.
type Entry struct {
	Key   string
	Pos   Position // of the key
	Value *Value
}

// Entries returns a map's entries in the order of the file, overrides last.
func (v *Value) Entries() []Entry { return v.entries }

// Get finds a map's entry by its key.
func (v *Value) Get(key string) (Entry, bool) {
	for _, e := range v.entries {
		if e.Key == key {
			return e, true
		}
	}
	return Entry{}, false
}

// Int64 is an Int's value; false when it does not fit.
func (v *Value) Int64() (int64, bool) {
	if v.Kind != Int || !v.integer.IsInt64() {
		return 0, false
	}
	return v.integer.Int64(), true
}

// Number is the value of an Int or a Float.
func (v *Value) Number() (float64, bool) {
	switch v.Kind {
	case Int:
		f, _ := new(big.Float).SetInt(v.integer).Float64()
		return f, true
	case Float:
		return v.Float, true
	}
	return 0, false
}

// Any converts to plain Go values: nil, bool, int64 (*big.Int where it does not fit), float64,
// string, []any, map[string]any.
func (v *Value) Any() any {
	switch v.Kind {
	case Bool:
		return v.Bool
	case Int:
		if i, ok := v.Int64(); ok {
			return i
		}
		return new(big.Int).Set(v.integer)
	case Float:
		return v.Float
	case String:
		return v.Str
	case List:
		out := make([]any, len(v.Items))
		for i, item := range v.Items {
			out[i] = item.Any()
		}
		return out
	case Map:
		out := make(map[string]any, len(v.entries))
		for _, e := range v.entries {
			out[e.Key] = e.Value.Any()
		}
		return out
	}
	return nil
}

// Describe describes the value for messages such as "expected a number, got string 'abc'".
func (v *Value) Describe() string {
	switch v.Kind {
	case Bool:
		return "bool " + strconv.FormatBool(v.Bool)
	case Int:
		return "int " + shorten(v.integer.String())
	case Float:
		return "float " + strconv.FormatFloat(v.Float, 'g', -1, 64)
	case String:
		return fmt.Sprintf("string '%s'", shorten(v.Str))
	case List:
		return fmt.Sprintf("a list of %d", len(v.Items))
	case Map:
		return fmt.Sprintf("a map of %d keys", len(v.entries))
	}
	return "null"
}

// shorten shortens a text for a message.
func shorten(s string) string {
	const long = 60
	if r := []rune(s); len(r) > long {
		return string(r[:long]) + "..."
	}
	return s
}

// set adds an entry or replaces the one of the same key.
func (v *Value) set(e Entry) {
	for i := range v.entries {
		if v.entries[i].Key == e.Key {
			v.entries[i] = e
			return
		}
	}
	v.entries = append(v.entries, e)
}

// Merge merges over into v: maps are merged key by key, everything else is replaced.
func (v *Value) Merge(over *Value) {
	if v.Kind != Map || over.Kind != Map {
		*v = *over
		return
	}
	for _, e := range over.entries {
		if old, ok := v.Get(e.Key); ok && old.Value.Kind == Map && e.Value.Kind == Map {
			merged := *old.Value
			merged.entries = append([]Entry(nil), old.Value.entries...)
			merged.Merge(e.Value)
			e.Value = &merged
		}
		v.set(e)
	}
}
