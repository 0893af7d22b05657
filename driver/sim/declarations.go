package sim

import "strings"

// Parameter is a kernel's parameter as declared in the PTX.
type Parameter struct {
	Name                string
	Offset, Size, Align int // Offset is from the first parameter
	Reads               []Read
}

// Read is a value that the kernel loads from a parameter by its name. Loads through the
// parameter's address are not included.
type Read struct {
	Offset, Size int // Offset is from the first parameter
	Float        bool
	Line         int
}

// Declarations parses PTX text and returns the parameters of its entries.
func Declarations(name, text string) (map[string][]Parameter, error) {
	m, err := parseModule(name, text)
	if err != nil {
		return nil, err
	}
	out := map[string][]Parameter{}
	for name, k := range m.kernels {
		out[name] = k.declarations()
	}
	return out, nil
}

func (k *kernel) declarations() []Parameter {
	out := make([]Parameter, len(k.params))
	byName := map[string]*Parameter{}
	for i, p := range k.params {
		out[i] = Parameter{Name: p.name, Offset: p.offset, Size: p.size, Align: p.align}
		byName[p.name] = &out[i]
	}
	for _, s := range k.statements {
		if !strings.HasPrefix(s.opcode, "ld.param") || len(s.args) != 2 {
			continue
		}
		p := byName[s.args[1].sub[0].name]
		if p == nil {
			continue
		}
		t := typeByName[s.opcode[strings.LastIndexByte(s.opcode, '.')+1:]]
		n := max(len(s.args[0].sub), 1) // of a vector
		for i := range n {
			p.Reads = append(p.Reads, Read{p.Offset + int(s.args[1].offset) + i*t.size(), t.size(), t == tF32, s.line})
		}
	}
	return out
}
