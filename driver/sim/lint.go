package sim

import (
	"fmt"
	"strings"
)

// Lint reads PTX and returns everything that is wrong with it before it runs: text that the
// decoder does not accept, another version or target than given (each "" = any), local
// memory, and accesses to wgmma accumulators that would make ptxas serialise.
func Lint(name string, ptx []byte, version, target string) []error {
	m, err := parseModule(name, string(ptx))
	if err != nil {
		return []error{err}
	}
	var errs []error
	if version != "" && m.version != version || target != "" && m.target != target {
		errs = append(errs, fmt.Errorf("%s: .version %s .target %s, not %s and %s", name, m.version, m.target, version, target))
	}
	for i, v := range m.vars {
		if v.space != "shared" {
			v.addr = uint64(i+1) << windowShift
		}
	}
	for _, n := range m.order {
		k := m.kernels[n]
		if err := k.decode(); err != nil {
			errs = append(errs, fmt.Errorf("kernel %s: %w", n, err))
			continue
		}
		if k.localBytes > 0 {
			errs = append(errs, fmt.Errorf("%s: kernel %s has %d bytes of local memory", name, n, k.localBytes))
		}
		errs = append(errs, k.lintWgmma()...)
	}
	return errs
}

// underWay is the products that may be in flight at a point of the program: sets of
// accumulator lists, by group from the oldest to the newest; the last is not committed yet.
type underWay struct {
	n      int
	groups [9]uint64
}

func (f underWay) commit() underWay {
	switch {
	case f.n == 0: // there is nothing older, and nothing to wait for in an empty group
		if f.groups[0] == 0 {
			return f
		}
	case f.n == len(f.groups)-1: // no wait keeps that many: merge the two oldest
		f.groups[1] |= f.groups[0]
		copy(f.groups[:], f.groups[1:])
		f.n--
	}
	f.n++
	f.groups[f.n] = 0
	return f
}

func (f underWay) wait(keep int) (out underWay) {
	drop := max(0, f.n-keep)
	out.n = f.n - drop
	copy(out.groups[:], f.groups[drop:f.n+1])
	return out
}

func (f underWay) all() (set uint64) {
	for _, g := range f.groups {
		set |= g
	}
	return set
}

// lintWgmma follows every path through the kernel: between a product and the wait that
// covers it no other instruction may access its accumulators or write to the registers that
// hold A, nor access its accumulators between the fence and the product.
func (k *kernel) lintWgmma() (errs []error) {
	if !k.usesWgmma {
		return nil
	}
	lists, member, sources := k.wgmmaRegisters()
	reported := map[int]bool{}
	report := func(i int, what string) {
		if !reported[i] {
			reported[i] = true
			errs = append(errs, k.module.explain(&SyntaxError{Line: k.statements[i].line, Msg: what}))
		}
	}
	k.lintFences(member, report)
	type point struct {
		pc    int
		state underWay
	}
	seen := map[point]bool{}
	for open := []point{{}}; len(open) > 0; {
		p := open[len(open)-1]
		open = open[:len(open)-1]
		if seen[p] || p.pc >= len(k.code) {
			continue
		}
		seen[p] = true
		s, o := &k.statements[p.pc], &k.code[p.pc]
		switch {
		case strings.HasPrefix(s.opcode, "wgmma.commit_group"):
			p.state = p.state.commit()
		case strings.HasPrefix(s.opcode, "wgmma.wait_group"):
			p.state = p.state.wait(int(s.args[0].value))
		case writes(s, sources)&p.state.all() != 0:
			report(p.pc, "a register from which a wgmma reads A is written before the wait")
		case strings.HasPrefix(s.opcode, "wgmma.mma_async"):
			p.state.groups[p.state.n] |= lists[p.pc]
		case touches(s, member)&p.state.all() != 0:
			report(p.pc, "a wgmma accumulator is accessed before the wait")
		}
		for _, to := range s.labels {
			open = append(open, point{int(to), p.state})
		}
		if always := o.pred < 0; !always || o.kind != kindExit && len(s.labels) == 0 {
			open = append(open, point{p.pc + 1, p.state})
		}
	}
	return errs
}

// wgmmaRegisters numbers the lists of registers in which products accumulate or from which
// they read A. It returns every product's lists, and for every register the accumulator
// lists and the A lists that contain it, as bits.
func (k *kernel) wgmmaRegisters() (lists map[int]uint64, member, sources map[*register]uint64) {
	lists, member, sources = map[int]uint64{}, map[*register]uint64{}, map[*register]uint64{}
	known := map[string]uint64{}
	number := func(i, arg int, of map[*register]uint64) {
		regs := registersOf(&k.statements[i].args[arg])
		name := fmt.Sprint(arg, regs)
		if known[name] == 0 {
			known[name] = 1 << min(len(known), 63)
		}
		lists[i] |= known[name]
		for _, r := range regs {
			of[r] |= known[name]
		}
	}
	for i := range k.statements {
		s := &k.statements[i]
		if !strings.HasPrefix(s.opcode, "wgmma.mma_async") {
			continue
		}
		number(i, 0, member)
		if s.args[1].kind == vector {
			number(i, 1, sources)
		}
	}
	return
}

// writes is the lists that contain a register the statement writes.
func writes(s *statement, of map[*register]uint64) (set uint64) {
	if len(s.args) < 2 || s.args[0].kind == memory || strings.HasPrefix(s.opcode, "bar") {
		return 0
	}
	for _, r := range registersOf(&s.args[0]) {
		set |= of[r]
	}
	return set
}

func touches(s *statement, member map[*register]uint64) (set uint64) {
	for i := range s.args {
		for _, r := range registersOf(&s.args[i]) {
			set |= member[r]
		}
	}
	return set
}

// lintFences checks the statements between a fence and the next product.
func (k *kernel) lintFences(member map[*register]uint64, report func(i int, what string)) {
	fenced := -1
	for i := range k.statements {
		switch s := &k.statements[i]; {
		case strings.HasPrefix(s.opcode, "wgmma.fence"):
			fenced = i
		case strings.HasPrefix(s.opcode, "wgmma.mma_async"):
			var sums uint64
			for _, r := range registersOf(&s.args[0]) {
				sums |= member[r]
			}
			for j := fenced + 1; fenced >= 0 && j < i; j++ {
				if touches(&k.statements[j], member)&sums != 0 {
					report(j, "an accumulator is accessed between wgmma.fence and wgmma.mma_async")
				}
			}
			fenced = -1
		}
	}
}

// registersOf lists the registers of an operand.
func registersOf(o *operand) []*register {
	if o.reg != nil {
		return []*register{o.reg}
	}
	var out []*register
	for i := range o.sub {
		out = append(out, registersOf(&o.sub[i])...)
	}
	return out
}
