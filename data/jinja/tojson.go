package jinja

import (
	"strings"

	"dataflex.dev/dataflex/data/pyjson"
)

// tojson is transformers': json.dumps(x, ensure_ascii=False, indent, separators, sort_keys).
func tojson(_ *renderer, v any, a called) any {
	value := toJSON(v)
	ascii := truth(a.get(0, "ensure_ascii", false))
	if truth(a.get(3, "sort_keys", false)) {
		if o, ok := value.(pyjson.Object); ok {
			value = o.Sorted()
		}
	}
	n, has := number(a.get(1, "indent", nil))
	if seps := a.get(2, "separators", nil); seps != nil {
		parts := elements(seps)
		if len(parts) != 2 {
			raise("ValueError", "separators must be two strings")
		}
		return separated(value, text(parts[0]), text(parts[1]), ascii)
	}
	size := -1
	if has {
		size = int(asFloat(n))
	}
	if ascii {
		return pyjson.EncodeASCII(value, size)
	}
	return pyjson.Encode(value, size)
}

// separated is json.dumps with the given separators, on one line.
func separated(v any, item, colon string, ascii bool) string {
	var b strings.Builder
	var write func(v any)
	list := func(open, close byte, n int, one func(i int)) {
		b.WriteByte(open)
		for i := range n {
			if i > 0 {
				b.WriteString(item)
			}
			one(i)
		}
		b.WriteByte(close)
	}
	write = func(v any) {
		switch v := v.(type) {
		case pyjson.Object:
			list('{', '}', len(v), func(i int) { write(v[i].Key); b.WriteString(colon); write(v[i].Value) })
		case []any:
			list('[', ']', len(v), func(i int) { write(v[i]) })
		default:
			if ascii {
				b.WriteString(pyjson.EncodeASCII(v, -1))
			} else {
				b.WriteString(pyjson.Encode(v, -1))
			}
		}
		limit(b.Len())
	}
	write(v)
	return b.String()
}
