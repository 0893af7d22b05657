// Package asmtest runs amd64 assembly without the processor that it is for.
//
// It interprets the text of the .s files that avo writes for packages simd and
// gemm: the few dozen instructions used there, with vectors of any width, AMX's tiles and
// AVX512-BF16. So that code is tested on machines without it; the interpreter itself is
// tested by comparing it, bit by bit, with the AVX2 code running on the
// processor. It is stricter than a processor: memory outside the slices it was
// given is an error.
package asmtest

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"dataflex.dev/dataflex/kernels/simd/words"
)

// Program is the functions of a file by name.
type Program map[string]*Function

// Function is one TEXT block.
type Function struct {
	name   string
	code   []instruction
	labels map[string]int
}

type instruction struct {
	line   int
	text   string
	op     string
	args   []operand
	target int // of a jump
}

type operandKind uint8

const (
	immediate operandKind = iota
	general               // a general register
	vector                // a vector register
	tile                  // a tile of AMX
	memory                // disp(base)(index*scale)
	argument              // name+disp(FP)
	label
)

type operand struct {
	kind        operandKind
	value       uint64 // immediate
	reg         int    // general or vector register, or tile
	lanes       int    // floats in the vector register
	base, index int    // of memory; index -1 = none
	scale, disp int
	name        string
}

// Load parses a file.
func Load(path string) (Program, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p, err := Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// Parse reads the text of a .s file.
func Parse(text string) (Program, error) {
	p := Program{}
	var f *Function
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "//")
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case strings.HasPrefix(line, "TEXT "):
			name, _, _ := strings.Cut(strings.TrimPrefix(line, "TEXT ·"), "(")
			f = &Function{name: name, labels: map[string]int{}}
			p[name] = f
		case f == nil:
			return nil, fmt.Errorf("line %d: %q outside a function", i+1, line)
		case strings.HasSuffix(line, ":"):
			f.labels[strings.TrimSuffix(line, ":")] = len(f.code)
		default:
			in, err := parseInstruction(line)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", i+1, err)
			}
			in.line = i + 1
			f.code = append(f.code, in)
		}
	}
	for _, f := range p {
		if err := f.resolve(); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// resolve turns the labels of jumps into places in the code.
func (f *Function) resolve() error {
	for i := range f.code {
		in := &f.code[i]
		if len(in.args) == 1 && in.args[0].kind == label {
			to, ok := f.labels[in.args[0].name]
			if !ok {
				return fmt.Errorf("line %d: no label %s in %s", in.line, in.args[0].name, f.name)
			}
			in.target = to
		}
	}
	return nil
}

// unnamed are the instructions that a file holds as bytes, by their lines.
var unnamed = words.Texts()

func parseInstruction(line string) (instruction, error) {
	if text, ok := unnamed[line]; ok {
		line = text
	}
	op, rest, _ := strings.Cut(line, " ")
	in := instruction{op: op, text: line}
	if _, ok := operations[op]; !ok {
		return in, fmt.Errorf("%s is not interpreted", op)
	}
	if rest = strings.TrimSpace(rest); rest == "" {
		return in, nil
	}
	for _, s := range strings.Split(rest, ",") {
		o, err := parseOperand(strings.TrimSpace(s))
		if err != nil {
			return in, fmt.Errorf("%q: %w", line, err)
		}
		in.args = append(in.args, o)
	}
	return in, nil
}

var generals = map[string]int{
	"AX": 0, "CX": 1, "DX": 2, "BX": 3, "SI": 4, "DI": 5, "R8": 6, "R9": 7, "R10": 8,
	"R11": 9, "R12": 10, "R13": 11, "R14": 12, "R15": 13, "BP": 14, "AL": 0, "CL": 1, "DL": 2, "BL": 3,
}

func parseOperand(s string) (operand, error) {
	if r, ok := generals[s]; ok {
		return operand{kind: general, reg: r}, nil
	}
	if s[0] == '$' {
		v, err := strconv.ParseUint(s[1:], 0, 64)
		return operand{kind: immediate, value: v}, err
	}
	if lanes, ok := map[byte]int{'X': 4, 'Y': 8, 'Z': 16}[s[0]]; ok {
		if r, err := strconv.Atoi(s[1:]); err == nil {
			return operand{kind: vector, reg: r, lanes: lanes}, nil
		}
	}
	if strings.Contains(s, "(") {
		return parseMemory(s)
	}
	if len(s) == 2 && s[0] == 'T' && s[1] >= '0' && s[1] <= '7' {
		return operand{kind: tile, reg: int(s[1] - '0')}, nil
	}
	return operand{kind: label, name: s}, nil
}

// parseMemory reads name+disp(FP), disp(base) and disp(base)(index*scale).
func parseMemory(s string) (operand, error) {
	disp, rest, _ := strings.Cut(s, "(")
	o := operand{kind: memory, index: -1}
	if strings.HasSuffix(rest, "FP)") {
		_, disp, _ = strings.Cut(disp, "+")
		o.kind = argument
	}
	if disp != "" {
		d, err := strconv.Atoi(disp)
		if err != nil {
			return o, err
		}
		o.disp = d
	}
	if o.kind == argument {
		return o, nil
	}
	base, rest, _ := strings.Cut(rest, ")")
	var ok bool
	if o.base, ok = generals[base]; !ok {
		return o, fmt.Errorf("no register %q", base)
	}
	if rest == "" {
		return o, nil
	}
	index, scale, _ := strings.Cut(strings.Trim(rest, "()"), "*")
	if o.index, ok = generals[index]; !ok {
		return o, fmt.Errorf("no register %q", index)
	}
	var err error
	o.scale, err = strconv.Atoi(scale)
	return o, err
}
