package pyjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Decode is json.loads. Unlike encoding/json it accepts NaN, Infinity and -Infinity, keeps the
// order of keys, and keeps 1 an int and 1.0 a float64. A duplicate key has its first position
// and its last value, as in a dict.
func Decode(raw []byte) (any, error) {
	p := parser{s: raw}
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if p.space(); p.i < len(p.s) {
		return nil, p.fault("nothing more")
	}
	return v, nil
}

// DecodeObject is Decode where only an object will do.
func DecodeObject(raw []byte) (Object, error) {
	v, err := Decode(raw)
	if err != nil {
		return nil, err
	}
	o, ok := v.(Object)
	if !ok {
		return nil, fmt.Errorf("JSON: not an object")
	}
	return o, nil
}

// maxNesting keeps a damaged file from exhausting the stack.
const maxNesting = 1000

type parser struct {
	s []byte
	i int
}

func (p *parser) fault(want string) error {
	before := p.s[:p.i]
	line, column := bytes.Count(before, []byte("\n"))+1, p.i-bytes.LastIndexByte(before, '\n')
	return fmt.Errorf("JSON: line %d, column %d: expected %s", line, column, want)
}

func (p *parser) space() {
	for p.i < len(p.s) && strings.IndexByte(" \t\r\n", p.s[p.i]) >= 0 {
		p.i++
	}
}

// take skips white space and consumes c if it comes next.
func (p *parser) take(c byte) bool {
	p.space()
	if p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return false
}

var words = []struct {
	text  string
	value any
}{
	{"null", nil},
	{"true", true},
	{"false", false},
	{"NaN", math.NaN()},
	{"Infinity", math.Inf(1)},
	{"-Infinity", math.Inf(-1)},
}

func (p *parser) value(depth int) (any, error) {
	if depth > maxNesting {
		return nil, p.fault("fewer levels")
	}
	p.space()
	if p.i == len(p.s) {
		return nil, p.fault("a value")
	}
	for _, w := range words {
		if bytes.HasPrefix(p.s[p.i:], []byte(w.text)) {
			p.i += len(w.text)
			return w.value, nil
		}
	}
	switch p.s[p.i] {
	case '{':
		return p.object(depth)
	case '[':
		return p.array(depth)
	case '"':
		return p.text()
	}
	return p.number()
}

func (p *parser) object(depth int) (any, error) {
	p.i++
	o, at := Object{}, map[string]int{}
	if p.take('}') {
		return o, nil
	}
	for {
		p.space()
		key, err := p.text()
		if err != nil {
			return nil, err
		}
		if !p.take(':') {
			return nil, p.fault("a colon")
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		if i, twice := at[key]; twice {
			o[i].Value = v
		} else {
			at[key] = len(o)
			o = append(o, Field{key, v})
		}
		if p.take('}') {
			return o, nil
		}
		if !p.take(',') {
			return nil, p.fault("a comma")
		}
	}
}

func (p *parser) array(depth int) (any, error) {
	p.i++
	a := []any{}
	if p.take(']') {
		return a, nil
	}
	for {
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		a = append(a, v)
		if p.take(']') {
			return a, nil
		}
		if !p.take(',') {
			return nil, p.fault("a comma")
		}
	}
}

func (p *parser) text() (string, error) {
	if p.i == len(p.s) || p.s[p.i] != '"' {
		return "", p.fault("a string")
	}
	end := p.i + 1
	for end < len(p.s) && p.s[end] != '"' {
		if p.s[end] == '\\' {
			end++
		}
		end++
	}
	var s string
	if end >= len(p.s) || json.Unmarshal(p.s[p.i:end+1], &s) != nil {
		return "", p.fault("a string")
	}
	p.i = end + 1
	return s, nil
}

func (p *parser) number() (any, error) {
	end := p.i
	for end < len(p.s) && strings.IndexByte("+-.0123456789eE", p.s[end]) >= 0 {
		end++
	}
	text := p.s[p.i:end]
	if !json.Valid(text) {
		return nil, p.fault("a value")
	}
	p.i = end
	if !bytes.ContainsAny(text, ".eE") {
		n, err := strconv.Atoi(string(text))
		if err != nil { // out of range: a number of valid JSON has no other fault
			return Number(text), nil
		}
		return n, nil
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil && math.IsInf(f, 0) {
		err = nil // Python reads 1e999 as infinity too
	}
	return f, err
}
