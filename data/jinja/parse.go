package jinja

import (
	"fmt"
	"math/big"
	"slices"
	"strconv"
)

// Statements.
type (
	stmt interface{}

	textStmt  struct{ text string }
	printStmt struct {
		value expr
		line  int
	}
	ifStmt struct {
		test       expr
		then, more []stmt
	}
	forStmt struct {
		targets     []string
		single      bool // a single target, not a tuple
		iter        expr
		test        expr // nil = none
		body, empty []stmt
		line        int
	}
	setStmt struct {
		targets []string
		single  bool
		attr    string // of namespace.attr
		value   expr
		body    []stmt // of a block
		filters func(expr) expr
		line    int
	}
	macroStmt struct{ macro *macro }
	withStmt  struct {
		names  []string
		values []expr
		body   []stmt
	}
	filterStmt struct {
		filters func(expr) expr
		body    []stmt
	}
	callStmt struct {
		caller *macro
		call   expr
	}
	generationStmt struct{ body []stmt }
	jumpStmt       struct{ leave bool } // break, else continue
)

// macro is the definition of a macro.
type macro struct {
	name     string
	params   []string
	defaults []expr // of the last params
	body     []stmt
	uses     []string // names that the body refers to
}

// parser reads tokens; it reports faults by panicking through fail.
type parser struct {
	tokens []token
	at     int
	depth  int
	names  []string // every name read so far

	// Filters and tests that do not exist. As in Jinja, that is an error of the template, but
	// in an if tag or a conditional expression, where it is one when they are used: templates
	// ask there for filters that only some programs have.
	unknown []*Error
}

// guard runs f and returns the *Error that it failed with.
func (p *parser) guard(f func()) (err error) { return catch(f) }

func catch(f func()) (err error) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case *Error:
			err = e
		default:
			panic(e)
		}
	}()
	f()
	return nil
}

func (p *parser) fail(format string, args ...any) {
	panic(&Error{Class: "TemplateSyntaxError", Line: p.peek().line, Text: fmt.Sprintf(format, args...)})
}

// missing notes a filter or a test that does not exist.
func (p *parser) missing(what, name string) {
	p.unknown = append(p.unknown, &Error{Class: "TemplateAssertionError", Line: p.peek().line, Text: fmt.Sprintf("No %s named %q", what, name)})
}

// whenUsed forgives what has been missing since then.
func (p *parser) whenUsed(since int) { p.unknown = p.unknown[:since] }

// complete fails if anything has been missing since then.
func (p *parser) complete(since int) {
	if len(p.unknown) > since {
		panic(p.unknown[since])
	}
}

func (p *parser) peek() token { return p.tokens[p.at] }

func (p *parser) next() token {
	t := p.tokens[p.at]
	if t.kind != end {
		p.at++
	}
	return t
}

func (p *parser) is(k kind, text string) bool {
	t := p.peek()
	return t.kind == k && (text == "" || t.text == text)
}

func (p *parser) accept(k kind, text string) bool {
	if !p.is(k, text) {
		return false
	}
	p.at++
	return true
}

func (p *parser) expect(k kind, text string) token {
	if !p.is(k, text) {
		want := text
		if want == "" {
			want = [...]string{"text", "{{", "}}", "{%", "%}", "a name", "an integer", "a number", "a string", "an operator", "the end"}[k]
		}
		p.fail("expected %s, got %q", want, p.peek().text)
	}
	return p.next()
}

func (p *parser) enter() {
	if p.depth++; p.depth > mostNesting {
		p.fail("it is nested too deep")
	}
}

// statements reads up to a block tag that begins with one of the names, which stays unread, or
// to the end.
func (p *parser) statements(until ...string) (out []stmt) {
	p.enter()
	defer func() { p.depth-- }()
	for {
		switch t := p.peek(); t.kind {
		case end:
			if len(until) > 0 {
				p.fail("unexpected end of template: %s is missing", until[len(until)-1])
			}
			return out
		case textToken:
			p.next()
			out = append(out, textStmt{t.text})
		case printBegin:
			p.next()
			out = append(out, printStmt{p.tuple(true), t.line})
			p.expect(printEnd, "")
		case blockBegin:
			if tag := p.tokens[p.at+1]; tag.kind == name && slices.Contains(until, tag.text) {
				return out
			}
			p.next()
			if s := p.statement(); s != nil {
				out = append(out, s)
			}
		default:
			p.fail("unexpected %q", t.text)
		}
	}
}

// scope reads the statements of a tag that has variables of its own: all but if. Such a tag is
// checked even inside an if.
func (p *parser) scope(until ...string) []stmt {
	before := len(p.unknown)
	out := p.statements(until...)
	p.complete(before)
	return out
}

// close reads the rest of a tag whose name was peeked at.
func (p *parser) close(tag string) {
	p.expect(blockBegin, "")
	p.expect(name, tag)
	p.expect(blockEnd, "")
}

func (p *parser) statement() stmt {
	before := len(p.unknown)
	t := p.expect(name, "")
	switch t.text {
	case "if":
		defer func() { p.whenUsed(before) }()
		return p.ifTag()
	case "for":
		return p.forTag(t.line)
	case "set":
		return p.setTag(t.line)
	case "macro":
		return macroStmt{p.macroTag()}
	case "break", "continue":
		p.expect(blockEnd, "")
		return jumpStmt{t.text == "break"}
	case "generation":
		p.expect(blockEnd, "")
		body := p.scope("endgeneration")
		p.close("endgeneration")
		return generationStmt{body}
	case "with":
		return p.withTag()
	case "filter":
		filters := p.filterChain()
		p.expect(blockEnd, "")
		body := p.scope("endfilter")
		p.close("endfilter")
		return filterStmt{filters, body}
	case "call":
		return p.callTag()
	}
	p.at--
	p.fail("Encountered unknown tag %q", t.text)
	return nil
}

func (p *parser) ifTag() stmt {
	s := ifStmt{test: p.tuple(false)}
	p.expect(blockEnd, "")
	s.then = p.statements("elif", "else", "endif")
	p.expect(blockBegin, "")
	switch p.next().text {
	case "elif":
		s.more = []stmt{p.ifTag()}
		return s
	case "else":
		p.expect(blockEnd, "")
		s.more = p.statements("endif")
		p.expect(blockBegin, "")
		p.next()
	}
	p.expect(blockEnd, "")
	return s
}

// targets reads the targets of an assignment.
func (p *parser) targets() (names []string, single bool) {
	single = true
	bracket := p.accept(operator, "(")
	for {
		names = append(names, p.expect(name, "").text)
		if !p.accept(operator, ",") {
			break
		}
		single = false
		if !p.is(name, "") || p.is(name, "in") {
			break
		}
	}
	if bracket {
		p.expect(operator, ")")
	}
	return names, single
}

func (p *parser) forTag(line int) stmt {
	s := forStmt{line: line}
	s.targets, s.single = p.targets()
	p.expect(name, "in")
	s.iter = p.tuple(false)
	if before := len(p.unknown); p.accept(name, "if") {
		s.test = p.expression()
		p.complete(before)
	}
	if p.is(name, "recursive") {
		p.fail("recursive loops are not supported")
	}
	p.expect(blockEnd, "")
	s.body = p.scope("else", "endfor")
	p.expect(blockBegin, "")
	if p.next().text == "else" {
		p.expect(blockEnd, "")
		s.empty = p.scope("endfor")
		p.expect(blockBegin, "")
		p.next()
	}
	p.expect(blockEnd, "")
	return s
}

func (p *parser) setTag(line int) stmt {
	s := setStmt{line: line}
	if p.tokens[p.at+1].kind == operator && p.tokens[p.at+1].text == "." {
		s.targets, s.single = []string{p.expect(name, "").text}, true
		p.next()
		s.attr = p.expect(name, "").text
	} else {
		s.targets, s.single = p.targets()
	}
	if p.accept(operator, "=") {
		s.value = p.tuple(true)
		p.expect(blockEnd, "")
		return s
	}
	if p.is(operator, "|") {
		p.next()
		s.filters = p.filterChain()
	}
	p.expect(blockEnd, "")
	s.body = p.scope("endset")
	if s.body == nil {
		s.body = []stmt{}
	}
	p.close("endset")
	return s
}

// parameters reads the parameters (a, b=1) of a macro.
func (p *parser) parameters(m *macro) {
	p.expect(operator, "(")
	for !p.accept(operator, ")") {
		if len(m.params) > 0 {
			p.expect(operator, ",")
			if p.accept(operator, ")") {
				break
			}
		}
		m.params = append(m.params, p.expect(name, "").text)
		if p.accept(operator, "=") {
			m.defaults = append(m.defaults, p.expression())
		} else if len(m.defaults) > 0 {
			p.fail("non-default argument follows default argument")
		}
	}
}

func (p *parser) macroTag() *macro {
	m := &macro{name: p.expect(name, "").text}
	unknown := len(p.unknown)
	p.parameters(m)
	p.complete(unknown)
	p.expect(blockEnd, "")
	before := len(p.names)
	m.body = p.scope("endmacro")
	m.uses = p.names[before:]
	p.close("endmacro")
	return m
}

func (p *parser) withTag() stmt {
	var s withStmt
	for !p.accept(blockEnd, "") {
		if len(s.names) > 0 {
			p.expect(operator, ",")
		}
		s.names = append(s.names, p.expect(name, "").text)
		p.expect(operator, "=")
		s.values = append(s.values, p.expression())
	}
	s.body = p.scope("endwith")
	p.close("endwith")
	return s
}

func (p *parser) callTag() stmt {
	m := &macro{name: "caller"}
	if p.is(operator, "(") {
		p.parameters(m)
	}
	call := p.expression()
	if _, ok := call.(*callExpr); !ok {
		p.fail("expected call")
	}
	p.expect(blockEnd, "")
	before := len(p.names)
	m.body = p.scope("endcall")
	m.uses = p.names[before:]
	p.close("endcall")
	return callStmt{m, call}
}

// number reads an integer of any size, as Python does, though arithmetic is limited to those
// that fit in an int64.
func (p *parser) number(text string) any {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n
	}
	f, ok := new(big.Float).SetString(text)
	if !ok {
		p.fail("%s is not a number", text)
	}
	v, _ := f.Float64()
	return v
}
