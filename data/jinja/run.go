package jinja

import (
	"slices"
	"strings"
)

// flow is how a block ended.
type flow uint8

const (
	goOn flow = iota
	leaveLoop
	nextRound
)

// run renders statements.
func (r *renderer) run(body []stmt, s *scope) flow {
	r.enter()
	defer func() { r.depth-- }()
	for _, st := range body {
		r.step()
		switch st := st.(type) {
		case textStmt:
			r.write(st.text)
		case printStmt:
			at(st.line, func() any { r.write(text(r.eval(st.value, s))); return nil })
		case ifStmt:
			branch := st.more
			if truth(r.eval(st.test, s)) {
				branch = st.then
			}
			if f := r.run(branch, s); f != goOn {
				return f
			}
		case forStmt:
			r.loop(st, s)
		case setStmt:
			r.set(st, s)
		case macroStmt:
			s.vars[st.macro.name] = r.macro(st.macro, s)
		case withStmt:
			inner := s.inner()
			for i, n := range st.names {
				inner.vars[n] = r.eval(st.values[i], s)
			}
			if f := r.run(st.body, inner); f != goOn {
				return f
			}
		case filterStmt:
			body := r.caught(func() { r.run(st.body, s.inner()) })
			r.write(text(r.eval(st.filters(constExpr{body}), s)))
		case callStmt:
			call := st.call.(*callExpr)
			a := r.arguments(call.args, s)
			a.names, a.named = append(a.names[:len(a.names):len(a.names)], "caller"), append(a.named, r.macro(st.caller, s))
			r.write(text(r.call(r.eval(call.of, s), a)))
		case generationStmt:
			if f := r.generation(st, s); f != goOn {
				return f
			}
		case jumpStmt:
			if st.leave {
				return leaveLoop
			}
			return nextRound
		default:
			panic("jinja: a statement of unknown kind")
		}
	}
	return goOn
}

// generation renders a block and records the place of its text.
func (r *renderer) generation(st generationStmt, s *scope) flow {
	from := r.out.Len()
	f := r.run(st.body, s.inner())
	if r.options.Generations != nil && r.capture == 0 {
		*r.options.Generations = append(*r.options.Generations, Span{from, r.out.Len()})
	}
	return f
}

// caught is the text that f writes.
func (r *renderer) caught(f func()) string {
	outer := r.out
	r.out = new(strings.Builder)
	r.capture++
	f()
	caught := r.out.String()
	r.out = outer
	r.capture--
	return caught
}

func (r *renderer) set(st setStmt, s *scope) {
	var v any
	if st.body != nil {
		v = r.caught(func() { r.run(st.body, s.inner()) })
		if st.filters != nil {
			v = r.eval(st.filters(constExpr{v}), s)
		}
	} else {
		v = r.eval(st.value, s)
	}
	if st.attr != "" {
		target, _ := s.lookup(st.targets[0])
		ns, ok := target.(*namespace)
		if !ok {
			panic(&Error{Class: "TemplateRuntimeError", Line: st.line, Text: "cannot assign attribute on non-namespace object"})
		}
		ns.vars[st.attr] = v
		return
	}
	assign(s, st.targets, st.single, v)
}

// assign assigns v, or its elements, to names.
func assign(s *scope, targets []string, single bool, v any) {
	if single {
		s.vars[targets[0]] = v
		return
	}
	parts := elements(v)
	if len(parts) != len(targets) {
		raise("ValueError", "%d values to unpack, expected %d", len(parts), len(targets))
	}
	for i, t := range targets {
		s.vars[t] = parts[i]
	}
}

// loopState is a template's `loop`.
type loopState struct {
	items   []any
	i       int
	depth   int
	changed []any
	told    bool
}

func (l *loopState) attribute(name string) (any, bool) {
	n := len(l.items)
	switch name {
	case "index":
		return int64(l.i + 1), true
	case "index0":
		return int64(l.i), true
	case "revindex":
		return int64(n - l.i), true
	case "revindex0":
		return int64(n - l.i - 1), true
	case "first":
		return l.i == 0, true
	case "last":
		return l.i == n-1, true
	case "length":
		return int64(n), true
	case "depth":
		return int64(l.depth), true
	case "depth0":
		return int64(l.depth - 1), true
	case "previtem":
		if l.i == 0 {
			return undefined{"there is no previous item"}, true
		}
		return l.items[l.i-1], true
	case "nextitem":
		if l.i == n-1 {
			return undefined{"there is no next item"}, true
		}
		return l.items[l.i+1], true
	case "cycle":
		return &function{"cycle", func(_ *renderer, a called) any {
			if len(a.list) == 0 {
				raise("TypeError", "no items for cycling given")
			}
			return a.list[l.i%len(a.list)]
		}}, true
	case "changed":
		return &function{"changed", func(_ *renderer, a called) any {
			same := l.told && equal(&list{items: l.changed}, &list{items: a.list})
			l.changed, l.told = a.list, true
			return !same
		}}, true
	}
	return nil, false
}

func (r *renderer) loop(st forStmt, s *scope) {
	items := at(st.line, func() []any { return elements(r.eval(st.iter, s)) })
	if st.test != nil {
		var kept []any
		for _, x := range items {
			inner := s.inner()
			assign(inner, st.targets, st.single, x)
			if truth(r.eval(st.test, inner)) {
				kept = append(kept, x)
			}
		}
		items = kept
	}
	if len(items) == 0 {
		r.run(st.empty, s.inner())
		return
	}
	state := &loopState{items: items, depth: 1}
	for i, x := range items {
		r.step()
		state.i = i
		inner := s.inner()
		inner.vars["loop"] = state
		assign(inner, st.targets, st.single, x)
		if r.run(st.body, inner) == leaveLoop {
			return
		}
	}
}

// macro makes a macro callable.
func (r *renderer) macro(m *macro, s *scope) *function {
	return &function{m.name, func(r *renderer, a called) any {
		inner := s.inner()
		for i, p := range m.params {
			v := a.get(i, p, nil)
			if _, given := find(a, i, p); !given {
				if d := i - len(m.params) + len(m.defaults); d >= 0 {
					v = r.eval(m.defaults[d], inner)
				} else {
					v = undefined{"parameter '" + p + "' was not provided"}
				}
			}
			inner.vars[p] = v
		}
		r.extras(m, a, inner)
		return r.caught(func() { r.run(m.body, inner) })
	}}
}

// extras handles the arguments for which a macro has no parameter.
func (r *renderer) extras(m *macro, a called, inner *scope) {
	rest := &list{tuple: true}
	if len(a.list) > len(m.params) {
		rest.items = a.list[len(m.params):]
	}
	more := newDict()
	for i, n := range a.names {
		if n == "caller" {
			inner.vars["caller"] = a.named[i]
			continue
		}
		if !slices.Contains(m.params, n) {
			more.set(n, a.named[i])
		}
	}
	inner.vars["varargs"], inner.vars["kwargs"] = rest, more
	if len(rest.items) > 0 && !slices.Contains(m.uses, "varargs") {
		raise("TypeError", "macro '%s' takes not more than %d argument(s)", m.name, len(m.params))
	}
	if len(more.keys) > 0 && !slices.Contains(m.uses, "kwargs") {
		raise("TypeError", "macro '%s' takes no keyword argument %s", m.name, repr(more.keys[0]))
	}
}

// find is the argument at an index or of a name, and whether it was given.
func find(a called, i int, name string) (any, bool) {
	if i < len(a.list) {
		return a.list[i], true
	}
	for k, n := range a.names {
		if n == name {
			return a.named[k], true
		}
	}
	return nil, false
}
