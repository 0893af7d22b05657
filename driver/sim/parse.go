package sim

import (
	"fmt"
	"path"
	"strconv"
	"strings"
)

// The parser turns PTX text into kernels, each a flat list of statements whose branch
// targets are statement indices. It panics with *SyntaxError, which parseModule converts to
// an error: recursive descent is easier to read without an error at every step.

// sharedBase is where shared memory starts: the system reserves the first KiB on sm_90, and
// a null pointer is never valid here.
const sharedBase = 1024

type register struct {
	typ  typ
	slot int // in the file of its width: predicates, up to 32 bits, 64 bits
}

// position is a place in the CUDA source, from .loc.
type position struct {
	file, line       int
	inFile, inLine   int // where the function containing it was inlined; 0 if nowhere
	fileName, inName string
}

func (p *position) String() string {
	switch {
	case p == nil:
		return ""
	case p.inLine != 0:
		return fmt.Sprintf("%s:%d (inlined at %s:%d)", path.Base(p.fileName), p.line, path.Base(p.inName), p.inLine)
	}
	return fmt.Sprintf("%s:%d", path.Base(p.fileName), p.line)
}

type statement struct {
	line   int
	pos    *position // nil without debug information
	pred   *register
	neg    bool
	opcode string // with modifiers
	args   []operand
	labels []int // branch targets as statement indices
}

type parameter struct {
	name                     string
	offset, size, align, num int
}

// variable is a named piece of memory.
type variable struct {
	name        string
	space       string // global, const, shared, local
	align, size int
	elem        typ
	init        []byte
	addr        uint64 // within its space; device address for global and const
}

// kernel is one .entry.
type kernel struct {
	module     *module
	name       string
	params     []parameter
	paramBytes int
	vars       []*variable // variables of the kernel and shared ones of the module
	static     int         // end of static shared memory, sharedBase included
	localBytes int
	maxThreads int // from .maxntid or .reqntid; default 1024
	reqThreads []int
	cluster    [3]int // blocks, from .reqnctapercluster
	explicit   bool   // .explicitcluster
	preds      int
	regs32     int
	regs64     int
	statements []statement

	program // filled by the decoder
}

// module is one PTX text.
type module struct {
	name, version, target string
	source                []string // its lines
	files                 map[int]string
	kernels               map[string]*kernel
	order                 []string
	vars                  []*variable
}

type parser struct {
	toks []token
	at   int
	m    *module
	k    *kernel
	pos  *position

	scopes []map[string]*register
	labels []map[string]int
	tables []map[string][]string
	fixups []fixup
}

// fixup is a statement whose labels are resolved at the end of the kernel.
type fixup struct {
	statement int
	names     []string
	scopes    []map[string]int
	line      int
}

func (p *parser) peek() string {
	if p.at < len(p.toks) {
		return p.toks[p.at].text
	}
	return ""
}

func (p *parser) next() string {
	s := p.peek()
	if s == "" {
		p.fail("the text ends here")
	}
	p.at++
	return s
}

func (p *parser) line() int {
	if len(p.toks) == 0 {
		return 1
	}
	return p.toks[min(p.at, len(p.toks)-1)].line
}

func (p *parser) failAt(line int, format string, args ...any) {
	panic(&SyntaxError{Line: line, Msg: fmt.Sprintf(format, args...)})
}

func (p *parser) fail(format string, args ...any) { p.failAt(p.line(), format, args...) }

func (p *parser) want(s string) {
	if p.peek() != s {
		p.fail("%q where %q is expected", p.peek(), s)
	}
	p.at++
}

func (p *parser) accept(s string) bool {
	if p.peek() != s {
		return false
	}
	p.at++
	return true
}

func (p *parser) integer() int {
	line := p.line()
	s := p.next()
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		p.failAt(line, "%q is not a number", s)
	}
	return int(n)
}

// parseModule reads a whole PTX text.
func parseModule(name, src string) (m *module, err error) {
	m = &module{name: name, source: strings.Split(src, "\n"), files: map[int]string{}, kernels: map[string]*kernel{}}
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(*SyntaxError)
			if !ok {
				panic(r)
			}
			m, err = nil, m.explain(e)
		}
	}()
	toks, err := lex(src)
	if err != nil {
		return nil, m.explain(err.(*SyntaxError))
	}
	p := &parser{toks: toks, m: m}
	for p.at < len(p.toks) {
		p.moduleItem()
	}
	m.nameFiles()
	if m.version == "" || m.target == "" {
		p.fail("no .version and .target")
	}
	return m, nil
}

// nameFiles sets the file names of positions: .file may follow their use.
func (m *module) nameFiles() {
	for _, k := range m.kernels {
		for i := range k.statements {
			if q := k.statements[i].pos; q != nil {
				q.fileName, q.inName = m.files[q.file], m.files[q.inFile]
			}
		}
	}
}

func (m *module) explain(e *SyntaxError) *SyntaxError {
	e.Module = m.name
	if e.Line >= 1 && e.Line <= len(m.source) {
		e.Text = m.source[e.Line-1]
	}
	return e
}

func (p *parser) moduleItem() {
	line := p.line()
	switch s := p.next(); s {
	case ".version":
		p.m.version = p.next()
	case ".target":
		p.m.target = p.next()
		for p.accept(",") {
			p.next()
		}
	case ".address_size":
		if p.integer() != 64 {
			p.failAt(line, "only 64-bit addresses")
		}
	case ".file":
		n := p.integer()
		p.m.files[n] = strings.Trim(p.next(), `"`)
		for p.accept(",") {
			p.next()
		}
	case ".section":
		p.next()
		p.block()
	case ".extern", ".visible", ".weak", ".common":
	case ".shared", ".global", ".const":
		p.m.vars = append(p.m.vars, p.variable(s[1:]))
	case ".entry":
		p.entry()
	case ".func":
		p.failAt(line, "functions are not supported: everything must be inlined")
	default:
		p.failAt(line, "%q at module scope", s)
	}
}

// block skips a braced block.
func (p *parser) block() {
	p.want("{")
	for depth := 1; depth > 0; {
		switch p.next() {
		case "{":
			depth++
		case "}":
			depth--
		}
	}
}

// declaration parses [.align N] .type [.ptr [.space] [.align N]] name [ [n] ]. The
// attributes after .ptr describe the memory to which a parameter points.
func (p *parser) declaration(space string) *variable {
	v := &variable{space: space, align: 1}
	pointer := false
	for {
		line := p.line()
		s := p.next()
		switch {
		case s == ".align":
			if n := p.integer(); !pointer {
				v.align = n
			}
		case s == ".ptr":
			pointer = true
		case s == ".global" || s == ".const" || s == ".shared" || s == ".local":
		case s == ".attribute":
			p.want("(")
			for p.next() != ")" {
			}
		case strings.HasPrefix(s, "."):
			v.elem = typeByName[s[1:]]
			if v.elem == tNone {
				p.failAt(line, "%q in a declaration", s)
			}
			v.align = max(v.align, v.elem.size())
		default:
			v.name, v.size = s, v.elem.size()
			if v.elem == tNone {
				p.failAt(line, "declaration of %s without a type", s)
			}
			for p.accept("[") {
				if p.accept("]") {
					v.size = 0
					continue
				}
				v.size *= p.integer()
				p.want("]")
			}
			return v
		}
	}
}

// variable parses a declaration at module or kernel scope with its initialiser.
func (p *parser) variable(space string) *variable {
	v := p.declaration(space)
	if p.accept("=") {
		v.init = make([]byte, 0, v.size)
		if p.accept("{") {
			for !p.accept("}") {
				v.init = p.initialiser(v)
				p.accept(",")
			}
		} else {
			v.init = p.initialiser(v)
		}
		if v.size == 0 {
			v.size = len(v.init)
		}
		if len(v.init) > v.size {
			p.fail("%d bytes of initialiser for %d bytes", len(v.init), v.size)
		}
	}
	p.want(";")
	return v
}

func (p *parser) initialiser(v *variable) []byte {
	o := p.operand()
	if o.kind != immediate {
		p.fail("initialisers are numbers only")
	}
	b := v.init
	for i := range v.elem.size() {
		b = append(b, byte(o.bits(v.elem)>>(8*i)))
	}
	return b
}

// declareRegisters parses .reg .type a, b, %r<n>;
func (p *parser) declareRegisters() {
	line := p.line()
	t, ok := typeByName[strings.TrimPrefix(p.next(), ".")]
	if !ok || t.size() > 8 {
		p.failAt(line, "registers of that type")
	}
	for {
		name, n, ranged := p.next(), 1, false
		if p.accept("<") {
			n, ranged = p.integer(), true
			p.want(">")
		}
		for j := range n {
			full := name
			if ranged {
				full += strconv.Itoa(j)
			}
			p.scopes[len(p.scopes)-1][full] = p.k.newRegister(t)
		}
		if p.accept(";") {
			return
		}
		p.want(",")
	}
}

func (k *kernel) newRegister(t typ) *register {
	r := &register{typ: t}
	switch {
	case t == tPred:
		r.slot = k.preds
		k.preds++
	case t.size() == 8:
		r.slot = k.regs64
		k.regs64++
	default:
		r.slot = k.regs32
		k.regs32++
	}
	return r
}

func (p *parser) lookup(name string) *register {
	for i := len(p.scopes) - 1; i >= 0; i-- {
		if r := p.scopes[i][name]; r != nil {
			return r
		}
	}
	return nil
}
