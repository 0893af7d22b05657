package jinja

import "unicode"

// tests are the tests that may follow `is`.
var tests = map[string]func(v any, a called) bool{
	"defined":     func(v any, _ called) bool { _, u := v.(undefined); return !u },
	"undefined":   func(v any, _ called) bool { _, u := v.(undefined); return u },
	"none":        func(v any, _ called) bool { return v == nil },
	"boolean":     func(v any, _ called) bool { _, ok := v.(bool); return ok },
	"true":        func(v any, _ called) bool { return v == true },
	"false":       func(v any, _ called) bool { return v == false },
	"integer":     func(v any, _ called) bool { _, ok := v.(int64); return ok },
	"float":       func(v any, _ called) bool { _, ok := v.(float64); return ok },
	"number":      func(v any, _ called) bool { _, ok := number(v); return ok },
	"string":      func(v any, _ called) bool { _, ok := asString(v); return ok },
	"mapping":     func(v any, _ called) bool { return isDict(v) },
	"iterable":    iterable,
	"sequence":    sequence,
	"callable":    func(v any, _ called) bool { _, ok := v.(*function); return ok },
	"odd":         func(v any, _ called) bool { return equal(binary("%", v, int64(2)), int64(1)) },
	"even":        func(v any, _ called) bool { return equal(binary("%", v, int64(2)), int64(0)) },
	"divisibleby": func(v any, a called) bool { return equal(binary("%", v, a.get(0, "num", nil)), int64(0)) },
	"eq":          isEqual,
	"equalto":     isEqual,
	"==":          isEqual,
	"ne":          func(v any, a called) bool { return !isEqual(v, a) },
	"!=":          func(v any, a called) bool { return !isEqual(v, a) },
	"lt":          func(v any, a called) bool { return compare(v, a.get(0, "other", nil)) < 0 },
	"lessthan":    func(v any, a called) bool { return compare(v, a.get(0, "other", nil)) < 0 },
	"le":          func(v any, a called) bool { return compare(v, a.get(0, "other", nil)) <= 0 },
	"gt":          func(v any, a called) bool { return compare(v, a.get(0, "other", nil)) > 0 },
	"greaterthan": func(v any, a called) bool { return compare(v, a.get(0, "other", nil)) > 0 },
	"ge":          func(v any, a called) bool { return compare(v, a.get(0, "other", nil)) >= 0 },
	"in":          func(v any, a called) bool { return contains(a.get(0, "seq", nil), v) },
	"sameas":      func(v any, a called) bool { return typeName(v) == typeName(a.get(0, "other", nil)) && isEqual(v, a) },
	"escaped":     func(v any, _ called) bool { _, ok := v.(safe); return ok },
	"lower":       func(v any, _ called) bool { return cased(text(v), unicode.IsUpper, unicode.IsLower) },
	"upper":       func(v any, _ called) bool { return cased(text(v), unicode.IsLower, unicode.IsUpper) },
	"filter":      func(v any, _ called) bool { _, ok := filters[hashed(v)]; return ok },
}

func init() { // it asks the table, which therefore cannot hold it from the start
	tests["test"] = func(v any, _ called) bool { _, ok := tests[hashed(v)]; return ok }
}

// hashed is a value's text, which is looked up in a table: lists and mappings cannot be.
func hashed(v any) string {
	if l, isList := v.(*list); isDict(v) || isList && !l.tuple && l.listType() != "range" {
		raise("TypeError", "unhashable type: '%s'", typeName(v))
	}
	return text(v)
}

func isEqual(v any, a called) bool { return equal(v, a.get(0, "other", nil)) }

func iterable(v any, _ called) bool {
	switch v.(type) {
	case *list, *dict, *iterator, undefined, string, safe:
		return true
	}
	return false
}

// sequence is whatever has a length and items.
func sequence(v any, a called) bool {
	if l, ok := v.(*list); ok {
		return !l.isView()
	}
	_, once := v.(*iterator)
	return !once && iterable(v, a)
}

// cased is str.islower and str.isupper: at least one letter of one case and none of the other.
func cased(s string, not, has func(rune) bool) bool {
	found := false
	for _, r := range s {
		if not(r) || unicode.IsTitle(r) {
			return false
		}
		found = found || has(r)
	}
	return found
}
