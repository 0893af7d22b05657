package jinja

import "strconv"

// Expressions.
type (
	expr interface{}

	constExpr struct{ value any }
	nameExpr  struct {
		name string
		line int
	}
	listExpr struct {
		items []expr
		tuple bool
	}
	dictExpr struct{ keys, values []expr }
	condExpr struct {
		test, then, other expr // other nil = undefined
	}
	andExpr struct {
		left, right expr
		or          bool
	}
	notExpr     struct{ of expr }
	compareExpr struct {
		first expr
		ops   []string
		rest  []expr
	}
	binaryExpr struct {
		op          string
		left, right expr
		line        int
	}
	concatExpr struct{ parts []expr }
	signExpr   struct {
		of    expr
		minus bool
	}
	attrExpr struct {
		of   expr
		name string
		line int
	}
	itemExpr struct {
		of, index expr
		line      int
	}
	sliceExpr struct{ of, from, to, step expr }
	callExpr  struct {
		of   expr
		args arguments
		line int
	}
	filterExpr struct {
		of   expr // nil: the text of a filter block
		name string
		args arguments
		line int
	}
	testExpr struct {
		of   expr
		name string
		not  bool
		args arguments
		line int
	}
)

// arguments of a call, a filter or a test.
type arguments struct {
	list  []expr
	names []string // of keywords
	named []expr
	star  expr // *args
	stars expr // **kwargs
}

// tuple reads an expression, or several with commas between them.
func (p *parser) tuple(conditional bool) expr {
	one := p.expression
	if !conditional {
		one = p.or
	}
	first := one()
	if !p.is(operator, ",") {
		return first
	}
	out := listExpr{items: []expr{first}, tuple: true}
	for p.accept(operator, ",") {
		if k := p.peek().kind; k == blockEnd || k == printEnd || p.is(operator, ")") {
			break
		}
		out.items = append(out.items, one())
	}
	return out
}

func (p *parser) expression() expr {
	p.enter()
	defer func() { p.depth-- }()
	before := len(p.unknown)
	e := p.or()
	for p.accept(name, "if") {
		c := condExpr{then: e, test: p.or()}
		if p.accept(name, "else") {
			c.other = p.expression()
		}
		e = c
		p.whenUsed(before)
	}
	return e
}

func (p *parser) or() expr {
	p.enter()
	defer func() { p.depth-- }()
	left := p.and()
	for p.accept(name, "or") {
		left = andExpr{left, p.and(), true}
	}
	return left
}

func (p *parser) and() expr {
	left := p.not()
	for p.accept(name, "and") {
		left = andExpr{left, p.not(), false}
	}
	return left
}

func (p *parser) not() expr {
	if p.accept(name, "not") {
		p.enter()
		defer func() { p.depth-- }()
		return notExpr{p.not()}
	}
	return p.compare()
}

func (p *parser) compare() expr {
	c := compareExpr{first: p.sum()}
	for {
		op := ""
		switch t := p.peek(); {
		case t.kind == operator && (t.text == "==" || t.text == "!=" || t.text == "<" || t.text == ">" || t.text == "<=" || t.text == ">="):
			op = t.text
			p.next()
		case p.accept(name, "in"):
			op = "in"
		case p.is(name, "not") && p.tokens[p.at+1].kind == name && p.tokens[p.at+1].text == "in":
			p.at += 2
			op = "not in"
		}
		if op == "" {
			break
		}
		c.ops, c.rest = append(c.ops, op), append(c.rest, p.sum())
	}
	if c.ops == nil {
		return c.first
	}
	return c
}

func (p *parser) binary(next func() expr, ops ...string) expr {
	left := next()
	for {
		found := false
		for _, op := range ops {
			line := p.peek().line
			if p.accept(operator, op) {
				left, found = binaryExpr{op, left, next(), line}, true
				break
			}
		}
		if !found {
			return left
		}
	}
}

func (p *parser) sum() expr { return p.binary(p.concat, "+", "-") }

func (p *parser) concat() expr {
	parts := []expr{p.product()}
	for p.accept(operator, "~") {
		parts = append(parts, p.product())
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return concatExpr{parts}
}

func (p *parser) product() expr { return p.binary(p.power, "*", "//", "/", "%") }

func (p *parser) power() expr {
	return p.binary(func() expr { return p.unary(true) }, "**")
}

func (p *parser) unary(filters bool) expr {
	p.enter()
	defer func() { p.depth-- }()
	var e expr
	switch {
	case p.accept(operator, "-"):
		e = signExpr{p.unary(false), true}
	case p.accept(operator, "+"):
		e = signExpr{p.unary(false), false}
	default:
		e = p.postfix(p.primary())
	}
	if filters {
		return p.filtered(e)
	}
	return e
}

func (p *parser) primary() expr {
	t := p.next()
	switch t.kind {
	case name:
		switch t.text {
		case "true", "True":
			return constExpr{true}
		case "false", "False":
			return constExpr{false}
		case "none", "None":
			return constExpr{nil}
		}
		p.names = append(p.names, t.text)
		return nameExpr{t.text, t.line}
	case str:
		text := t.text
		for p.peek().kind == str {
			text += p.next().text
		}
		return constExpr{text}
	case integer:
		return constExpr{p.number(t.text)}
	case float:
		f, err := strconv.ParseFloat(t.text, 64)
		if err != nil {
			p.fail("%s is not a number", t.text)
		}
		return constExpr{f}
	case operator:
		switch t.text {
		case "(":
			if p.accept(operator, ")") {
				return listExpr{tuple: true}
			}
			e := p.tuple(true)
			p.expect(operator, ")")
			return e
		case "[":
			return listExpr{items: p.items("]")}
		case "{":
			return p.dict()
		}
	}
	p.at--
	p.fail("unexpected %q", t.text)
	return nil
}

func (p *parser) items(close string) (out []expr) {
	for !p.accept(operator, close) {
		if len(out) > 0 {
			p.expect(operator, ",")
			if p.accept(operator, close) {
				break
			}
		}
		out = append(out, p.expression())
	}
	return out
}

func (p *parser) dict() expr {
	var d dictExpr
	for !p.accept(operator, "}") {
		if len(d.keys) > 0 {
			p.expect(operator, ",")
			if p.accept(operator, "}") {
				break
			}
		}
		d.keys = append(d.keys, p.expression())
		p.expect(operator, ":")
		d.values = append(d.values, p.expression())
	}
	return d
}

func (p *parser) postfix(e expr) expr {
	for {
		line := p.peek().line
		switch {
		case p.accept(operator, "."):
			if t := p.next(); t.kind == integer {
				e = itemExpr{e, constExpr{p.number(t.text)}, line}
			} else if t.kind == name {
				e = attrExpr{e, t.text, line}
			} else {
				p.at--
				p.fail("expected name or number")
			}
		case p.accept(operator, "["):
			e = p.subscript(e, line)
		case p.is(operator, "("):
			e = &callExpr{e, p.arguments(), line}
		default:
			return e
		}
	}
}

func (p *parser) subscript(of expr, line int) expr {
	var parts [3]expr
	n, colons := 0, 0
	for !p.accept(operator, "]") {
		if p.accept(operator, ":") {
			if colons++; colons > 2 {
				p.fail("a slice has three parts at most")
			}
			n = colons
			continue
		}
		if p.is(operator, ",") {
			p.fail("several indices are not supported")
		}
		parts[n] = p.expression()
	}
	if colons > 0 {
		return sliceExpr{of, parts[0], parts[1], parts[2]}
	}
	if parts[0] == nil {
		p.fail("expected an index")
	}
	return itemExpr{of, parts[0], line}
}

func (p *parser) arguments() (a arguments) {
	p.expect(operator, "(")
	for first := true; !p.accept(operator, ")"); first = false {
		if !first {
			p.expect(operator, ",")
			if p.accept(operator, ")") {
				break
			}
		}
		switch {
		case p.accept(operator, "**"):
			a.stars = p.expression()
		case p.accept(operator, "*"):
			a.star = p.expression()
		case p.is(name, "") && p.tokens[p.at+1].kind == operator && p.tokens[p.at+1].text == "=":
			a.names = append(a.names, p.next().text)
			p.next()
			a.named = append(a.named, p.expression())
		default:
			a.list = append(a.list, p.expression())
		}
	}
	return a
}

// filtered reads the filters, tests and calls that follow e.
func (p *parser) filtered(e expr) expr {
	for {
		line := p.peek().line
		switch {
		case p.accept(operator, "|"):
			e = p.filter(e, line)
		case p.accept(name, "is"):
			e = p.test(e, line)
		case p.is(operator, "("):
			e = &callExpr{e, p.arguments(), line}
		default:
			return e
		}
	}
}

func (p *parser) filter(e expr, line int) expr {
	f := &filterExpr{of: e, name: p.expect(name, "").text, line: line}
	if _, known := filters[f.name]; !known {
		p.missing("filter", f.name)
	}
	if p.is(operator, "(") {
		f.args = p.arguments()
	}
	return f
}

// filterChain reads the filters of a block: name(args) | name …; the result applies them to an
// expression.
func (p *parser) filterChain() func(expr) expr {
	hole, before := &filterExpr{}, len(p.unknown)
	e := p.filter(hole, p.peek().line)
	for line := p.peek().line; p.accept(operator, "|"); {
		e = p.filter(e, line)
	}
	p.complete(before)
	return func(of expr) expr { return refill(e, hole, of) }
}

// refill is e with of in the place of hole.
func refill(e expr, hole *filterExpr, of expr) expr {
	f := e.(*filterExpr)
	if f == hole {
		return of
	}
	copied := *f
	copied.of = refill(f.of, hole, of)
	return &copied
}

func (p *parser) test(e expr, line int) expr {
	t := testExpr{of: e, not: p.accept(name, "not"), line: line}
	t.name = p.expect(name, "").text
	if _, known := tests[t.name]; !known {
		p.missing("test", t.name)
	}
	switch k := p.peek(); {
	case p.is(operator, "("):
		t.args = p.arguments()
	case k.kind == name && k.text != "else" && k.text != "or" && k.text != "and" && k.text != "if" && k.text != "is" && k.text != "in" && k.text != "not",
		k.kind == str, k.kind == integer, k.kind == float, p.is(operator, "["), p.is(operator, "{"):
		t.args.list = []expr{p.postfix(p.primary())}
	}
	return t
}
