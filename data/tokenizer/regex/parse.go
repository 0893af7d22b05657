package regex

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// parser reads a pattern from left to right.
type parser struct {
	rest   string
	fold   bool // (?i)
	dotAll bool // (?m), which in Ruby lets the dot match a newline
	depth  int
}

// mostDepth bounds nested groups.
const mostDepth = 200

func (p *parser) accept(text string) bool {
	if !strings.HasPrefix(p.rest, text) {
		return false
	}
	p.rest = p.rest[len(text):]
	return true
}

func (p *parser) take() rune {
	r, n := utf8.DecodeRuneInString(p.rest)
	p.rest = p.rest[n:]
	return r
}

// alternatives reads up to the end or a closing parenthesis.
func (p *parser) alternatives() (tree, error) {
	if p.depth++; p.depth > mostDepth {
		return nil, errors.New("groups are nested too deep")
	}
	defer func(fold, dotAll bool) { p.fold, p.dotAll, p.depth = fold, dotAll, p.depth-1 }(p.fold, p.dotAll)
	var options choiceTree
	for {
		s, err := p.sequence()
		if err != nil {
			return nil, err
		}
		options = append(options, s)
		if !p.accept("|") {
			break
		}
	}
	if len(options) == 1 {
		return options[0], nil
	}
	return options, nil
}

func (p *parser) sequence() (tree, error) {
	var out seqTree
	for p.rest != "" && p.rest[0] != '|' && p.rest[0] != ')' {
		if strings.HasPrefix(p.rest, "(?#") {
			_, after, ok := strings.Cut(p.rest, ")")
			if !ok {
				return nil, errors.New("a comment does not end")
			}
			p.rest = after
			continue
		}
		if done, err := p.flags(); err != nil {
			return nil, err
		} else if done {
			continue
		}
		t, err := p.atom()
		if err == nil {
			t, err = p.quantified(t)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// flags reads (?i), which applies to the end of the group.
func (p *parser) flags() (bool, error) {
	if !strings.HasPrefix(p.rest, "(?") {
		return false, nil
	}
	end := strings.IndexAny(p.rest, "):")
	if end < 0 || p.rest[end] != ')' || strings.Trim(p.rest[2:end], "imx-") != "" {
		return false, nil
	}
	letters := p.rest[2:end]
	p.rest = p.rest[end+1:]
	return true, p.setFlags(letters)
}

func (p *parser) setFlags(letters string) error {
	on := true
	for _, c := range letters {
		switch c {
		case '-':
			on = false
		case 'i':
			p.fold = on
		case 'm':
			p.dotAll = on
		default:
			return fmt.Errorf("the flag %q is not known", c)
		}
	}
	return nil
}

// quantified reads the quantifiers after t.
func (p *parser) quantified(t tree) (tree, error) {
	for {
		r := repeatTree{of: t, max: -1}
		counted := false
		switch {
		case p.accept("*"):
		case p.accept("+"):
			r.min = 1
		case p.accept("?"):
			r.max = 1
		default:
			var ok bool
			if r.min, r.max, ok = p.interval(); !ok {
				return t, nil
			}
			counted = true
			if r.max >= 0 && r.min > r.max {
				return nil, fmt.Errorf("{%d,%d} has its bounds in the wrong order", r.min, r.max)
			}
		}
		switch {
		case p.accept("?"):
			r.mode = lazy
			if counted && r.min == r.max { // {n}? is not lazy in Ruby's syntax but makes the group optional
				t = repeatTree{of: repeatTree{of: t, min: r.min, max: r.max}, max: 1}
				continue
			}
		case !counted && p.accept("+"): // {n,m}+ repeats the counted group
			r.mode = possessive
		}
		t = r
	}
}

// interval reads {n}, {n,}, {,m} or {n,m}; any other brace is a literal character.
func (p *parser) interval() (least, most int, ok bool) {
	if !strings.HasPrefix(p.rest, "{") {
		return 0, 0, false
	}
	inside, after, closed := strings.Cut(p.rest[1:], "}")
	low, high, comma := strings.Cut(inside, ",")
	if !closed || low == "" && high == "" {
		return 0, 0, false
	}
	var err1, err2 error
	if low != "" {
		least, err1 = strconv.Atoi(low)
	}
	switch {
	case !comma:
		most = least
	case high == "":
		most = -1
	default:
		most, err2 = strconv.Atoi(high)
	}
	if err1 != nil || err2 != nil || least < 0 || least > 100000 || most > 100000 || most < -1 {
		return 0, 0, false
	}
	p.rest = after
	return least, most, true
}

func (p *parser) atom() (tree, error) {
	switch r := p.take(); r {
	case '(':
		return p.group()
	case '[':
		s, err := p.class()
		if err != nil {
			return nil, err
		}
		return charTree{s}, nil
	case '.':
		s := of('\n')
		if p.dotAll {
			s = newSet()
		}
		s.negate()
		return charTree{s}, nil
	case '^':
		return placeTree{func(s string, i int) bool { return i == 0 || s[i-1] == '\n' }}, nil
	case '$':
		return placeTree{func(s string, i int) bool { return i == len(s) || s[i] == '\n' }}, nil
	case '\\':
		return p.escaped()
	case '*', '+', '?':
		return nil, fmt.Errorf("there is nothing before %q to repeat", r)
	default:
		return p.character(r), nil
	}
}

func (p *parser) character(r rune) tree {
	s := of(r)
	if p.fold {
		s.fold()
	}
	return charTree{s}
}

func (p *parser) group() (tree, error) {
	wrap := func(t tree) tree { return t }
	fold, dotAll := p.fold, p.dotAll
	defer func() { p.fold, p.dotAll = fold, dotAll }()
	if p.accept("?") {
		switch {
		case p.accept(":"):
		case p.accept("="):
			wrap = func(t tree) tree { return lookTree{of: t} }
		case p.accept("!"):
			wrap = func(t tree) tree { return lookTree{of: t, not: true} }
		case p.accept("<="):
			wrap = func(t tree) tree { return lookTree{of: t, behind: true} }
		case p.accept("<!"):
			wrap = func(t tree) tree { return lookTree{of: t, behind: true, not: true} }
		case p.accept(">"):
			wrap = func(t tree) tree { return atomicTree{t} }
		case p.accept("<"), p.accept("'"), p.accept("P<"):
			end := strings.IndexAny(p.rest, ">'")
			if end < 0 {
				return nil, errors.New("a group's name does not end")
			}
			p.rest = p.rest[end+1:]
		default:
			letters, after, ok := strings.Cut(p.rest, ":")
			if !ok || strings.Trim(letters, "imx-") != "" {
				return nil, fmt.Errorf("the group (?%.3s is not known", p.rest)
			}
			p.rest = after
			if err := p.setFlags(letters); err != nil {
				return nil, err
			}
		}
	}
	t, err := p.alternatives()
	if err == nil && !p.accept(")") {
		err = errors.New("a group is not closed")
	}
	if err != nil {
		return nil, err
	}
	return wrap(t), nil
}

// escaped reads what follows a backslash outside a class.
func (p *parser) escaped() (tree, error) {
	if p.rest == "" {
		return nil, errors.New("it ends with a backslash")
	}
	isWord := word()
	boundary := func(s string, i int) bool {
		before, _ := utf8.DecodeLastRuneInString(s[:i])
		after, _ := utf8.DecodeRuneInString(s[i:])
		return (i > 0 && isWord.has(before)) != (i < len(s) && isWord.has(after))
	}
	switch c := p.rest[0]; c {
	case 'b', 'B', 'A', 'z', 'Z':
		p.rest = p.rest[1:]
		return placeTree{map[byte]func(s string, i int) bool{
			'b': boundary,
			'B': func(s string, i int) bool { return !boundary(s, i) },
			'A': func(_ string, i int) bool { return i == 0 },
			'z': func(s string, i int) bool { return i == len(s) },
			'Z': func(s string, i int) bool { return i == len(s) || i == len(s)-1 && s[i] == '\n' },
		}[c]}, nil
	case 'R':
		p.rest = p.rest[1:]
		ends := newSet()
		ends.add('\n', '\r')
		ends.union(of(0x85, 0x2028, 0x2029))
		return atomicTree{choiceTree{seqTree{charTree{of('\r')}, charTree{of('\n')}}, charTree{ends}}}, nil
	case '1', '2', '3', '4', '5', '6', '7', '8', '9', 'k', 'g':
		return nil, fmt.Errorf(`the back reference \%c is not supported`, c)
	case 'G', 'K', 'X', 'y', 'Y', 'N', 'O':
		return nil, fmt.Errorf(`\%c is not supported`, c)
	}
	s, single, err := p.escape()
	if err != nil {
		return nil, err
	}
	if single >= 0 {
		return p.character(single), nil
	}
	return charTree{s}, nil
}

// escape reads what follows a backslash and denotes characters, inside a class or outside: a
// set, or one character (single, else -1).
func (p *parser) escape() (s set, single rune, err error) {
	r := p.take()
	switch r {
	case 's', 'S':
		s = space()
	case 'd', 'D':
		s = categories("Nd")
	case 'w', 'W':
		s = word()
	case 'h', 'H':
		s, err = posix("xdigit")
	case 'p', 'P':
		s, err = p.property()
	default:
		single, err = p.escapedCharacter(r)
		return nil, single, err
	}
	if err == nil && unicode.IsUpper(r) {
		s.negate()
	}
	return s, -1, err
}

func (p *parser) property() (set, error) {
	if !p.accept("{") {
		return nil, errors.New(`\p is not followed by {name}`)
	}
	name, after, ok := strings.Cut(p.rest, "}")
	if !ok {
		return nil, errors.New(`\p{ is not closed`)
	}
	p.rest = after
	bare := strings.TrimPrefix(name, "^")
	s, err := property(bare)
	if err == nil && bare != name {
		s.negate()
	}
	return s, err
}

// named are the characters that have an escape of their own.
var named = map[rune]rune{'n': '\n', 'r': '\r', 't': '\t', 'f': '\f', 'v': '\v', 'a': '\a', 'e': 0x1b, '0': 0}

func (p *parser) escapedCharacter(r rune) (rune, error) {
	switch r {
	case 'x', 'u':
		digits := 2
		if r == 'u' {
			digits = 4
		}
		text := p.rest[:min(digits, len(p.rest))]
		after := p.rest[len(text):]
		if p.accept("{") {
			var ok bool
			if text, after, ok = strings.Cut(p.rest, "}"); !ok {
				return 0, fmt.Errorf(`\%c{ is not closed`, r)
			}
		}
		v, err := strconv.ParseUint(text, 16, 32)
		if err != nil || v > unicode.MaxRune {
			return 0, fmt.Errorf(`\%c%s is not a character`, r, text)
		}
		p.rest = after
		return rune(v), nil
	}
	if c, ok := named[r]; ok {
		return c, nil
	}
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
		return 0, fmt.Errorf(`\%c is not known`, r)
	}
	return r, nil
}

// class reads a class after its opening bracket. Case is folded in the outermost class only,
// after its members were combined.
func (p *parser) class() (set, error) {
	fold := p.fold
	defer func() { p.fold = fold }()
	p.fold = false
	if p.depth++; p.depth > mostDepth {
		return nil, errors.New("classes are nested too deep")
	}
	defer func() { p.depth-- }()
	not := p.accept("^")
	all, part := set(nil), newSet()
	for begun := false; ; begun = true {
		switch {
		case p.rest == "":
			return nil, errors.New("a class is not closed")
		case p.accept("&&"):
			all, part = both(all, part), newSet()
			continue
		case begun && p.accept("]"):
			part = both(all, part)
			if fold {
				part.fold()
			}
			if not {
				part.negate()
			}
			return part, nil
		}
		if err := p.member(part); err != nil {
			return nil, err
		}
	}
}

// both is the intersection of a (nil = all) and b.
func both(a, b set) set {
	if a == nil {
		return slices.Clone(b)
	}
	a.intersect(b)
	return a
}

// member reads a character, a range or a set inside a class.
func (p *parser) member(into set) error {
	if strings.HasPrefix(p.rest, "[:") {
		if name, after, ok := strings.Cut(p.rest[2:], ":]"); ok && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz^") == "" {
			p.rest = after
			s, err := posix(strings.TrimPrefix(name, "^"))
			if err != nil {
				return err
			}
			if name[0] == '^' {
				s.negate()
			}
			into.union(s)
			return nil
		}
	}
	if p.accept("[") {
		s, err := p.class()
		if err == nil {
			into.union(s)
		}
		return err
	}
	s, lo, err := p.one()
	if err != nil {
		return err
	}
	if lo < 0 {
		into.union(s)
		return nil
	}
	hi := lo
	if strings.HasPrefix(p.rest, "-") && !strings.HasPrefix(p.rest, "-]") && len(p.rest) > 1 {
		before := p.rest
		p.take()
		if strings.HasPrefix(p.rest, "[") {
			p.rest = before // the hyphen is literal
		} else if s, hi, err = p.one(); err != nil {
			return err
		}
		switch {
		case hi < 0: // a-\d is a, hyphen and digits
			into.add(lo, lo)
			into.add('-', '-')
			into.union(s)
			return nil
		case hi < lo:
			return fmt.Errorf("the range %c-%c runs backwards", lo, hi)
		}
	}
	into.add(lo, hi)
	return nil
}

func (p *parser) one() (s set, single rune, err error) {
	if p.accept(`\`) {
		if p.accept("b") {
			return nil, '\b', nil
		}
		return p.escape()
	}
	return nil, p.take(), nil
}
