package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// decoder turns one statement into an op. Modifiers are consumed in PTX's order; a modifier
// that is left over is an error, as is an operand of a wrong kind, width or class.
type decoder struct {
	k      *kernel
	s      *statement
	base   string
	mods   []string
	o      op
	argsAt int // the highest operand used, to find surplus operands
}

// maxErrors is the largest number of errors reported for a module.
const maxErrors = 20

// decode fills k.program. Every statement that it does not accept is reported.
func (k *kernel) decode() error {
	k.const32, k.const64 = map[uint32]int32{}, map[uint64]int32{}
	// Slot 0 of each register file stands for operands that an op does not have.
	k.preds, k.regs32, k.regs64 = k.preds+1, k.regs32+1, k.regs64+1
	k.sinks = [3]int32{int32(k.preds - 1), int32(k.regs32 - 1), int32(k.regs64 - 1)}
	var errs []error
	for i := range k.statements {
		if err := k.decodeStatement(i); err != nil {
			errs = append(errs, err)
			if len(errs) == maxErrors {
				break
			}
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	k.code = append(k.code, op{kind: kindExit, pred: -1, index: int32(len(k.code)), statement: int32(len(k.statements) - 1)})
	return nil
}

func (k *kernel) decodeStatement(i int) (err error) {
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(*SyntaxError)
			if !ok {
				panic(r)
			}
			err = k.module.explain(e)
		}
	}()
	s := &k.statements[i]
	parts := strings.Split(s.opcode, ".")
	d := &decoder{k: k, s: s, base: parts[0], mods: parts[1:], argsAt: -1}
	d.o = op{pred: -1, statement: int32(i), index: int32(i), target: -1}
	if s.pred != nil {
		d.o.pred, d.o.neg = int32(s.pred.slot), s.neg
	}
	f := opcodes[d.base]
	if f == nil {
		d.fail("unknown opcode %q", d.base)
	}
	f(d)
	if len(d.mods) > 0 {
		d.fail("modifier .%s is not supported here", d.mods[0])
	}
	if d.argsAt+1 < len(s.args) {
		d.fail("%d operands, %d expected", len(s.args), d.argsAt+1)
	}
	k.code = append(k.code, d.o)
	return nil
}

func (d *decoder) fail(format string, args ...any) {
	panic(&SyntaxError{Line: d.s.line, Msg: fmt.Sprintf(format, args...)})
}

// opt consumes a modifier if it is the next one.
func (d *decoder) opt(name string) bool {
	if len(d.mods) > 0 && d.mods[0] == name {
		d.mods = d.mods[1:]
		return true
	}
	return false
}

// maybe consumes one of names if it is the next modifier, or returns "".
func (d *decoder) maybe(names ...string) string {
	if len(d.mods) > 0 && slices.Contains(names, d.mods[0]) {
		s := d.mods[0]
		d.mods = d.mods[1:]
		return s
	}
	return ""
}

// one consumes one of names, which must be the next modifier.
func (d *decoder) one(names ...string) string {
	s := d.maybe(names...)
	if s == "" {
		have := "nothing"
		if len(d.mods) > 0 {
			have = "." + d.mods[0]
		}
		d.fail("%s where one of .%s is expected", have, strings.Join(names, " ."))
	}
	return s
}

// typ consumes a type, one of allowed.
func (d *decoder) typ(allowed ...typ) typ {
	if len(d.mods) == 0 {
		d.fail("the type is missing")
	}
	t, ok := typeByName[d.mods[0]]
	if !ok || !slices.Contains(allowed, t) {
		d.fail("type .%s is not supported here", d.mods[0])
	}
	d.mods = d.mods[1:]
	return t
}

// typeAhead looks at the last modifier, which is the type in most instructions.
func (d *decoder) typeAhead() typ {
	if len(d.mods) == 0 {
		return tNone
	}
	return typeByName[d.mods[len(d.mods)-1]]
}

func (d *decoder) argc() int { return len(d.s.args) }

func (d *decoder) arg(i int) *operand {
	if i >= len(d.s.args) {
		d.fail("operand %d is missing", i+1)
	}
	d.argsAt = max(d.argsAt, i)
	return &d.s.args[i]
}

func (d *decoder) const32(v uint32) int32 {
	s, ok := d.k.const32[v]
	if !ok {
		s = int32(d.k.regs32)
		d.k.regs32++
		d.k.const32[v] = s
	}
	return s
}

func (d *decoder) const64(v uint64) int32 {
	s, ok := d.k.const64[v]
	if !ok {
		s = int32(d.k.regs64)
		d.k.regs64++
		d.k.const64[v] = s
	}
	return s
}

// reg checks that o is a register that holds a value of type t.
func (d *decoder) reg(o *operand, t typ) int32 {
	if o.kind != regOperand {
		d.fail("operand is not a register of type .%s", t)
	}
	r := o.reg
	if r.typ.size() != t.size() || !t.agrees(r.typ) {
		d.fail("register %s is .%s, the instruction requires .%s", o.name, r.typ, t)
	}
	return int32(r.slot)
}

// dst is the slot of operand i as a destination of type t.
func (d *decoder) dst(i int, t typ) int32 { return d.dstOf(d.arg(i), t) }

func (d *decoder) dstOf(o *operand, t typ) int32 {
	if o.kind == sink {
		return d.sink(t)
	}
	return d.reg(o, t)
}

func (d *decoder) sink(t typ) int32 {
	switch {
	case t == tPred:
		return d.k.sinks[0]
	case t.size() == 8:
		return d.k.sinks[2]
	}
	return d.k.sinks[1]
}

// src is the slot of operand i as a source of type t.
func (d *decoder) src(i int, t typ) int32 { return d.srcOf(d.arg(i), t) }

func (d *decoder) srcOf(o *operand, t typ) int32 {
	switch o.kind {
	case regOperand:
		return d.reg(o, t)
	case immediate:
		if o.float != 0 && t.class() == intClass {
			d.fail("a floating-point number in an integer instruction")
		}
		if t.size() == 8 {
			return d.const64(o.bits(t))
		}
		return d.const32(uint32(o.bits(t)) & lowMask(t.size()))
	case symbol:
		addr := d.address(o)
		if t.size() == 8 {
			return d.const64(addr)
		}
		if t.size() == 4 && addr < 1<<32 {
			return d.const32(uint32(addr))
		}
	}
	d.fail("operand is not a register or constant of type .%s", t)
	return 0
}

// lowMask has the bits of a value of size bytes in a 32-bit row.
func lowMask(size int) uint32 {
	if size >= 4 {
		return allLanes
	}
	return 1<<(8*size) - 1
}

// address is the value of a symbol.
func (d *decoder) address(o *operand) uint64 {
	if p := d.param(o.name); p != nil {
		return paramWindow + uint64(p.offset) + uint64(o.offset)
	}
	v := d.variable(o.name)
	return v.addr + uint64(o.offset)
}

func (d *decoder) param(name string) *parameter {
	for i := range d.k.params {
		if d.k.params[i].name == name {
			return &d.k.params[i]
		}
	}
	return nil
}

// variable finds a symbol, in the innermost declaration first.
func (d *decoder) variable(name string) *variable {
	for i := len(d.k.vars) - 1; i >= 0; i-- {
		if d.k.vars[i].name == name {
			return d.k.vars[i]
		}
	}
	d.fail("unknown name %q", name)
	return nil
}

// predicate is the slot of a predicate operand, and whether it is negated.
func (d *decoder) predicate(i int) (int32, bool) {
	o := d.arg(i)
	if o.kind == regOperand && o.reg.typ == tPred {
		return int32(o.reg.slot), o.neg
	}
	d.fail("operand %d is not a predicate", i+1)
	return 0, false
}

// number is operand i as an integer constant in [lo, hi].
func (d *decoder) number(i int, lo, hi int64) int64 {
	o := d.arg(i)
	if o.kind != immediate || o.float != 0 {
		d.fail("operand %d must be an integer constant", i+1)
	}
	v := int64(o.value)
	if v < lo || v > hi {
		d.fail("operand %d is %d, not in %d..%d", i+1, v, lo, hi)
	}
	return v
}

// list is operand i as n registers of type t, in braces (or bare when n is 1).
func (d *decoder) list(i, n int, t typ) []int32 {
	o := d.arg(i)
	subs := o.sub
	if o.kind != vector {
		subs = []operand{*o}
	}
	if len(subs) != n {
		d.fail("operand %d has %d registers, %d expected", i+1, len(subs), n)
	}
	out := make([]int32, n)
	for j := range subs {
		if i == 0 {
			out[j] = d.dstOf(&subs[j], t)
		} else {
			out[j] = d.srcOf(&subs[j], t)
		}
	}
	return out
}

// alu, alu64 … set the function of an op whose operands are d, a, b, c.
func (d *decoder) alu(t typ, n int, f func(d, a, b, c *row)) {
	d.o.kind, d.o.f32 = kindAlu, f
	d.operands(t, n)
}

func (d *decoder) alu64(t typ, n int, f func(d, a, b, c *row64)) {
	d.o.kind, d.o.f64 = kindAlu64, f
	d.operands(t, n)
}

func (d *decoder) operands(t typ, n int) {
	d.o.d = d.dst(0, t)
	for i, s := range []*int32{&d.o.a, &d.o.b, &d.o.c}[:n] {
		*s = d.src(i+1, t)
	}
}
