package jinja

import "slices"

// batch is Jinja's filter of that name: lists of at most linecount elements.
func batch(_ *renderer, v any, a called) any {
	return generator(func() (out []any) {
		n, fill := whole(a, 0, "linecount", 0), a.get(1, "fill_with", nil)
		var part []any
		for _, x := range elements(v) {
			if len(part) == n {
				out, part = append(out, &list{items: part}), nil
			}
			part = append(part, x)
		}
		if len(part) == 0 {
			return out
		}
		return append(out, &list{items: filled(part, n, fill)})
	})
}

// filled appends fill, unless it is None, until there are n elements.
func filled(items []any, n int, fill any) []any {
	limit(16 * n)
	for fill != nil && len(items) < n {
		items = append(items, fill)
	}
	return items
}

// slicesOf is Jinja's filter slice: that many lists, the first ones an element longer where
// it does not divide evenly.
func slicesOf(_ *renderer, v any, a called) any {
	return generator(func() (out []any) {
		all, n, fill := elements(v), whole(a, 0, "slices", 0), a.get(1, "fill_with", nil)
		if n == 0 {
			raise("ZeroDivisionError", "integer division or modulo by zero")
		}
		limit(16 * n)
		each, longer, at := len(all)/n, len(all)%n, 0
		for i := range n {
			end := at + each
			if i < longer {
				end++
			}
			part := slices.Clone(all[at:end])
			if i >= longer && fill != nil {
				part = append(part, fill)
			}
			out, at = append(out, &list{items: part}), end
		}
		return out
	})
}

// groupBy is Jinja's filter groupby: pairs of a value of the attribute and the elements that
// have it, sorted by it.
func groupBy(_ *renderer, v any, a called) any {
	attr, fallback, caseSensitive := a.get(0, "attribute", nil), a.get(1, "default", nil), truth(a.get(2, "case_sensitive", false))
	of := func(x any) any {
		got := path(x, attr)
		if _, missing := got.(undefined); missing && fallback != nil {
			return fallback
		}
		return got
	}
	all := slices.Clone(elements(v))
	sorted(all, false, caseSensitive, of)
	out := &list{}
	for i := 0; i < len(all); {
		by := folded(of(all[i]), caseSensitive)
		end := i + 1
		for end < len(all) && equal(folded(of(all[end]), caseSensitive), by) {
			end++
		}
		out.items = append(out.items, &list{items: []any{of(all[i]), &list{items: all[i:end]}}, tuple: true, group: true})
		i = end
	}
	return out
}

// folded is a text in lower case, unless case matters.
func folded(v any, caseSensitive bool) any {
	if s, ok := asString(v); ok && !caseSensitive {
		return lower(s)
	}
	return v
}
