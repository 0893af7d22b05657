package jinja

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// filter is the function after a |, called with the value before it and its arguments.
type filter func(r *renderer, v any, a called) any

var filters map[string]filter

func init() {
	// Filters refer to other filters, so that the table cannot initialise itself.
	filters = map[string]filter{
		"abs": func(_ *renderer, v any, _ called) any {
			if n, ok := number(v); ok && asFloat(n) < 0 {
				return sign(n, true)
			}
			return sign(v, false)
		},
		"attr":    func(_ *renderer, v any, a called) any { return attributeOnly(v, text(a.get(0, "name", ""))) },
		"batch":   batch,
		"slice":   slicesOf,
		"groupby": groupBy,
		"center": func(_ *renderer, v any, a called) any {
			return padded(true, true)(text(v), called{list: []any{a.get(0, "width", int64(80))}})
		},
		"truncate":    truncate,
		"forceescape": func(_ *renderer, v any, _ called) any { return safe(escape(text(v))) },
		"urlencode":   urlencode,
		"capitalize":  func(_ *renderer, v any, _ called) any { return capitalize(text(v)) },
		"count":       func(_ *renderer, v any, _ called) any { return int64(length(v)) },
		"length":      func(_ *renderer, v any, _ called) any { return int64(length(v)) },
		"d":           defaultFilter,
		"default":     defaultFilter,
		"dictsort":    dictsort,
		"e":           func(_ *renderer, v any, _ called) any { return escaped(v) },
		"escape":      func(_ *renderer, v any, _ called) any { return escaped(v) },
		"first":       func(_ *renderer, v any, _ called) any { return end1(v, true) },
		"last":        func(_ *renderer, v any, _ called) any { return end1(v, false) },
		"float":       toFloat,
		"format": func(_ *renderer, v any, a called) any {
			return percent(text(v), &list{items: a.list, tuple: true})
		},
		"indent":     indent,
		"int":        toInt,
		"items":      items,
		"join":       join,
		"list":       func(_ *renderer, v any, _ called) any { return &list{items: slices.Clone(elements(v))} },
		"lower":      func(_ *renderer, v any, _ called) any { return lower(text(v)) },
		"upper":      func(_ *renderer, v any, _ called) any { return upper(text(v)) },
		"map":        mapFilter,
		"max":        func(_ *renderer, v any, a called) any { return extreme(v, a, 1) },
		"min":        func(_ *renderer, v any, a called) any { return extreme(v, a, -1) },
		"reject":     func(r *renderer, v any, a called) any { return choose(r, v, a, false, false) },
		"rejectattr": func(r *renderer, v any, a called) any { return choose(r, v, a, true, false) },
		"select":     func(r *renderer, v any, a called) any { return choose(r, v, a, false, true) },
		"selectattr": func(r *renderer, v any, a called) any { return choose(r, v, a, true, true) },
		"replace": func(_ *renderer, v any, a called) any {
			return replace(text(v), text(a.get(0, "old", "")), text(a.get(1, "new", "")), a.get(2, "count", nil))
		},
		"reverse":   reverse,
		"round":     round,
		"safe":      func(_ *renderer, v any, _ called) any { return safe(text(v)) },
		"sort":      sortFilter,
		"string":    asText,
		"sum":       sum,
		"title":     func(_ *renderer, v any, _ called) any { return title(text(v)) },
		"tojson":    tojson,
		"trim":      trim,
		"unique":    unique,
		"wordcount": wordCount,
	}
}

func defaultFilter(_ *renderer, v any, a called) any {
	_, missing := v.(undefined)
	if missing || truth(a.get(1, "boolean", false)) && !truth(v) {
		return a.get(0, "default_value", "")
	}
	return v
}

func attributeOnly(v any, name string) any {
	refuse(v)
	if m := method(v, name); m != nil {
		return m
	}
	if ns, ok := v.(*namespace); ok {
		if x, ok := ns.vars[name]; ok {
			return x
		}
	}
	return undefined{"no attribute " + name}
}

func escaped(v any) any {
	if s, ok := v.(safe); ok {
		return s
	}
	return safe(escape(text(v)))
}

func asText(_ *renderer, v any, _ called) any {
	if s, ok := v.(safe); ok {
		return s
	}
	return text(v)
}

func end1(v any, first bool) any {
	if it, once := v.(*iterator); once {
		if !first {
			raise("TypeError", "'%s' object is not reversible", it.kind)
		}
		if x, ok := it.next(); ok {
			return x
		}
	}
	e := elements(v)
	switch {
	case len(e) == 0:
		return undefined{"No first or last item, sequence was empty."}
	case first:
		return e[0]
	}
	return e[len(e)-1]
}

// upper and lower are str.upper and str.lower: ß becomes SS, a final sigma ς.
func upper(s string) string { return cases.Upper(language.Und).String(s) }

func lower(s string) string { return cases.Lower(language.Und).String(s) }

func capitalize(s string) string {
	runes := []rune(strings.ToLower(s))
	if len(runes) > 0 {
		runes[0] = unicode.ToTitle(runes[0])
	}
	return string(runes)
}

// title is Jinja's: a word begins after white space, - ( { [ and <.
func title(s string) string {
	start := true
	return strings.Map(func(r rune) rune {
		was := start
		start = unicode.IsSpace(r) || strings.ContainsRune("-({[<", r)
		if was {
			return unicode.ToUpper(r)
		}
		return unicode.ToLower(r)
	}, s)
}

func dictsort(_ *renderer, v any, a called) any {
	d, ok := v.(*dict)
	if !ok {
		refuse(v)
		raise("AttributeError", "'%s' object has no attribute 'items'", typeName(v))
	}
	by := 0
	if text(a.get(1, "by", "key")) == "value" {
		by = 1
	}
	pairs := pairsOf(d)
	sorted(pairs, truth(a.get(2, "reverse", false)), truth(a.get(0, "case_sensitive", false)), func(p any) any { return p.(*list).items[by] })
	return &list{items: pairs}
}

func pairsOf(d *dict) []any {
	out := make([]any, len(d.keys))
	for i, k := range d.keys {
		out[i] = &list{items: []any{k, d.values[i]}, tuple: true}
	}
	return out
}

// sorted orders items by their key under of, stably, as Python's sort does.
func sorted(items []any, reverse, caseSensitive bool, of func(any) any) {
	by := func(v any) any { return folded(of(v), caseSensitive) }
	slices.SortStableFunc(items, func(a, b any) int {
		if reverse {
			return compare(by(b), by(a))
		}
		return compare(by(a), by(b))
	})
}

func items(_ *renderer, v any, _ called) any {
	switch v := v.(type) {
	case undefined:
		return generator(func() []any { return nil })
	case *dict:
		return generator(func() []any { return pairsOf(v) })
	}
	return generator(func() []any {
		raise("TypeError", "Can only get item pairs from a mapping.")
		return nil
	})
}

// path follows an attribute path such as "a.b.0".
func path(v any, attr any) any {
	if n, ok := attr.(int64); ok {
		return item(v, n)
	}
	for _, part := range strings.Split(text(attr), ".") {
		if n, err := strconv.ParseInt(part, 10, 64); err == nil {
			v = item(v, n)
			continue
		}
		v = item(v, part)
	}
	return v
}

// keys follows one or more paths, separated by commas.
func keys(v, attr any, caseSensitive bool) any {
	paths := []any{attr}
	if s, isText := asString(attr); isText {
		paths = nil
		for part := range strings.SplitSeq(s, ",") {
			paths = append(paths, part)
		}
	}
	out := &list{}
	for _, p := range paths {
		out.items = append(out.items, folded(path(v, p), caseSensitive))
	}
	return out
}

func join(_ *renderer, v any, a called) any {
	return joined(v, text(a.get(0, "d", "")), a.get(1, "attribute", nil))
}

// joined joins the texts of v's elements, or of one of their attributes, with a separator.
func joined(v any, separator string, attr any) string {
	var b strings.Builder
	for i, x := range elements(v) {
		if i > 0 {
			b.WriteString(separator)
		}
		if attr != nil {
			x = path(x, attr)
		}
		b.WriteString(text(x))
		limit(b.Len())
	}
	return b.String()
}

func mapFilter(r *renderer, v any, a called) any {
	return generator(func() []any { return mapped(r, v, a) })
}

func mapped(r *renderer, v any, a called) (out []any) {
	var of func(any) any
	if attr := a.get(math.MaxInt, "attribute", nil); attr != nil && len(a.list) == 0 {
		fallback, has := find(a, math.MaxInt, "default")
		of = func(x any) any {
			got := path(x, attr)
			if _, missing := got.(undefined); missing && has {
				return fallback
			}
			return got
		}
	} else {
		if len(a.list) == 0 {
			raise("FilterArgumentError", "map requires a filter argument")
		}
		f, ok := filters[text(a.list[0])]
		if !ok {
			raise("TemplateRuntimeError", "No filter named %q", text(a.list[0]))
		}
		rest := called{list: a.list[1:], names: a.names, named: a.named}
		of = func(x any) any { return f(r, x, rest) }
	}
	if !truth(v) { // as in Jinja, also for None and 0
		return nil
	}
	for _, x := range elements(v) {
		r.step()
		out = append(out, of(x))
	}
	return out
}

// choose implements select, reject, selectattr and rejectattr: by a test of the element or of
// its attribute.
func choose(r *renderer, v any, a called, byAttr, keep bool) any {
	return generator(func() []any { return chosen(r, v, a, byAttr, keep) })
}

func chosen(r *renderer, v any, a called, byAttr, keep bool) (out []any) {
	args := a.list
	of := func(x any) any { return x }
	if byAttr {
		if len(args) == 0 {
			raise("FilterArgumentError", "Missing parameter for attribute name")
		}
		attr := args[0]
		of, args = func(x any) any { return path(x, attr) }, args[1:]
	}
	passes := truth
	if len(args) > 0 {
		t, ok := tests[text(args[0])]
		if !ok {
			raise("TemplateRuntimeError", "No test named %q", text(args[0]))
		}
		rest := called{list: args[1:]}
		passes = func(x any) bool { return t(x, rest) }
	}
	if !truth(v) {
		return nil
	}
	for _, x := range elements(v) {
		r.step()
		if passes(of(x)) == keep {
			out = append(out, x)
		}
	}
	return out
}

func extreme(v any, a called, sense int) any {
	attr, caseSensitive := a.get(1, "attribute", nil), truth(a.get(0, "case_sensitive", false))
	by := func(x any) any {
		if attr != nil {
			x = path(x, attr)
		}
		return folded(x, caseSensitive)
	}
	var best any = undefined{"No aggregated item, sequence was empty."}
	for i, x := range elements(v) {
		if i == 0 || compare(by(x), by(best))*sense > 0 {
			best = x
		}
	}
	return best
}

// replace is str.replace with a count.
func replace(s, old, new string, count any) any {
	n := -1
	if c, ok := number(count); ok && count != nil {
		n = int(asFloat(c))
	}
	hits := strings.Count(s, old)
	if n >= 0 {
		hits = min(hits, n)
	}
	limit(len(s) + hits*max(0, len(new)-len(old)))
	return strings.Replace(s, old, new, n)
}

func reverse(_ *renderer, v any, _ called) any {
	_, once := v.(*iterator)
	if !once && !iterable(v, called{}) {
		raise("FilterArgumentError", "argument must be iterable")
	}
	e := slices.Clone(elements(v))
	slices.Reverse(e)
	if _, ok := asString(v); ok {
		return joined(&list{items: e}, "", nil)
	}
	if once { // Python cannot reverse one, so that Jinja makes a list of it
		return &list{items: e}
	}
	return &iterator{reversedType(v), func() []any { return e }}
}

// reversedType is Python's name of the type of reversed(v).
func reversedType(v any) string {
	switch typeName(v) {
	case "list":
		return "list_reverseiterator"
	case "range":
		return "range_iterator"
	case "dict", "dict_keys":
		return "dict_reversekeyiterator"
	case "dict_items":
		return "dict_reverseitemiterator"
	case "dict_values":
		return "dict_reversevalueiterator"
	}
	return "reversed"
}

func sortFilter(_ *renderer, v any, a called) any {
	out := slices.Clone(elements(v))
	attr, caseSensitive := a.get(2, "attribute", nil), truth(a.get(1, "case_sensitive", false))
	sorted(out, truth(a.get(0, "reverse", false)), caseSensitive, func(x any) any {
		if attr == nil {
			return x
		}
		return keys(x, attr, caseSensitive)
	})
	return &list{items: out}
}

func sum(_ *renderer, v any, a called) any {
	attr := a.get(0, "attribute", nil)
	total := a.get(1, "start", int64(0))
	for _, x := range elements(v) {
		if attr != nil {
			x = path(x, attr)
		}
		total = binary("+", total, x)
	}
	return total
}

func unique(_ *renderer, v any, a called) any {
	attr, caseSensitive := a.get(1, "attribute", nil), truth(a.get(0, "case_sensitive", false))
	return generator(func() (out []any) {
		seen := newDict()
		for _, x := range elements(v) {
			by := x
			if attr != nil {
				by = path(x, attr)
			}
			by = folded(by, caseSensitive)
			if _, known := seen.get(by); !known {
				seen.set(by, true)
				out = append(out, x)
			}
		}
		return out
	})
}

func trim(_ *renderer, v any, a called) any {
	chars := a.get(0, "chars", nil)
	if chars == nil {
		return strings.TrimFunc(text(v), isSpace)
	}
	return strings.Trim(text(v), text(chars))
}

// isSpace is Python's str.isspace for one character.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }
