package sim

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

type operandKind uint8

const (
	immediate  operandKind = iota
	regOperand             // a register
	special                // %tid.x and the like
	symbol                 // a variable or parameter, with an offset
	vector                 // {a, b}
	memory                 // [base + offset, more]
	sink                   // _
	pair                   // a|b
)

type operand struct {
	kind   operandKind
	reg    *register
	neg    bool // !p
	name   string
	value  uint64 // of an immediate: an integer, float32 or float64 bits
	float  uint8  // size in bytes of the float in value; 0 for an integer
	offset int64
	sub    []operand
}

// bits is an immediate as an operand of type t.
func (o *operand) bits(t typ) uint64 {
	switch {
	case t == tF64 && o.float == 4:
		return math.Float64bits(float64(math.Float32frombits(uint32(o.value))))
	case t == tF32 && o.float == 8:
		return uint64(math.Float32bits(float32(math.Float64frombits(o.value))))
	}
	return o.value
}

func (p *parser) entry() {
	k := &kernel{module: p.m, name: p.next(), maxThreads: 1024, static: sharedBase, cluster: [3]int{1, 1, 1}}
	p.k, p.pos, p.fixups = k, nil, nil
	p.scopes, p.labels, p.tables = nil, nil, nil
	if p.accept("(") {
		for !p.accept(")") {
			p.want(".param")
			v := p.declaration("param")
			k.paramBytes = alignUp(k.paramBytes, v.align)
			k.params = append(k.params, parameter{v.name, k.paramBytes, v.size, v.align, len(k.params)})
			k.paramBytes += v.size
			p.accept(",")
		}
	}
	p.directives()
	for _, v := range p.m.vars {
		if v.space == "shared" {
			k.place(v)
		} else {
			k.vars = append(k.vars, v)
		}
	}
	p.body()
	if p.m.kernels[k.name] != nil {
		p.fail("a second kernel %s", k.name)
	}
	p.m.kernels[k.name] = k
	p.m.order = append(p.m.order, k.name)
}

func alignUp(n, align int) int { return (n + align - 1) / align * align }

// place assigns an address to a variable of the kernel.
func (k *kernel) place(v *variable) {
	c := *v
	switch v.space {
	case "shared":
		if v.size > 0 {
			k.static = alignUp(k.static, v.align)
			c.addr = uint64(k.static)
			k.static += v.size
		}
	case "local":
		k.localBytes = alignUp(k.localBytes, v.align)
		c.addr = localWindow + uint64(k.localBytes)
		k.localBytes += v.size
	}
	k.vars = append(k.vars, &c)
}

func (p *parser) directives() {
	for p.peek() != "{" {
		line := p.line()
		switch s := p.next(); s {
		case ".maxntid", ".reqntid":
			dims := p.integers()
			p.k.maxThreads = 1
			for _, d := range dims {
				p.k.maxThreads *= d
			}
			if s == ".reqntid" {
				p.k.reqThreads = dims
			}
		case ".minnctapersm", ".maxnreg", ".maxnctapersm":
			p.integer()
		case ".reqnctapercluster":
			p.k.cluster, p.k.explicit = p.clusterExtents(line), true
		case ".explicitcluster":
			p.k.explicit = true
		case ".maxclusterrank":
			p.integer()
		default:
			p.failAt(line, "kernel directive %q", s)
		}
	}
}

// clusterExtents reads the blocks of a cluster in each dimension.
func (p *parser) clusterExtents(line int) [3]int {
	out, blocks := [3]int{1, 1, 1}, 1
	for i, d := range p.integers() {
		if i > 2 || d < 1 {
			p.failAt(line, "extents of a cluster")
		}
		out[i], blocks = d, blocks*d
	}
	if blocks > portableCluster {
		p.failAt(line, "a cluster of %d blocks; every GPU that has clusters takes %d", blocks, portableCluster)
	}
	return out
}

func (p *parser) integers() []int {
	out := []int{p.integer()}
	for p.accept(",") {
		out = append(out, p.integer())
	}
	return out
}

func (p *parser) body() {
	for {
		line := p.line()
		switch s := p.next(); {
		case s == "{":
			p.scopes = append(p.scopes, map[string]*register{})
			p.labels = append(p.labels, map[string]int{})
			p.tables = append(p.tables, map[string][]string{})
		case s == "}":
			n := len(p.scopes) - 1
			if n == 0 {
				p.resolve()
				return
			}
			p.scopes, p.labels, p.tables = p.scopes[:n], p.labels[:n], p.tables[:n]
		case s == ".reg":
			p.declareRegisters()
		case s == ".shared", s == ".local":
			p.k.place(p.variable(s[1:]))
		case s == ".loc":
			p.location()
		case s == ".pragma":
			for p.next() != ";" {
			}
		case p.peek() == ":":
			p.at++
			p.label(s)
		case strings.HasPrefix(s, "."):
			p.failAt(line, "directive %q in a kernel", s)
		default:
			p.at--
			p.statement()
		}
	}
}

func (p *parser) label(name string) {
	if p.accept(".branchtargets") {
		var list []string
		for !p.accept(";") {
			list = append(list, p.next())
			p.accept(",")
		}
		p.tables[len(p.tables)-1][name] = list
		return
	}
	p.labels[len(p.labels)-1][name] = len(p.k.statements)
}

// location reads .loc file line column [, function_name l [+ n], inlined_at f l c].
func (p *parser) location() {
	q := &position{file: p.integer(), line: p.integer()}
	p.integer()
	for p.accept(",") {
		switch p.next() {
		case "function_name":
			p.next()
			if p.accept("+") {
				p.integer()
			}
		case "inlined_at":
			q.inFile, q.inLine = p.integer(), p.integer()
			p.integer()
		default:
			p.fail("attribute of .loc")
		}
	}
	if q.line != 0 || p.pos == nil { // line 0 is code without a line: it keeps the position before
		p.pos = q
	}
}

func (p *parser) statement() {
	s := statement{line: p.line(), pos: p.pos}
	if p.accept("@") {
		s.neg = p.accept("!")
		name := p.next()
		if s.pred = p.lookup(name); s.pred == nil || s.pred.typ != tPred {
			p.failAt(s.line, "%s is not a predicate", name)
		}
	}
	s.opcode = p.next()
	switch base, _, _ := strings.Cut(s.opcode, "."); base {
	case "call":
		p.failAt(s.line, "call: everything must be inlined")
	case "bra":
		p.fixups = append(p.fixups, fixup{len(p.k.statements), []string{p.next()}, slices.Clone(p.labels), s.line})
		p.want(";")
	case "brx":
		s.args = []operand{p.operand()}
		p.want(",")
		name := p.next()
		p.want(";")
		var list []string
		for i := len(p.tables) - 1; i >= 0 && list == nil; i-- {
			list = p.tables[i][name]
		}
		if list == nil {
			p.failAt(s.line, "no branch targets %s", name)
		}
		p.fixups = append(p.fixups, fixup{len(p.k.statements), list, slices.Clone(p.labels), s.line})
	default:
		for !p.accept(";") {
			s.args = append(s.args, p.operand())
			if p.peek() != ";" {
				p.want(",")
			}
		}
	}
	p.k.statements = append(p.k.statements, s)
}

// resolve places dynamic shared memory after the static memory and turns the labels of
// branches into statement indices.
func (p *parser) resolve() {
	for _, v := range p.k.vars {
		if v.space == "shared" && v.size == 0 {
			p.k.static = alignUp(p.k.static, v.align)
		}
	}
	for _, v := range p.k.vars {
		if v.space == "shared" && v.size == 0 {
			v.addr = uint64(p.k.static)
		}
	}
	for _, f := range p.fixups {
		for _, name := range f.names {
			at := -1
			for i := len(f.scopes) - 1; i >= 0 && at < 0; i-- {
				if n, ok := f.scopes[i][name]; ok {
					at = n
				}
			}
			if at < 0 {
				p.failAt(f.line, "no label %s", name)
			}
			st := &p.k.statements[f.statement]
			st.labels = append(st.labels, at)
		}
	}
}

func (p *parser) operand() operand {
	o := p.simpleOperand()
	if p.accept("|") {
		return operand{kind: pair, sub: []operand{o, p.simpleOperand()}}
	}
	return o
}

func (p *parser) simpleOperand() operand {
	line := p.line()
	s := p.next()
	switch c := s[0]; {
	case s == "_":
		return operand{kind: sink}
	case c == '!':
		o := p.simpleOperand()
		o.neg = true
		return o
	case c == '-':
		o := p.simpleOperand()
		if o.kind != immediate {
			p.failAt(line, "a sign before an operand that is not a number")
		}
		switch o.float {
		case 4:
			o.value ^= 1 << 31
		case 8:
			o.value ^= 1 << 63
		default:
			o.value = -o.value
		}
		return o
	case c == '{':
		return p.vectorOperand()
	case c == '[':
		return p.memoryOperand()
	case c >= '0' && c <= '9':
		return p.number(line, s)
	}
	if r := p.lookup(s); r != nil {
		return operand{kind: regOperand, reg: r, name: s}
	}
	if s[0] == '%' {
		return operand{kind: special, name: s[1:]}
	}
	if !isWord(s[0]) {
		p.failAt(line, "%q where an operand is expected", s)
	}
	o := operand{kind: symbol, name: s}
	if p.accept("+") {
		o.offset = int64(p.integer())
	}
	return o
}

func (p *parser) vectorOperand() operand {
	v := operand{kind: vector}
	for !p.accept("}") {
		v.sub = append(v.sub, p.simpleOperand())
		if p.peek() != "}" {
			p.want(",")
		}
	}
	return v
}

func (p *parser) memoryOperand() operand {
	v := operand{kind: memory, sub: []operand{p.simpleOperand()}}
	if v.sub[0].kind == symbol {
		v.offset, v.sub[0].offset = v.sub[0].offset, 0
	}
	for !p.accept("]") {
		line := p.line()
		switch p.next() {
		case "+":
			sign := int64(1)
			if p.accept("-") {
				sign = -1
			}
			v.offset += sign * int64(p.integer())
		case "-":
			v.offset -= int64(p.integer())
		case ",":
			v.sub = append(v.sub, p.simpleOperand())
		default:
			p.failAt(line, "address")
		}
	}
	return v
}

func (p *parser) number(line int, s string) operand {
	o := operand{kind: immediate}
	var err error
	switch {
	case len(s) == 10 && (s[1] == 'f' || s[1] == 'F'):
		o.float = 4
		o.value, err = strconv.ParseUint(s[2:], 16, 32)
	case len(s) == 18 && (s[1] == 'd' || s[1] == 'D'):
		o.float = 8
		o.value, err = strconv.ParseUint(s[2:], 16, 64)
	case strings.ContainsAny(s, ".") && !strings.HasPrefix(s, "0x"):
		var f float64
		f, err = strconv.ParseFloat(s, 64)
		o.value, o.float = math.Float64bits(f), 8
	default:
		o.value, err = strconv.ParseUint(strings.TrimSuffix(s, "U"), 0, 64)
	}
	if err != nil {
		p.failAt(line, "%q is not a number", s)
	}
	return o
}
