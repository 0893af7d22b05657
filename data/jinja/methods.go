package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// method is the method of v with that name, nil where it has none.
func method(v any, name string) any {
	var call func(a called) any
	switch v := v.(type) {
	case *dict:
		call = dictMethod(v, name)
	case *list:
		call = listMethod(v, name)
	default:
		if s, ok := asString(v); ok {
			if m, ok := stringMethods[name]; ok {
				call = func(a called) any { return m(s, a) }
			}
		}
	}
	if call == nil {
		return nil
	}
	return &function{name, func(_ *renderer, a called) any { return call(a) }}
}

// forbidden is a method that would change a value, which the sandbox rejects.
func forbidden(kind, name string) func(called) any {
	return func(called) any {
		raise("SecurityError", "access to attribute '%s' of '%s' object is unsafe.", name, kind)
		return nil
	}
}

func dictMethod(d *dict, name string) func(called) any {
	switch name {
	case "get":
		return func(a called) any {
			if v, ok := d.get(a.get(0, "key", nil)); ok {
				return v
			}
			return a.get(1, "default", nil)
		}
	case "items":
		return func(called) any { return view("dict_items", pairsOf(d)) }
	case "keys":
		return func(called) any { return view("dict_keys", d.keys) }
	case "values":
		return func(called) any { return view("dict_values", d.values) }
	case "copy":
		return func(called) any { return d }
	case "clear", "pop", "popitem", "setdefault", "update":
		return forbidden("dict", name)
	}
	return nil
}

func listMethod(l *list, name string) func(called) any {
	if l.isView() {
		return nil
	}
	find := func(x any) (at, n int) {
		at = -1
		for i, y := range l.items {
			if equal(x, y) {
				if n == 0 {
					at = i
				}
				n++
			}
		}
		return at, n
	}
	switch name {
	case "index":
		return func(a called) any {
			at, n := find(a.get(0, "value", nil))
			if n == 0 {
				raise("ValueError", "%s is not in list", repr(a.get(0, "value", nil)))
			}
			return int64(at)
		}
	case "count":
		return func(a called) any { _, n := find(a.get(0, "value", nil)); return int64(n) }
	case "copy":
		if !l.tuple && l.view == "" {
			return func(called) any { return l }
		}
	case "append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort":
		if !l.tuple && l.view == "" {
			return forbidden("list", name)
		}
	}
	return nil
}

// words converts texts to a list.
func words(parts []string) any {
	limit(16 * len(parts))
	out := &list{items: make([]any, len(parts))}
	for i, p := range parts {
		out.items[i] = p
	}
	return out
}

// argument is a required text argument of a method.
func argument(a called, i int, name string) string {
	s, ok := asString(a.get(i, name, nil))
	if !ok {
		raise("TypeError", "must be str, not %s", typeName(a.get(i, name, nil)))
	}
	return s
}

// whole is an optional integer argument of a method.
func whole(a called, i int, name string, fallback int) int {
	v := a.get(i, name, nil)
	if v == nil {
		return fallback
	}
	n, ok := number(v)
	x, isInt := n.(int64)
	if !ok || !isInt {
		raise("TypeError", "'%s' object cannot be interpreted as an integer", typeName(v))
	}
	return int(max(min(x, 2*mostText), -2*mostText))
}

func stripper(cut func(s string, f func(rune) bool) string) func(string, called) any {
	return func(s string, a called) any {
		chars := a.get(0, "chars", nil)
		if chars == nil {
			return cut(s, isSpace)
		}
		set := argument(a, 0, "chars")
		return cut(s, func(r rune) bool { return strings.ContainsRune(set, r) })
	}
}

func fixes(has func(s, fix string) bool) func(string, called) any {
	return func(s string, a called) any {
		if l, ok := a.get(0, "prefix", nil).(*list); ok && l.tuple {
			for _, x := range l.items {
				if fix, ok := asString(x); ok && has(s, fix) {
					return true
				}
			}
			return false
		}
		return has(s, argument(a, 0, "prefix"))
	}
}

func finder(index func(s, sub string) int, fail bool) func(string, called) any {
	return func(s string, a called) any {
		runes := []rune(s)
		ids := indices(len(runes), a.get(1, "start", nil), a.get(2, "end", nil), nil)
		from, to := 0, 0
		if len(ids) > 0 {
			from, to = ids[0], ids[len(ids)-1]+1
		}
		part := string(runes[from:to])
		at := index(part, argument(a, 0, "sub"))
		if at < 0 {
			if fail {
				raise("ValueError", "substring not found")
			}
			return int64(-1)
		}
		return int64(from + utf8.RuneCountInString(part[:at]))
	}
}

func every(is func(rune) bool) func(string, called) any {
	return func(s string, _ called) any {
		return s != "" && strings.IndexFunc(s, func(r rune) bool { return !is(r) }) < 0
	}
}

// padded pads s to a width.
func padded(left, right bool) func(string, called) any {
	return func(s string, a called) any {
		fill := " "
		if len(a.list) > 1 {
			fill = argument(a, 1, "fillchar")
		}
		room := whole(a, 0, "width", 0) - utf8.RuneCountInString(s)
		if room <= 0 {
			return s
		}
		limit(room * len(fill))
		switch {
		case left && right:
			before := room / 2
			if n := utf8.RuneCountInString(s) + room; room%2 == 1 && n%2 == 1 {
				before++
			}
			return strings.Repeat(fill, before) + s + strings.Repeat(fill, room-before)
		case left:
			return strings.Repeat(fill, room) + s
		}
		return s + strings.Repeat(fill, room)
	}
}

var stringMethods map[string]func(s string, a called) any

func init() { // join looks methods up, so that the table cannot initialise itself
	stringMethods = map[string]func(s string, a called) any{
		"capitalize": func(s string, _ called) any { return capitalize(s) },
		"casefold":   func(s string, _ called) any { return strings.ToLower(s) },
		"center":     padded(true, true),
		"ljust":      padded(false, true),
		"rjust":      padded(true, false),
		"count":      func(s string, a called) any { return int64(strings.Count(s, argument(a, 0, "sub"))) },
		"endswith":   fixes(strings.HasSuffix),
		"startswith": fixes(strings.HasPrefix),
		"find":       finder(strings.Index, false),
		"rfind":      finder(strings.LastIndex, false),
		"index":      finder(strings.Index, true),
		"rindex":     finder(strings.LastIndex, true),
		"format":     formatMethod,
		"isalnum":    every(func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }),
		"isalpha":    every(unicode.IsLetter),
		"isascii":    func(s string, _ called) any { return strings.IndexFunc(s, func(r rune) bool { return r > 127 }) < 0 },
		"isdecimal":  every(unicode.IsDigit),
		"isdigit":    every(unicode.IsDigit),
		"isnumeric":  every(unicode.IsNumber),
		"isspace":    every(isSpace),
		"islower":    func(s string, _ called) any { return cased(s, unicode.IsUpper, unicode.IsLower) },
		"isupper":    func(s string, _ called) any { return cased(s, unicode.IsLower, unicode.IsUpper) },
		"join": func(s string, a called) any {
			parts := elements(a.get(0, "iterable", nil))
			for i, x := range parts {
				if _, ok := asString(x); !ok {
					raise("TypeError", "sequence item %d: expected str instance, %s found", i, typeName(x))
				}
			}
			return joined(&list{items: parts}, s, nil)
		},
		"lower":  func(s string, _ called) any { return lower(s) },
		"upper":  func(s string, _ called) any { return upper(s) },
		"lstrip": stripper(strings.TrimLeftFunc),
		"rstrip": stripper(strings.TrimRightFunc),
		"strip":  stripper(strings.TrimFunc),
		"partition": func(s string, a called) any {
			before, after, found := strings.Cut(s, argument(a, 0, "sep"))
			return parts3(before, argument(a, 0, "sep"), after, found)
		},
		"rpartition": func(s string, a called) any {
			sep := argument(a, 0, "sep")
			at := strings.LastIndex(s, sep)
			if at < 0 {
				return &list{items: []any{"", "", s}, tuple: true}
			}
			return parts3(s[:at], sep, s[at+len(sep):], true)
		},
		"removeprefix": func(s string, a called) any { return strings.TrimPrefix(s, argument(a, 0, "prefix")) },
		"removesuffix": func(s string, a called) any { return strings.TrimSuffix(s, argument(a, 0, "suffix")) },
		"replace": func(s string, a called) any {
			return replace(s, argument(a, 0, "old"), argument(a, 1, "new"), a.get(2, "count", nil))
		},
		"split":  func(s string, a called) any { return split(s, a, false) },
		"rsplit": func(s string, a called) any { return split(s, a, true) },
		"splitlines": func(s string, a called) any {
			return words(lines(s, truth(a.get(0, "keepends", false))))
		},
		"swapcase": func(s string, _ called) any {
			return strings.Map(func(r rune) rune {
				if unicode.IsUpper(r) {
					return unicode.ToLower(r)
				}
				return unicode.ToUpper(r)
			}, s)
		},
		"title": func(s string, _ called) any { return pythonTitle(s) },
		"zfill": func(s string, a called) any {
			room := whole(a, 0, "width", 0) - utf8.RuneCountInString(s)
			if room <= 0 {
				return s
			}
			limit(room)
			if s != "" && (s[0] == '-' || s[0] == '+') {
				return s[:1] + strings.Repeat("0", room) + s[1:]
			}
			return strings.Repeat("0", room) + s
		},
	}
}

func parts3(a, sep, b string, found bool) any {
	if !found {
		sep = ""
	}
	return &list{items: []any{a, sep, b}, tuple: true}
}

// pythonTitle is str.title: a word begins after any character that is not a letter.
func pythonTitle(s string) string {
	inside := false
	return strings.Map(func(r rune) rune {
		was := inside
		inside = unicode.IsLetter(r)
		if was {
			return unicode.ToLower(r)
		}
		return unicode.ToTitle(r)
	}, s)
}

// split is str.split and str.rsplit.
func split(s string, a called, fromRight bool) any {
	most := whole(a, 1, "maxsplit", -1)
	if a.get(0, "sep", nil) == nil {
		return words(splitSpace(s, most, fromRight))
	}
	sep := argument(a, 0, "sep")
	if sep == "" {
		raise("ValueError", "empty separator")
	}
	limit(16 * strings.Count(s, sep))
	if most < 0 {
		return words(strings.Split(s, sep))
	}
	if !fromRight {
		return words(strings.SplitN(s, sep, most+1))
	}
	var tail []string
	for ; most > 0; most-- {
		at := strings.LastIndex(s, sep)
		if at < 0 {
			break
		}
		tail = append([]string{s[at+len(sep):]}, tail...)
		s = s[:at]
	}
	return words(append([]string{s}, tail...))
}

// splitSpace splits at runs of white space, as str.split without a separator.
func splitSpace(s string, most int, fromRight bool) (out []string) {
	if fromRight && most >= 0 {
		for s = strings.TrimRightFunc(s, isSpace); s != "" && most > 0; most-- {
			at := strings.LastIndexFunc(s, isSpace)
			if at < 0 {
				break
			}
			_, width := utf8.DecodeRuneInString(s[at:])
			out = append([]string{s[at+width:]}, out...)
			s = strings.TrimRightFunc(s[:at], isSpace)
		}
		if s = strings.TrimLeftFunc(s, isSpace); s != "" {
			out = append([]string{s}, out...)
		}
		return out
	}
	for s = strings.TrimLeftFunc(s, isSpace); s != ""; most-- {
		at := strings.IndexFunc(s, isSpace)
		if at < 0 || most == 0 {
			return append(out, s)
		}
		out = append(out, s[:at])
		s = strings.TrimLeftFunc(s[at:], isSpace)
	}
	return out
}

// lines is str.splitlines.
func lines(s string, keep bool) (out []string) {
	for s != "" {
		at := strings.IndexAny(s, "\n\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029")
		if at < 0 {
			return append(out, s)
		}
		_, width := utf8.DecodeRuneInString(s[at:])
		if strings.HasPrefix(s[at:], "\r\n") {
			width = 2
		}
		line := s[:at]
		if keep {
			line = s[:at+width]
		}
		out = append(out, line)
		s = s[at+width:]
	}
	return out
}

// formatMethod is str.format for {}, {0} and {name} without format specifications.
func formatMethod(s string, a called) any {
	var b strings.Builder
	next := 0
	for s != "" {
		at := strings.IndexAny(s, "{}")
		if at < 0 {
			b.WriteString(s)
			break
		}
		b.WriteString(s[:at])
		if at+1 < len(s) && s[at+1] == s[at] {
			b.WriteByte(s[at])
			s = s[at+2:]
			continue
		}
		field, after, ok := strings.Cut(s[at+1:], "}")
		if s[at] == '}' || !ok {
			raise("ValueError", "Single '%c' encountered in format string", s[at])
		}
		b.WriteString(text(formatField(field, a, &next)))
		limit(b.Len())
		s = after
	}
	return b.String()
}

func formatField(field string, a called, next *int) any {
	if strings.ContainsAny(field, ":!.[") {
		raise("ValueError", "the format field {%s} is not supported", field)
	}
	i := *next
	if field == "" {
		*next++
	} else if n, ok := toInt(nil, field, called{list: []any{nil}}).(int64); ok {
		i = int(n)
	} else {
		v, given := find(a, 1<<30, field)
		if !given {
			raise("KeyError", "%s", repr(field))
		}
		return v
	}
	if i < 0 || i >= len(a.list) {
		raise("IndexError", "Replacement index %d out of range for positional args tuple", i)
	}
	return a.list[i]
}
