package jinja

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// truncate is Jinja's: to a length, at a word unless killwords says otherwise, where the text is
// longer by more than leeway.
func truncate(_ *renderer, v any, a called) any {
	s, isText := asString(v)
	if n := length(v); !isText { // a list or mapping is cut only where it is long
		if n <= whole(a, 0, "length", 255)+whole(a, 3, "leeway", 5) {
			return v
		}
		refuse(v)
		if truth(a.get(1, "killwords", false)) {
			raise("TypeError", "can only concatenate %s to %s", typeName(v), typeName(v))
		}
		raise("AttributeError", "'%s' object has no attribute 'rsplit'", typeName(v))
	}
	runes := []rune(s)
	end := text(a.get(2, "end", "..."))
	length, leeway := whole(a, 0, "length", 255), whole(a, 3, "leeway", 5)
	room := length - utf8.RuneCountInString(end)
	if room < 0 || leeway < 0 {
		raise("AssertionError", "expected length >= %d, got %d", utf8.RuneCountInString(end), length)
	}
	if len(runes) <= length+leeway {
		return string(runes)
	}
	kept := string(runes[:room])
	if !truth(a.get(1, "killwords", false)) {
		if at := strings.LastIndexByte(kept, ' '); at >= 0 {
			kept = kept[:at]
		}
	}
	return kept + end
}

// urlencode is urllib.parse.quote of a text, or of the pairs of a mapping or a list of pairs.
func urlencode(_ *renderer, v any, _ called) any {
	pairs := v
	switch v := v.(type) {
	case *dict:
		pairs = &list{items: pairsOf(v)}
	case *list, *iterator, undefined:
	default:
		return quote(text(v), "/")
	}
	var out []string
	for _, pair := range elements(pairs) {
		kv := elements(pair)
		if len(kv) != 2 {
			raise("ValueError", "%d values to unpack, expected 2", len(kv))
		}
		out = append(out, quote(text(kv[0]), "")+"="+quote(text(kv[1]), ""))
	}
	return strings.Join(out, "&")
}

// quote percent-encodes all bytes but letters, digits, _.-~ and those that are safe; without
// safe ones a space becomes +, as in a query.
func quote(s, safe string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		switch {
		case c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("_.-~"+safe, c) >= 0:
			b.WriteByte(c)
		case c == ' ' && safe == "":
			b.WriteByte('+')
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	limit(b.Len())
	return b.String()
}

func indent(_ *renderer, v any, a called) any {
	s, isText := asString(v)
	if !isText { // Jinja appends a newline to it and splits it into lines
		refuse(v)
		if l, isList := v.(*list); isList && l.listType() == "list" {
			raise("AttributeError", "'list' object has no attribute 'splitlines'")
		}
		raise("TypeError", "unsupported operand type(s) for +=: '%s' and 'str'", typeName(v))
	}
	width := a.get(0, "width", int64(4))
	prefix, given := asString(width)
	if n, ok := number(width); ok && !given {
		limit(int(asFloat(n)))
		prefix = strings.Repeat(" ", max(0, int(asFloat(n))))
	}
	first, blank := truth(a.get(1, "first", false)), truth(a.get(2, "blank", false))
	lines := strings.Split(s, "\n")
	limit(len(s) + len(lines)*len(prefix))
	for i, line := range lines {
		if i == 0 && !first || line == "" && !blank && i > 0 {
			continue
		}
		lines[i] = prefix + line
	}
	return strings.Join(lines, "\n")
}

// wordCount counts the runs of letters, digits and underscores.
func wordCount(_ *renderer, v any, _ called) any {
	return int64(len(strings.FieldsFunc(text(v), func(r rune) bool {
		return r != '_' && !unicode.IsLetter(r) && !unicode.IsNumber(r)
	})))
}
