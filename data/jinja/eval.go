package jinja

import (
	"math"
	"slices"
	"strings"
)

// scope resolves names: in a block's own variables, then in those around it.
type scope struct {
	vars map[string]any
	up   *scope
}

func (s *scope) inner() *scope { return &scope{vars: map[string]any{}, up: s} }

func (s *scope) lookup(name string) (any, bool) {
	for ; s != nil; s = s.up {
		if v, ok := s.vars[name]; ok {
			return v, true
		}
	}
	return nil, false
}

// renderer is a rendering in progress.
type renderer struct {
	options Options
	out     *strings.Builder
	steps   int
	depth   int
	capture int // blocks whose text is captured: generations are recorded outside them only
}

func (r *renderer) guard(f func()) error { return catch(f) }

// step counts a step against the bounds.
func (r *renderer) step() {
	if r.steps++; r.steps > mostSteps {
		raise("RuntimeError", "the template takes too long: more than %d steps", mostSteps)
	}
}

func (r *renderer) enter() {
	if r.depth++; r.depth > mostNesting*4 {
		raise("RecursionError", "maximum recursion depth exceeded")
	}
}

func (r *renderer) write(s string) {
	limit(r.out.Len() + len(s))
	r.out.WriteString(s)
}

// at adds the line to errors of f that have none.
func at[T any](line int, f func() T) T {
	defer func() {
		if e, ok := recover().(*Error); ok {
			if e.Line == 0 {
				e.Line = line
			}
			panic(e)
		}
	}()
	return f()
}

// eval is the value of an expression.
func (r *renderer) eval(e expr, s *scope) any {
	r.step()
	r.enter()
	defer func() { r.depth-- }()
	switch e := e.(type) {
	case constExpr:
		return e.value
	case nameExpr:
		return r.name(e, s)
	case listExpr:
		return &list{items: r.all(e.items, s), tuple: e.tuple}
	case dictExpr:
		d := newDict()
		for i := range e.keys {
			d.set(r.eval(e.keys[i], s), r.eval(e.values[i], s))
		}
		return d
	case condExpr:
		if truth(r.eval(e.test, s)) {
			return r.eval(e.then, s)
		}
		if e.other == nil {
			return undefined{"the inline if-expression evaluated to false and no else section was defined"}
		}
		return r.eval(e.other, s)
	case andExpr:
		if left := r.eval(e.left, s); truth(left) == e.or {
			return left
		}
		return r.eval(e.right, s)
	case notExpr:
		return !truth(r.eval(e.of, s))
	case compareExpr:
		return r.compare(e, s)
	case binaryExpr:
		left, right := r.eval(e.left, s), r.eval(e.right, s)
		return at(e.line, func() any { return binary(e.op, left, right) })
	case concatExpr:
		var b strings.Builder
		for _, p := range e.parts {
			b.WriteString(text(r.eval(p, s)))
			limit(b.Len())
		}
		return b.String()
	case signExpr:
		return sign(r.eval(e.of, s), e.minus)
	case attrExpr:
		of := r.eval(e.of, s)
		return at(e.line, func() any { return attribute(of, e.name) })
	case itemExpr:
		of, index := r.eval(e.of, s), r.eval(e.index, s)
		return at(e.line, func() any { return item(of, index) })
	case sliceExpr:
		return slice(r.eval(e.of, s), r.optional(e.from, s), r.optional(e.to, s), r.optional(e.step, s))
	case *callExpr:
		of := r.eval(e.of, s)
		a := r.arguments(e.args, s)
		return at(e.line, func() any { return r.call(of, a) })
	case *filterExpr:
		of := r.eval(e.of, s)
		a := r.arguments(e.args, s)
		return at(e.line, func() any {
			f, known := filters[e.name]
			if !known {
				raise("TemplateRuntimeError", "No filter named %q found", e.name)
			}
			return f(r, of, a)
		})
	case testExpr:
		of := r.eval(e.of, s)
		a := r.arguments(e.args, s)
		return at(e.line, func() any {
			t, known := tests[e.name]
			if !known {
				raise("TemplateRuntimeError", "No test named %q found", e.name)
			}
			return t(of, a) != e.not
		})
	}
	panic("jinja: an expression of unknown kind")
}

func (r *renderer) optional(e expr, s *scope) any {
	if e == nil {
		return nil
	}
	return r.eval(e, s)
}

func (r *renderer) all(list []expr, s *scope) []any {
	out := make([]any, len(list))
	for i, e := range list {
		out[i] = r.eval(e, s)
	}
	return out
}

func (r *renderer) name(e nameExpr, s *scope) any {
	if v, ok := s.lookup(e.name); ok {
		return v
	}
	if f, ok := globals[e.name]; ok {
		return f
	}
	return undefined{"'" + e.name + "' is undefined"}
}

func (r *renderer) compare(e compareExpr, s *scope) any {
	left := r.eval(e.first, s)
	for i, op := range e.ops {
		right := r.eval(e.rest[i], s)
		var ok bool
		switch op {
		case "==":
			ok = equal(left, right)
		case "!=":
			ok = !equal(left, right)
		case "in":
			ok = contains(right, left)
		case "not in":
			ok = !contains(right, left)
		case "<":
			ok = compare(left, right) < 0
		case ">":
			ok = compare(left, right) > 0
		case "<=":
			ok = compare(left, right) <= 0
		case ">=":
			ok = compare(left, right) >= 0
		}
		if !ok {
			return false
		}
		left = right
	}
	return true
}

// called holds the arguments of a call.
type called struct {
	list  []any
	names []string
	named []any
}

func (r *renderer) arguments(a arguments, s *scope) called {
	c := called{list: r.all(a.list, s), names: a.names, named: r.all(a.named, s)}
	if a.star != nil {
		c.list = append(c.list, elements(r.eval(a.star, s))...)
	}
	if a.stars != nil {
		d, ok := r.eval(a.stars, s).(*dict)
		if !ok {
			raise("TypeError", "argument after ** must be a mapping")
		}
		for i, k := range d.keys {
			c.names, c.named = append(c.names[:len(c.names):len(c.names)], text(k)), append(c.named, d.values[i])
		}
	}
	return c
}

// get is the argument at an index or of a name, or fallback.
func (c called) get(i int, name string, fallback any) any {
	if i < len(c.list) {
		return c.list[i]
	}
	for k, n := range c.names {
		if n == name {
			return c.named[k]
		}
	}
	return fallback
}

func (r *renderer) call(f any, a called) any {
	switch f := f.(type) {
	case *function:
		return f.call(r, a)
	case undefined:
		raise("UndefinedError", "%s", f.what)
	}
	raise("TypeError", "'%s' object is not callable", typeName(f))
	return nil
}

// attribute is of.name.
func attribute(of any, name string) any {
	if m := method(of, name); m != nil {
		return m
	}
	switch of := of.(type) {
	case *dict:
		if v, ok := of.get(name); ok {
			return v
		}
	case *list:
		if at := slices.Index([]string{"grouper", "list"}, name); of.group && at >= 0 {
			return of.items[at]
		}
	case *namespace:
		if v, ok := of.vars[name]; ok {
			return v
		}
	case *loopState:
		if v, ok := of.attribute(name); ok {
			return v
		}
	case undefined:
		raise("UndefinedError", "%s", of.what)
	}
	return undefined{"'" + typeName(of) + " object' has no attribute '" + name + "'"}
}

// item is of[index].
func item(of, index any) any {
	switch of := of.(type) {
	case *dict:
		if v, ok := of.get(index); ok {
			return v
		}
	case *list:
		if i, ok := place(index, len(of.items)); ok && !of.isView() {
			return of.items[i]
		}
	case undefined:
		raise("UndefinedError", "%s", of.what)
	default:
		if s, ok := asString(of); ok {
			runes := []rune(s)
			if i, ok := place(index, len(runes)); ok {
				return string(runes[i])
			}
		}
	}
	if name, ok := asString(index); ok {
		if v := attribute(of, name); v != nil {
			return v
		}
	}
	return undefined{typeName(of) + " object has no element " + repr(index)}
}

// place resolves an index into n elements.
func place(index any, n int) (int, bool) {
	i, ok := number(index)
	at, whole := i.(int64)
	if !ok || !whole {
		return 0, false
	}
	if at < 0 {
		at += int64(n)
	}
	return int(at), at >= 0 && at < int64(n)
}

// slice is of[from:to:step].
func slice(of, from, to, step any) any {
	n := 0
	var runes []rune
	s, isText := asString(of)
	l, isList := of.(*list)
	isList = isList && !l.isView()
	switch {
	case isText:
		runes = []rune(s)
		n = len(runes)
	case isList:
		n = len(l.items)
	default:
		refuse(of)
		if isDict(of) {
			raise("TypeError", "unhashable type: 'slice'")
		}
		raise("TypeError", "'%s' object is not subscriptable", typeName(of))
	}
	var out list
	if isList {
		out.tuple, out.view = l.tuple, l.view
	}
	var b strings.Builder
	for _, i := range indices(n, from, to, step) {
		if isText {
			b.WriteRune(runes[i])
		} else {
			out.items = append(out.items, l.items[i])
		}
	}
	if isText {
		return b.String()
	}
	return &out
}

// indices are Python's range(*slice(from, to, step).indices(n)).
func indices(n int, from, to, step any) (out []int) {
	whole := func(v any, fallback int) int {
		if v == nil {
			return fallback
		}
		x, ok := number(v)
		i, isInt := x.(int64)
		if !ok || !isInt {
			raise("TypeError", "slice indices must be integers or None")
		}
		return int(max(min(i, math.MaxInt32), math.MinInt32))
	}
	by := whole(step, 1)
	if by == 0 {
		raise("ValueError", "slice step cannot be zero")
	}
	low, high, first, last := 0, n, 0, n
	if by < 0 {
		low, high, first, last = -1, n-1, n-1, -1
	}
	bound := func(v any, fallback int) int {
		if v == nil {
			return fallback
		}
		i := whole(v, 0)
		if i < 0 {
			i += n
		}
		return max(low, min(i, high))
	}
	first, last = bound(from, first), bound(to, last)
	for i := first; by > 0 && i < last || by < 0 && i > last; i += by {
		out = append(out, i)
	}
	return out
}

func sign(v any, minus bool) any {
	switch x, _ := number(v); x := x.(type) {
	case int64:
		if minus {
			return -x
		}
		return x
	case float64:
		if minus {
			return -x
		}
		return x
	}
	refuse(v)
	raise("TypeError", "bad operand type for unary -: '%s'", typeName(v))
	return nil
}
