package sim

import (
	"fmt"
	"strings"
)

// Lint reads PTX and returns everything that is wrong with it before it runs: what the
// decoder does not take, a version or target other than named (each "" = any), local
// memory, and wgmma accumulators touched where ptxas would have to serialise.
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

// lintWgmma follows the text: from a wgmma.fence to the wait that covers a product, no
// other instruction may touch its accumulators.
func (k *kernel) lintWgmma() (errs []error) {
	groups := []map[*register]bool{{}} // committed, and last what is open
	fenced := -1
	touched := func(s *statement, regs map[*register]bool) *register {
		for i := range s.args {
			for _, r := range registersOf(&s.args[i]) {
				if regs[r] {
					return r
				}
			}
		}
		return nil
	}
	for i := range k.statements {
		s := &k.statements[i]
		report := func(what string) {
			e := k.module.explain(&SyntaxError{Line: s.line, Msg: what})
			errs = append(errs, e)
		}
		open := groups[len(groups)-1]
		switch o := &k.code[i]; {
		case strings.HasPrefix(s.opcode, "wgmma.fence"):
			fenced = i
		case strings.HasPrefix(s.opcode, "wgmma.commit_group"):
			groups = append(groups, map[*register]bool{})
		case strings.HasPrefix(s.opcode, "wgmma.wait_group"):
			keep := min(int(s.args[0].value)+1, len(groups))
			groups = groups[len(groups)-keep:]
			if keep == 1 {
				groups[0] = map[*register]bool{}
			}
		case strings.HasPrefix(s.opcode, "wgmma.mma_async"):
			acc := map[*register]bool{}
			for j := range s.args[0].sub {
				if r := s.args[0].sub[j].reg; r != nil {
					acc[r], open[r] = true, true
				}
			}
			for j := fenced + 1; fenced >= 0 && j < i; j++ {
				if t := &k.statements[j]; !strings.HasPrefix(t.opcode, "wgmma") && touched(t, acc) != nil {
					s = t
					report("an accumulator is touched between wgmma.fence and wgmma.mma_async")
				}
			}
			fenced = -1
		default:
			for _, g := range groups {
				if touched(s, g) != nil && o.kind != kindBranch {
					report("a wgmma accumulator is touched before the wait")
				}
			}
		}
	}
	return errs
}

// registersOf lists the registers in an operand.
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
