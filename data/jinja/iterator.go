package jinja

import "strings"

// iterator is what Python's generators and reversed objects are to a template: true, without a
// length or items, and empty once it has been read. Its elements, and the errors of computing
// them, come when it is read.
type iterator struct {
	kind string // Python's name of the type
	read func() []any
}

func generator(read func() []any) *iterator { return &iterator{"generator", read} }

// all reads the elements that are left.
func (it *iterator) all() []any {
	left := it.read()
	it.read = func() []any { return nil }
	return left
}

// next reads one element.
func (it *iterator) next() (v any, ok bool) {
	left := it.all()
	if len(left) == 0 {
		return nil, false
	}
	it.read = func() []any { return left[1:] }
	return left[0], true
}

// contains reads up to the first element that equals x.
func (it *iterator) contains(x any) bool {
	for {
		v, ok := it.next()
		if !ok {
			return false
		}
		if equal(v, x) {
			return true
		}
	}
}

// view returns what d.keys(), d.values() and d.items() do: a list's length and elements, but no
// items, sums or JSON.
func view(kind string, items []any) *list { return &list{items: items, view: kind} }

// isView reports whether l is one of a dict's views.
func (l *list) isView() bool { return strings.HasPrefix(l.view, "dict_") }

// listType is Python's name of the type of l.
func (l *list) listType() string {
	switch {
	case l.tuple:
		return "tuple"
	case l.view == "":
		return "list"
	}
	kind, _, _ := strings.Cut(l.view, "(") // range(0, 3)
	return kind
}
