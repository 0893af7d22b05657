package regex

import (
	"errors"
	"unicode/utf8"
)

// tree is a parsed pattern.
type tree interface{}

type (
	charTree   struct{ set set }
	seqTree    []tree
	choiceTree []tree
	repeatTree struct {
		of       tree
		min, max int // max -1: unbounded
		mode     mode
	}
	atomicTree struct{ of tree }
	lookTree   struct {
		of          tree
		behind, not bool
	}
	placeTree struct{ holds func(s string, i int) bool }
)

// mostCopies bounds how often a counted group is expanded.
const mostCopies = 1000

// compile makes the nodes of t, which continue with next.
func compile(t tree, next node) (node, error) {
	switch t := t.(type) {
	case charTree:
		if text, ok := t.set.single(); ok {
			if l, ok := next.(*literal); ok {
				return &literal{text + l.text, l.next}, nil
			}
			return &literal{text, next}, nil
		}
		return &char{t.set, next}, nil
	case seqTree:
		var err error
		for i := len(t) - 1; i >= 0 && err == nil; i-- {
			next, err = compile(t[i], next)
		}
		return next, err
	case choiceTree:
		return compileChoice(t, next)
	case repeatTree:
		return compileRepeat(t, next)
	case atomicTree:
		body, err := compile(t.of, accept{})
		return &atomic{body, next}, err
	case lookTree:
		if t.behind {
			return compileBehind(t, next)
		}
		body, err := compile(t.of, accept{})
		return &ahead{body, next, t.not}, err
	case placeTree:
		return &place{t.holds, next}, nil
	}
	panic("regex: a tree of unknown kind")
}

// single is the only member of a set of one.
func (s set) single() (string, bool) {
	found := rune(-1)
	for i, w := range s {
		if w == 0 {
			continue
		}
		for b := range rune(64) {
			if w>>uint(b)&1 == 0 {
				continue
			}
			if found >= 0 {
				return "", false
			}
			found = rune(i)*64 + b
		}
	}
	return string(found), found >= 0 && utf8.ValidRune(found)
}

func compileChoice(t choiceTree, next node) (node, error) {
	n := &choice{starts: new([utf8.RuneSelf]uint64)}
	for k, o := range t {
		option, err := compile(o, next)
		if err != nil {
			return nil, err
		}
		n.options = append(n.options, option)
		start, empty := first(o)
		for b := range rune(utf8.RuneSelf) {
			if k < 64 && (empty || start.has(b)) {
				n.starts[b] |= 1 << k
			}
		}
	}
	if len(t) > 64 {
		n.starts = nil
	}
	return n, nil
}

// first is the set of characters that t may begin with, and whether t may match nothing.
func first(t tree) (s set, empty bool) {
	switch t := t.(type) {
	case charTree:
		return t.set, false
	case seqTree:
		s = newSet()
		for _, part := range t {
			f, e := first(part)
			s.union(f)
			if !e {
				return s, false
			}
		}
		return s, true
	case choiceTree:
		s = newSet()
		for _, option := range t {
			f, e := first(option)
			s.union(f)
			empty = empty || e
		}
		return s, empty
	case repeatTree:
		s, empty = first(t.of)
		return s, empty || t.min == 0
	case atomicTree:
		return first(t.of)
	}
	return newSet(), true
}

func compileRepeat(t repeatTree, next node) (node, error) {
	if c, ok := t.of.(charTree); ok {
		return &run{c.set, t.min, t.max, t.mode, next}, nil
	}
	if t.mode == possessive {
		return compile(atomicTree{repeatTree{t.of, t.min, t.max, greedy}}, next)
	}
	if _, empty := first(t.of); empty && t.max < 0 {
		return nil, errors.New("a group that may match nothing is repeated without bound")
	}
	if t.min > mostCopies || t.max > mostCopies {
		return nil, errors.New("a group is repeated more than 1000 times")
	}
	var err error
	if t.max < 0 {
		l := &loop{next: next, lazy: t.mode == lazy}
		if l.body, err = compile(t.of, l); err != nil {
			return nil, err
		}
		next = l
	}
	end := next
	for range t.max - t.min {
		if next, err = compile(t.of, next); err != nil {
			return nil, err
		}
		options := []node{next, end}
		if t.mode == lazy {
			options[0], options[1] = end, next
		}
		next = &choice{options: options}
	}
	for range t.min {
		if next, err = compile(t.of, next); err != nil {
			return nil, err
		}
	}
	return next, nil
}

func compileBehind(t lookTree, next node) (node, error) {
	n := &behind{next: next, not: t.not}
	options := choiceTree{t.of}
	if c, ok := t.of.(choiceTree); ok {
		options = c
	}
	for _, o := range options {
		length, ok := fixed(o)
		if !ok {
			return nil, errors.New("the pattern of a look-behind has no fixed length")
		}
		body, err := compile(o, accept{})
		if err != nil {
			return nil, err
		}
		n.options, n.lengths = append(n.options, body), append(n.lengths, length)
	}
	return n, nil
}

// fixed is the number of characters that t matches, where it is constant.
func fixed(t tree) (n int, ok bool) {
	switch t := t.(type) {
	case charTree:
		return 1, true
	case seqTree:
		for _, part := range t {
			m, ok := fixed(part)
			if !ok {
				return 0, false
			}
			n += m
		}
		return n, true
	case choiceTree:
		for i, option := range t {
			m, ok := fixed(option)
			if !ok || i > 0 && m != n {
				return 0, false
			}
			n = m
		}
		return n, true
	case repeatTree:
		m, ok := fixed(t.of)
		return m * t.min, ok && t.min == t.max
	case atomicTree:
		return fixed(t.of)
	}
	return 0, true
}
