package template

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Tool texts are JSON as Python's json.dumps(ensure_ascii=False) writes it, with
// keys in the order of the data: what the models were tuned on.

type jsonKind uint8

const (
	jsonNull jsonKind = iota
	jsonBool
	jsonNumber
	jsonString
	jsonArray
	jsonObject
)

// value is a JSON value that remembers the order of its keys.
type value struct {
	kind  jsonKind
	text  string // of a string; true, false; a number as Python spells it
	keys  []string
	items []value // of an array, or beside keys
}

// get returns a member of an object.
func (v value) get(key string) (value, bool) {
	for i, k := range v.keys {
		if k == key {
			return v.items[i], true
		}
	}
	return value{}, false
}

func stringValue(s string) value { return value{kind: jsonString, text: s} }

// object makes an object of alternating keys and values.
func object(keys []string, items ...value) value {
	return value{kind: jsonObject, keys: keys, items: items}
}

func parseJSON(s string) (value, error) {
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	v, err := parseValue(d)
	if err != nil {
		return value{}, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return value{}, fmt.Errorf("text after the value at %d", d.InputOffset())
	}
	return v, nil
}

func parseValue(d *json.Decoder) (value, error) {
	tok, err := d.Token()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return value{}, err
	}
	switch tok := tok.(type) {
	case json.Delim:
		if tok == '[' {
			return parseArray(d)
		}
		return parseObject(d)
	case string:
		return stringValue(tok), nil
	case json.Number:
		return value{kind: jsonNumber, text: pythonNumber(string(tok))}, nil
	case bool:
		return value{kind: jsonBool, text: strconv.FormatBool(tok)}, nil
	}
	return value{}, nil
}

func parseArray(d *json.Decoder) (value, error) {
	v := value{kind: jsonArray}
	for d.More() {
		item, err := parseValue(d)
		if err != nil {
			return value{}, err
		}
		v.items = append(v.items, item)
	}
	_, err := d.Token()
	return v, err
}

func parseObject(d *json.Decoder) (value, error) {
	v := value{kind: jsonObject}
	at := map[string]int{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return value{}, err
		}
		item, err := parseValue(d)
		if err != nil {
			return value{}, err
		}
		name := key.(string)
		if i, twice := at[name]; twice { // a dict keeps the place and takes the value
			v.items[i] = item
			continue
		}
		at[name] = len(v.keys)
		v.keys, v.items = append(v.keys, name), append(v.items, item)
	}
	_, err := d.Token()
	return v, err
}

// pythonNumber spells a JSON number as Python does after reading it: an int
// stays as it is, a float becomes its shortest repr.
func pythonNumber(s string) string {
	if !strings.ContainsAny(s, ".eE") {
		if s == "-0" {
			return "0"
		}
		return s
	}
	f, _ := strconv.ParseFloat(s, 64) // out of range: infinity, as in Python
	switch {
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	case f != 0 && (math.Abs(f) < 1e-4 || math.Abs(f) >= 1e16):
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s = strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// dump is json.dumps(v, ensure_ascii=False).
func (v value) dump() string {
	var b bytes.Buffer
	v.write(&b, -1, 0)
	return b.String()
}

// dumpIndented is json.dumps(v, indent=4, ensure_ascii=False).
func (v value) dumpIndented() string {
	var b bytes.Buffer
	v.write(&b, 4, 0)
	return b.String()
}

// write appends v; indent < 0 keeps it on one line.
func (v value) write(b *bytes.Buffer, indent, depth int) {
	switch v.kind {
	case jsonNull:
		b.WriteString("null")
	case jsonString:
		writeString(b, v.text)
	case jsonArray, jsonObject:
		v.writeItems(b, indent, depth)
	default:
		b.WriteString(v.text)
	}
}

func (v value) writeItems(b *bytes.Buffer, indent, depth int) {
	brackets := "[]"
	if v.kind == jsonObject {
		brackets = "{}"
	}
	b.WriteByte(brackets[0])
	newline := func(depth int) {
		if indent >= 0 && len(v.items) > 0 {
			b.WriteByte('\n')
			b.WriteString(strings.Repeat(" ", indent*depth))
		}
	}
	for i, item := range v.items {
		if i > 0 {
			b.WriteByte(',')
			if indent < 0 {
				b.WriteByte(' ')
			}
		}
		newline(depth + 1)
		if v.kind == jsonObject {
			writeString(b, v.keys[i])
			b.WriteString(": ")
		}
		item.write(b, indent, depth+1)
	}
	newline(depth)
	b.WriteByte(brackets[1])
}

func writeString(b *bytes.Buffer, s string) {
	b.WriteByte('"')
	for _, r := range s {
		switch r {
		case '"', '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		case '\f':
			b.WriteString(`\f`)
		case '\b':
			b.WriteString(`\b`)
		default:
			if r < ' ' {
				fmt.Fprintf(b, `\u%04x`, r)
			} else {
				b.WriteRune(r)
			}
		}
	}
	b.WriteByte('"')
}

// format is what Python's str.format makes of v.
func (v value) format() string {
	if v.kind == jsonString {
		return v.text
	}
	return v.repr()
}

// repr is Python's repr of v.
func (v value) repr() string {
	switch v.kind {
	case jsonNull:
		return "None"
	case jsonBool:
		return strings.ToUpper(v.text[:1]) + v.text[1:]
	case jsonString:
		return pythonQuote(v.text)
	case jsonNumber:
		return v.text
	}
	parts := make([]string, len(v.items))
	for i, item := range v.items {
		parts[i] = item.repr()
		if v.kind == jsonObject {
			parts[i] = pythonQuote(v.keys[i]) + ": " + parts[i]
		}
	}
	inside := strings.Join(parts, ", ")
	if v.kind == jsonObject {
		return "{" + inside + "}"
	}
	return "[" + inside + "]"
}

func pythonQuote(s string) string {
	quote := '\''
	if strings.ContainsRune(s, '\'') && !strings.ContainsRune(s, '"') {
		quote = '"'
	}
	var b strings.Builder
	b.WriteRune(quote)
	for _, r := range s {
		switch {
		case r == quote || r == '\\':
			b.WriteRune('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r >= utf8.RuneSelf && !strconv.IsPrint(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteRune(quote)
	return b.String()
}
